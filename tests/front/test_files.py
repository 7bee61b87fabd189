"""Whole or not there: files and folders, through failures in their midst, and two writers at once."""

from __future__ import annotations

import errno
import re

import numpy as np
import pytest
from conftest import ROOT

from qkstore import files
from qkstore.errors import RunError, StoreError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_target_is_as_it_was_until_the_block_ends(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with files.whole(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
        assert part.parent == target.parent, "a rename from another disk would be a copy"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_block_that_fails_leaves_the_old_and_no_half(tmp_path, error, kind):
    target = tmp_path / "a"
    target.write_text("old") if kind == "file" else target.mkdir()
    with pytest.raises(type(error)), files.whole(target) as part:
        if kind == "file":
            part.write_text("half")
        else:
            part.mkdir()
            (part / "b").write_text("half")
        raise error
    assert names(tmp_path) == ["a"]
    assert target.read_text() == "old" if kind == "file" else not names(target)


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path):
    target = tmp_path / "store.v2"
    for inside in ("first", "second"):
        try:
            with files.whole(target) as part:
                part.mkdir()
                (part / inside).write_text("")
        except OSError as error:
            assert (inside, error.filename) == ("second", str(target))
    assert names(target) == ["first"]
    assert names(tmp_path) == ["store.v2"]


def test_two_writers_of_one_target_do_not_meet(tmp_path):
    target = tmp_path / "a"
    with files.whole(target) as one, files.whole(target) as other:
        one.write_text("one" * 100)
        other.write_text("other")
    assert target.read_text() == "one" * 100
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["a.npz", ".npz", "a.b.npz"])
def test_a_name_keeps_its_ending_for_writers_that_would_add_it(tmp_path, name):
    files.write(str(tmp_path / name), ".npz", lambda path: np.savez(path, x=np.arange(3)))
    assert names(tmp_path) == [name]
    assert np.load(tmp_path / name)["x"].tolist() == [0, 1, 2]


def test_what_was_not_written_is_one_line_that_names_the_target(tmp_path):
    def full(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(StoreError) as error:
        files.write(str(tmp_path / "a.csv"), ".csv", full)
    assert str(error.value) == f"{tmp_path}/a.csv was not written: No space left on device"
    with pytest.raises(OSError, match="No space left on device: .*/a.csv'$"), files.whole(tmp_path / "a.csv") as part:
        full(part)
    with pytest.raises(OSError, match="other"), files.whole(tmp_path / "a.csv"):  # the control: a file that it reads
        (tmp_path / "other").read_text()
    with pytest.raises(RunError, match=r"--out a.txt: the file's name must end in .csv"):
        files.write("a.txt", ".csv", full)
    assert names(tmp_path) == []


def test_no_other_module_writes_aside_and_renames():
    """One writer: whatever else moves a file into its place goes through it."""
    others = [p for room in ("qkstore", "ingest", "dashboard", "pages") for p in (ROOT / room).rglob("*.py")]
    others.remove(ROOT / "qkstore/files.py")
    assert len(others) > 50
    for path in others:
        calls = re.findall(r"\bos\.replace\(|\bos\.rename\(|\bpart\.rename\(", path.read_text())
        assert not calls, path


def test_what_is_inside_a_folder_is_nothing_where_it_goes_while_it_is_read(tmp_path, monkeypatch):
    folder = tmp_path / "there"
    folder.mkdir()
    for name in ("b.json", "a.json", "c.txt"):
        (folder / name).write_text("")
    assert [path.name for path in files.inside(folder, "*.json")] == ["a.json", "b.json"]
    assert [path.name for path in files.inside(folder)] == ["a.json", "b.json", "c.txt"]
    assert files.inside(tmp_path / "never") == []

    def gone(path, pattern):
        raise FileNotFoundError(path)

    monkeypatch.setattr(type(folder), "glob", gone)  # as Python 3.11 has it; a later one passes over the error
    assert files.inside(folder, "*.json") == []
