"""Head scores are kept in the store, read where they were kept, and gone on with where they were left."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from conftest import ROOT
from synthetic import synthetic, write
from test_analysis import ORDER

import qkstore
from qkstore.analysis.heads import HeadScore, heads, kept, key, task
from qkstore.errors import StoreError
from qkstore.store.catalog import catalog as results

LAYERS, HEADS = 4, 4


class Left(BaseException):
    """What a page raises in work that nobody waits for any more."""


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "r", synthetic(64, n_layers=LAYERS, n_heads=HEADS, n_kv_heads=2))
    return qkstore.open(tmp_path)


@pytest.fixture
def computed(monkeypatch):
    """The layers that are computed: (pass, layer) each time."""
    found = []
    for name in ("scored", "dealt"):
        plain = getattr(task.Work, name)

        def counted(self, of, plain=plain, name=name):
            if not of.heads.start:
                found.append((name, of.layer))
            return plain(self, of)

        monkeypatch.setattr(task.Work, name, counted)
    return found


def after(n: int):
    """A progress that is left at its n-th call."""
    calls = []

    def progress(done: int, of: int) -> None:
        calls.append((done, of))
        if len(calls) == n:
            raise Left

    return progress


@pytest.fixture(autouse=True)
def one_group_a_task(monkeypatch):
    """As where heads have many rows: a layer is left in its middle too."""
    monkeypatch.setattr("qkstore.analysis.heads.sweep.AT_ONCE", 0)


def parts(store, run, nulls: int = 19) -> list:
    return store.catalog.parts(key(run, ORDER, nulls))


def test_head_scores_are_computed_once_a_store_and_kept(tmp_path):
    write(tmp_path, n=128)
    store = qkstore.open(tmp_path)
    run, calls = store.run("synthetic"), []
    first = kept(store, run, ORDER, progress=lambda i, n: calls.append(i))
    again = kept(qkstore.open(tmp_path), run, ORDER, progress=lambda i, n: calls.append(i))
    assert first == again == heads(run, ORDER)
    assert calls == [2, 4, 6, 8, 2, 4, 6, 8]
    assert (
        kept(store, run, ORDER.replace(name="other name", version=3)) == first
    )  # what does not change the numbers is no key
    centred = kept(store, run, ORDER.replace(centring="queries"), progress=lambda i, n: calls.append(i))
    assert centred != first
    assert len(calls) == 16


def test_a_store_that_may_only_be_read_still_scores(store, monkeypatch):
    asked = []

    def refuse(*args, **more):
        asked.append(args)
        raise StoreError("read-only")

    monkeypatch.setattr(store.catalog, "keep_result", refuse)
    monkeypatch.setattr("qkstore.analysis.tasks.EVERY_S", 0)
    assert len(kept(store, store.run("r"), ORDER, nulls=2)) == LAYERS * HEADS
    assert len(asked) == 2, "it is asked to keep the first layer, and then the whole: a writer may wait long"


# A layer has two groups of heads, each of which is told: call 5 is in the third layer of the first pass, call 13 in the
# third of the second.
@pytest.mark.parametrize(
    ("call", "left"),
    [
        (1, [("scored", i) for i in range(4)] + [("dealt", i) for i in range(4)]),
        (5, [("scored", i) for i in (2, 3)] + [("dealt", i) for i in range(4)]),
        (13, [("dealt", i) for i in (2, 3)]),
    ],
)
def test_work_that_was_left_is_gone_on_with(store, computed, call, left):
    run, whole = store.run("r"), heads(store.run("r"), ORDER)
    with pytest.raises(Left):
        kept(store, run, ORDER, progress=after(call))
    computed.clear()
    calls, tables = [], []
    found = kept(store, run, ORDER, progress=lambda *at: calls.append(at), arrived=tables.append)
    assert computed == left
    assert found == whole == tables[-1]
    assert not any(s.pending for s in found)
    assert len(calls) == 2 * len(left)
    assert [at for at in calls if at[0] == at[1]] == [(16, 16)] * len({name for name, _ in left})
    assert len(tables[0]) == (HEADS if call == 1 else {5: 2, 13: 4}[call] * HEADS), "what was there comes at once"
    assert parts(store, run) == [], "the whole takes their place"
    computed.clear()
    assert kept(store, run, ORDER) == whole
    assert computed == []


def test_what_was_left_twice_is_gone_on_with_from_there(store, computed):
    run = store.run("r")
    for call in (3, 3, 3):
        with pytest.raises(Left):
            kept(store, run, ORDER, progress=after(call))
    assert computed == [("scored", i) for i in (0, 1, 1, 2, 2, 3)]
    assert len(kept(store, run, ORDER)) == LAYERS * HEADS


def test_other_work_does_not_go_on_with_it(store, computed):
    run = store.run("r")
    with pytest.raises(Left):
        kept(store, run, ORDER, progress=after(13))
    computed.clear()
    assert kept(store, run, ORDER.replace(weighting="sum")) == heads(run, ORDER.replace(weighting="sum"))
    assert computed[:8] == [("scored", i) for i in range(4)] + [("dealt", i) for i in range(4)]
    assert parts(store, run) != [], "they wait for their own"


def test_what_another_program_put_there_is_not_taken(store):
    run = store.run("r")
    asked, whole = key(run, ORDER), heads(run, ORDER)
    row = whole[0].to_dict()
    for i, wrong in enumerate(([row], [row | {"head": 9}] * 4, {"no": "list"}, [row | {"else": 1}] * 4, "text")):
        store.catalog.keep_result(asked, "heads", "r", "order", wrong, part=str(i))
    assert len(parts(store, run)) == 5
    assert kept(store, run, ORDER) == whole


SCRIPT = """
import os, signal, sys
import qkstore
from qkstore.analysis.heads import kept
from test_analysis import ORDER
from qkstore.analysis import tasks
from qkstore.analysis.heads import sweep
tasks.EVERY_S = sweep.AT_ONCE = 0
calls = []
def progress(done, of):
    calls.append(done)
    if len(calls) == 13:
        os.kill(os.getpid(), signal.SIGKILL)
store = qkstore.open(sys.argv[1])
kept(store, store.run("r"), ORDER, progress=progress)
"""


def test_work_that_was_killed_is_gone_on_with(store, tmp_path, computed):
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/analysis"},
        cwd=ROOT,
        timeout=120,
    )
    assert found.returncode == -9
    run = store.run("r")
    assert kept(store, run, ORDER) == heads(run, ORDER)
    assert computed[:2] == [("dealt", 2), ("dealt", 3)]
    assert parts(store, run) == []


def test_parts_that_nobody_goes_on_with_do_not_stay(store, monkeypatch):
    run = store.run("r")
    with pytest.raises(Left):
        kept(store, run, ORDER, progress=after(5))
    kept(store, run, ORDER, nulls=3)
    assert len(parts(store, run)) == 1, "the control: they are a moment old"
    monkeypatch.setattr(results, "PART_LASTS", timedelta(0))
    kept(store, run, ORDER, nulls=4)
    assert parts(store, run) == []
    assert len(kept(store, run, ORDER, nulls=3)) == LAYERS * HEADS, "whole results stay"


def test_a_null_to_come_is_told_from_none(store):
    run, tables = store.run("r"), []
    whole = heads(run, ORDER, nulls=9, arrived=tables.append)
    assert [len(t) for t in tables] == [4, 8, 12, 16, 16, 16, 16, 16]
    assert [sum(s.pending for s in t) for t in tables] == [4, 8, 12, 16, 12, 8, 4, 0]
    for table in tables:
        for s in table:
            assert s.pending == (s.deals is None) == (s.p_value is None) == (s.delta_null is None)
    assert tables[-1] == whole
    early, none = tables[0][0], heads(run, ORDER, nulls=0)[0]
    assert (early.p_told, none.p_told) == ("its null is not there yet", "no null")
    assert HeadScore.of(early.to_dict()) == early
    assert (early.accuracy, early.rank, early.delta_norm) == (none.accuracy, none.rank, none.delta_norm)
