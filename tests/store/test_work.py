"""Ingests at work: what they say of themselves, who is alive, and what a killed one leaves."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

import pytest
import stores
from conftest import ROOT

import qkstore
from qkstore.__main__ import main
from qkstore.errors import RunError
from qkstore.run.incoming import spool
from qkstore.store import work
from qkstore.store.work import Work, at_work, discard


@pytest.fixture
def store(tmp_path):
    return qkstore.open(stores.write(tmp_path, "a", n=16))


def spooled(store, run: str):
    folder = store.path / "runs" / ".incoming" / run
    folder.mkdir(parents=True)
    line = {"batch": 0, "query": 4, "key": 36, "answers": None, "shape": [2, 4, 2, 8]}
    (folder / spool.LEDGER).write_text(json.dumps(line) + "\n")
    return folder


def test_it_says_where_it_is_and_leaves_nothing_when_it_is_done(store):
    assert at_work(store) == []
    with Work(store.path, "b") as at:
        at("capture", 3, 12, now="120 of 480 prompts")
        logging.getLogger("qkstore").warning("2 of 5 labelled words\nare more than one token")
        at("publish", 0, 2)
        (one,) = at_work(store)
        assert (one.run, one.alive, one.stage, one.done, one.total) == ("b", True, "publish", 0, 2)
        assert (one.pid, one.batches) == (os.getpid(), 0)
        assert [line[9:] for line in one.log] == [
            "capture: 3 of 12", "2 of 5 labelled words are more than one token", "publish: 0 of 2"]  # fmt: skip
        assert one.sentence.startswith("ingest of 'b' at work (process ")
    assert at_work(store) == []
    assert not (store.path / "runs" / ".work").exists()
    assert [run.name for run in store.runs()] == ["a"]


def test_the_rate_of_writing_is_bounded(store, monkeypatch):
    monkeypatch.setattr(work, "EVERY_S", 600)
    with Work(store.path, "b") as at:
        at("capture", 0, 1000)
        path = store.path / "runs" / ".work" / "b.json"
        before = path.stat().st_ino
        for i in range(1000):
            at("capture", i, 1000)
        assert path.stat().st_ino == before
        monkeypatch.setattr(work, "EVERY_S", 0)
        at("capture", 999, 1000)
        assert at_work(store)[0].done == 999


def test_one_that_fails_with_nothing_kept_leaves_nothing(store):
    with pytest.raises(ValueError), Work(store.path, "b") as at:
        at("capture", 0, 12)
        raise ValueError
    assert at_work(store) == []


def test_a_second_ingest_of_the_run_says_nothing(store):
    with Work(store.path, "b") as first:
        first("capture", 1, 4)
        with Work(store.path, "b") as second:
            second("tokenise", 5, 6)
        assert at_work(store)[0].stage == "capture"


def test_it_stops_nothing_where_the_folder_cannot_be_written(tmp_path):
    with Work(tmp_path / "nowhere", "b") as at:
        at("capture", 1, 4)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".work").write_text("no folder")
    with Work(tmp_path, "b") as at:
        at("capture", 1, 4)
    assert (tmp_path / "runs" / ".work").read_text() == "no folder"


KILLED = """
import os, signal, sys
from qkstore.store.work import Work
with Work(sys.argv[1], "b") as at:
    at("capture", 3, 12)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_that_was_killed_is_told_as_such_with_how_to_go_on_and_is_discarded(store, capsys):
    spooled(store, "b")
    ended = subprocess.run([sys.executable, "-c", KILLED, store.path], cwd=ROOT, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    (one,) = at_work(store)
    assert (one.alive, one.stage, one.done, one.batches) == (False, "capture", 3, 1)
    assert main(["runs", "--store", str(store.path)]) == 0
    err = capsys.readouterr().err
    assert "ingest of 'b' has stopped (process " in err
    assert "capture 3 of 12; 1 batch is kept; repeat its command to go on" in err
    assert main(["remove", "--store", str(store.path), "--run", "b", "--unfinished"]) == 0
    assert at_work(store) == []
    assert list((store.path / "runs").rglob("b*")) == []
    assert main(["remove", "--store", str(store.path), "--run", "b", "--unfinished"]) == 2
    assert "no unfinished ingest 'b'; there are: none" in capsys.readouterr().err


def test_one_at_work_is_not_discarded(store):
    with Work(store.path, "b") as at:
        at("capture", 1, 4)
        with pytest.raises(RunError, match="the ingest of 'b' is at work; stop it first"):
            discard(store, "b")


def test_one_of_an_older_qkstore_is_told_too(store):
    spooled(store, "old")
    (one,) = at_work(store)
    assert one.sentence == (
        "ingest of 'old' has stopped: nothing said of how far; 1 batch is kept; repeat its command to go on"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '"x"', '{"stage": 7, "done": "x", "log": 5, "total": 1e400}', '{"log": [1, null]}',
     '{"begun": 1e300, "done": -5, "total": -1}', "[" * 40_000, "x" * 100_000],
)  # fmt: skip
def test_whatever_the_file_holds_is_read(store, text):
    (store.path / "runs" / ".work").mkdir()
    (store.path / "runs" / ".work" / "b.json").write_text(text)
    (store.path / "runs" / ".work" / "..json").write_text(json.dumps({"stage": "x"}))
    (one,) = at_work(store)
    assert (one.run, one.alive) == ("b", False)
    assert 0 <= one.share <= 1
    assert "\n" not in one.sentence


def test_whatever_stands_in_its_folder_the_others_are_told(store):
    spooled(store, "odd")
    with open(store.path / "runs" / ".incoming" / "odd" / spool.LEDGER, "ab") as file:
        file.write(b'[]\nnull\n{"batch": {}}\n\xff\xfe\n{"batch": 7, "answers": 3, "shape": 1}\n{"batch"')
    (one,) = at_work(store)
    assert one.batches == 1


@pytest.mark.parametrize("other", ["", "{}", '{"stage": "publish"}'])
def test_a_rank_whose_file_says_little_stops_no_other(store, other):
    """As the file of a rank does that was killed, or goes just now."""
    folder = store.path / "runs" / work.FOLDER
    folder.mkdir()
    for number, said in enumerate((other, json.dumps({"stage": "publish", "done": 1, "total": 2, "now": "shards"}))):
        (folder / f"b{work.RANK}{number}{work.ENDING}").write_text(said)
    one = work.one(store.path / "runs", "b")
    assert not one.alive
    assert one.now.startswith("0 of 2 ranks at work")
