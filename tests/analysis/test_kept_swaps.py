"""Swaps of many heads are kept in the store head by head, read where they were kept, and gone on with."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from synthetic import synthetic, write
from test_analysis import ORDER

import qkstore
from qkstore.analysis.heads import everywhere as module
from qkstore.analysis.heads.everywhere import Asked, HeadSwap, everywhere, kept, key
from qkstore.analysis.tasks import Place
from qkstore.errors import ContrastError, StoreError
from qkstore.pool import opened

FEATURES = {"order": (ORDER,)}
HEADS = [(layer, head) for layer in range(2) for head in range(4)]
MOST = 20


class Left(BaseException):
    """What a page raises in work that nobody waits for any more, and Ctrl-C in a command."""


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "r", synthetic(64))
    return qkstore.open(tmp_path)


@pytest.fixture
def run(store):
    return store.run("r")


@pytest.fixture
def computed(monkeypatch):
    """The heads that are swapped, in the order in which they are."""
    found, plain = [], module.swap

    def counted(task):
        found.append((task.layer, task.head))
        return plain(task)

    monkeypatch.setattr(module, "swap", counted)
    return found


def after(n: int):
    """A progress that is left at its n-th call."""
    calls = []

    def progress(done: int, of: int) -> None:
        calls.append((done, of))
        if len(calls) == n:
            raise Left

    return progress


def name(run, heads=None, features=FEATURES, side="keys", n_random=10, most=MOST, seed=0) -> str:
    return key(run, Asked(Place.of(run), tuple(features.items()), side, n_random, most, seed), heads)


def test_swaps_are_computed_once_a_store_and_kept(store, run, computed):
    first = kept(store, run, FEATURES, most=MOST)
    assert computed == HEADS
    again = kept(qkstore.open(store.path), run, FEATURES, most=MOST, progress=after(1))
    assert first == again == everywhere(run, FEATURES, most=MOST)
    assert repr(first) == repr(again), "intervals are tuples in both"
    assert computed == 2 * HEADS, "everywhere, the control, keeps nothing"


@pytest.mark.parametrize("side", ["keys", "queries"])
def test_some_heads_are_those_of_all_where_these_are_kept(store, run, computed, side):
    some = [(1, 2), (0, 3), (1, 2)]
    alone = kept(store, run, FEATURES, some, most=MOST, side=side)
    assert computed == [(0, 3), (1, 2)]
    assert kept(store, run, FEATURES, some[::-1], most=MOST, side=side) == alone
    whole = kept(store, run, FEATURES, most=MOST, side=side)
    assert computed[2:] == HEADS
    assert kept(store, run, FEATURES, HEADS[:3], most=MOST, side=side) == whole[:3]
    assert kept(store, run, FEATURES, HEADS, most=MOST, side=side) == whole
    assert [made for made in whole if (made.layer, made.head) in some] == alone
    assert len(computed) == 2 + len(HEADS)


@pytest.mark.parametrize("call", [1, 3, 7])
def test_work_that_was_left_is_gone_on_with(store, run, computed, call):
    with pytest.raises(Left):
        kept(store, run, FEATURES, most=MOST, progress=after(call))
    assert computed == HEADS[:call]
    calls = []
    found = kept(store, run, FEATURES, most=MOST, progress=lambda *at: calls.append(at))
    assert computed == HEADS, "no head twice"
    assert calls == [(done, 8) for done in range(call + 1, 9)]
    assert found == everywhere(run, FEATURES, most=MOST)
    assert store.catalog.parts(name(run)) == [], "the whole takes their place"


OTHERS = {
    "seed": {"seed": 1},
    "bases": {"n_random": 11},
    "most": {"most": MOST + 1},
    "side": {"side": "queries"},
    "pairs": {"features": {"order": (ORDER.replace(centring="queries"),)}},
    "name": {"features": {"other": (ORDER,)}},
    "heads": {"heads": HEADS[:3]},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_work_does_not_go_on_with_it(store, run, computed, other):
    with pytest.raises(Left):
        kept(store, run, FEATURES, most=MOST, progress=after(3))
    computed.clear()
    asked = {"features": FEATURES, "most": MOST} | other
    found = kept(store, run, **asked)
    assert computed == other.get("heads", HEADS)
    assert len(store.catalog.parts(name(run))) == 1, "they wait for their own"
    assert found == everywhere(run, **asked)
    assert name(run, **other) != name(run)


def test_of_another_run_nothing_is_taken(store, run, computed, tmp_path):
    kept(store, run, FEATURES, most=MOST)
    write(tmp_path, "s", synthetic(64, seed=1))
    computed.clear()
    kept(store, store.run("s"), FEATURES, most=MOST)
    assert computed == HEADS


def test_a_store_that_may_only_be_read_still_answers(store, run, monkeypatch):
    asked = []

    def refuse(*args, **more):
        asked.append(args)
        raise StoreError("read-only")

    monkeypatch.setattr(store.catalog, "keep_result", refuse)
    monkeypatch.setattr("qkstore.analysis.tasks.EVERY_S", 0)
    assert kept(store, run, FEATURES, most=MOST) == everywhere(run, FEATURES, most=MOST)
    assert len(asked) == 2, "it is asked to keep the first head, and then the whole: a writer may wait long"


def test_what_another_program_put_there_is_not_taken(store, run):
    whole = everywhere(run, FEATURES, most=MOST)
    row = whole[0].to_dict()
    of_else = row | {"conditions": [row["conditions"][0] | {"else": 1}]}
    for i, wrong in enumerate(({"no": "list"}, "text", [of_else], [row | {"layer": 9}], [row | {"conditions": 3}])):
        store.catalog.keep_result(name(run), module.KIND, "r", "order", wrong, part=str(i))
    assert len(store.catalog.parts(name(run))) == 5
    assert kept(store, run, FEATURES, most=MOST) == whole


def test_a_mistake_of_all_heads_is_told_again_and_nothing_is_kept(store, run):
    for _ in range(2):
        with pytest.raises(ContrastError, match="needs 10 or more"):
            kept(store, run, FEATURES, n_random=4, most=MOST)
    assert store.catalog.result(name(run, n_random=4)) is None
    assert store.catalog.parts(name(run, n_random=4)) == []


def test_a_head_without_anything_to_swap_is_kept_with_its_reason(tmp_path, computed):
    data = synthetic(64)
    data.k[0, 0] = 1.0  # of heads 0 and 1 of layer 0 all keys are the same
    write(tmp_path, "r", data)
    store = qkstore.open(tmp_path)
    first, again = (kept(store, store.run("r"), FEATURES, most=MOST) for _ in range(2))
    assert first == again
    assert computed == HEADS
    assert "positive and negative keys are the same" in again[0].why
    assert again[0].swapped is None
    assert HeadSwap.of(again[2].to_dict()) == again[2]


def test_what_workers_make_is_kept_too(store, run):
    with opened(workers=2) as pool:
        found = kept(store, run, FEATURES, most=MOST, pool=pool)
    assert kept(store, run, FEATURES, most=MOST, progress=after(1)) == found == everywhere(run, FEATURES, most=MOST)


SCRIPT = """
import os, signal, sys
import qkstore
import qkstore.analysis.tasks as module
from qkstore.analysis.heads.everywhere import kept
from test_kept_swaps import FEATURES, MOST
module.EVERY_S = 0
def progress(done, of):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
store = qkstore.open(sys.argv[1])
kept(store, store.run("r"), FEATURES, most=MOST, progress=progress)
"""


def test_work_that_was_killed_is_gone_on_with(store, run, tmp_path, computed):
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/analysis"},
        cwd=ROOT,
        timeout=120,
    )
    assert found.returncode == -9
    told = kept(store, run, FEATURES, most=MOST)
    assert computed == HEADS[5:]
    assert told == everywhere(run, FEATURES, most=MOST)
    assert store.catalog.parts(name(run)) == []
