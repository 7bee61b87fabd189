"""Renaming and removing a run, killed at each step: nothing is half done, and the same call ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from test_moves import names, noted

from qkstore.store import Store, moves

KILLED = """
import os, signal, sys
import qkstore
from qkstore.store import moves
from qkstore.store.catalog import runs
store, act, moment = qkstore.open(sys.argv[1]), sys.argv[2], int(sys.argv[3])
steps = iter(range(100))

def counted(function):
    def step(*given):
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        done = function(*given)
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return step

moves._name_too, moves._drop, moves.sync = counted(moves._name_too), counted(moves._drop), counted(moves.sync)
runs.marked = counted(runs.marked)
store.rename("a", "x") if act == "rename" else store.remove("a")
"""


@pytest.fixture
def store(each_store) -> Store:
    return each_store


def killed(store: Store, act: str) -> list[set[str]]:
    """What names there were after the act was killed at each of its moments in turn, undone in between."""
    seen = []
    for moment in range(100):
        words = [sys.executable, "-c", KILLED, str(store.where), act, str(moment)]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
        if ended.returncode != -signal.SIGKILL:
            assert ended.returncode == 0, ended.stderr
            return seen
        assert store.scan()[1] == []
        seen.append(set(names(store)))
        if "a" not in seen[-1]:
            return seen
    raise AssertionError("it does not end")


def test_a_renaming_that_was_killed_is_ended_by_the_same_call(store):
    noted(store, "a", "b")
    seen = killed(store, "rename")
    assert seen[0] == {"a", "b"}
    assert {"a", "b", "x"} in seen, "both names are of the one run"
    assert "x" in seen[-1]
    if "a" in names(store):
        store.rename("a", "x")
    assert names(store) == ["b", "x"]
    assert {n.text for n in store.catalog.notes.on("x")} == {"on a", "on a head of a"}
    assert len(store.catalog.notes.on("b")) == 2


def test_a_removal_that_was_killed_is_ended_by_the_same_call(store):
    noted(store, "a", "b")
    store.catalog.keep_result("r", "heads", "a", "order", [])
    seen = killed(store, "remove")
    assert seen[0] == {"a", "b"}
    assert seen[-1] == {"b"}
    if store.catalog.runs.kept("a"):  # killed before the transaction was for good
        store.remove("a")
    assert not store.catalog.runs.kept("a")
    assert len(store.catalog.notes.on("b")) == 2


def test_a_name_that_a_killed_renaming_left_is_of_one_run(store):
    """The file has both names, and the catalogue knows of none: whichever call comes next, nothing is lost."""
    noted(store, "a")
    moves._name_too(store, "a", "x")
    assert names(store) == ["a", "b", "x"]
    assert store.run("a").digest == store.run("x").digest
    store.remove("x")
    assert names(store) == ["a", "b"]
    assert store.run("a").queries(0, 0).shape == (64, 8)
