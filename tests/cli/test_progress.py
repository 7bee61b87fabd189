"""How far a command is, where there is no terminal; and whether a run fits on its disk."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from qkstore.cli import terminal
from qkstore.errors import StoreError
from qkstore.run.incoming import space


def run(monkeypatch, seconds: float, *stages: str) -> None:
    """A command of stages of 100 batches, `seconds` each; it begins ten seconds before them."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with terminal.Progress() as progress:
        now[0] += 10 if seconds >= 1 else 0
        for stage in stages:
            for done in range(101):
                progress(stage, done, 100, now=f"{done * 8} prompts")
                now[0] += seconds if done < 100 else 0


def test_a_log_gets_a_line_a_stage_a_forecast_and_one_every_half_minute(monkeypatch, capsys):
    run(monkeypatch, 3.0, "tokenise", "capture")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "tokenise: 0 of 100, 0 prompts"
    assert lines[1] == "tokenise: 1 of 100, 8 prompts, 4:57 left"
    assert lines[2] == "tokenise: 11 of 100, 88 prompts, 4:27 left"
    assert lines[11] == "tokenise: 100 of 100, 800 prompts"
    assert lines[12] == "capture: 0 of 100, 0 prompts"
    assert len(lines) == 2 * 12


def test_a_stage_of_a_few_seconds_is_a_few_lines_and_a_quick_command_none(monkeypatch, capsys):
    run(monkeypatch, 0.05, "publish", "again")  # five seconds each
    assert capsys.readouterr().err.splitlines() == [
        "publish: 40 of 100, 320 prompts, 0:03 left",
        "publish: 100 of 100, 800 prompts",
        "again: 0 of 100, 0 prompts",
        "again: 41 of 100, 328 prompts, 0:03 left",
        "again: 100 of 100, 800 prompts",
    ]
    run(monkeypatch, 0.01, "publish")
    assert capsys.readouterr().err == ""


def test_a_stage_that_is_long_tells_hours(monkeypatch, capsys):
    run(monkeypatch, 60.0, "capture")
    assert capsys.readouterr().err.splitlines()[1] == "capture: 1 of 100, 8 prompts, 1:39:00 left"


Usage = namedtuple("Usage", "total used free")


def test_a_run_that_cannot_fit_is_refused_before_its_first_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 3 * 10**9))
    folder = tmp_path / "runs" / ".incoming" / "a"
    folder.mkdir(parents=True)
    assert space.check(folder, "a", 2_300_000_000, 2_300_000_000) == "run file about 2.3 GB, 3.0 GB free"
    with pytest.raises(
        StoreError, match=r"run 'a' takes about 2.4 GB and 720.0 MB more while it is made, 3.0 GB are free"
    ):
        space.check(folder, "a", 2_400_000_000, 2_400_000_000)
    with pytest.raises(StoreError, match=r"run 'a' takes about 1.6 GB and 2.1 GB more while it is made"):
        space.check(folder, "a", 1_600_000_000, 3_200_000_000)  # stored as 16-bit numbers
    (folder / "batch").write_bytes(b"x" * 10**6)
    space.check(folder, "a", 2_308_000_000, 2_308_000_000)  # what is spooled already needs no more room


def test_sizes_are_told_in_a_unit_that_suits():
    assert [space.told(n) for n in (0, 999, 1000, 3.21e9, 5e15)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "3.2 GB",
        "5000.0 TB",
    ]
