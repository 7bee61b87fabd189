"""How many components all heads of a run have: one head's figures each, kept in the store and gone on with."""

from __future__ import annotations

import json

import polars as pl
import pytest
import synthetic

import qkstore
from qkstore.analysis.decomposition import HeadCount, Scored, components, counts, kept_counts, names, statement, table
from qkstore.analysis.decomposition.across import refusals
from qkstore.analysis.decomposition.across.counted import Named
from qkstore.analysis.decomposition.across.sweep import DEALS, Sweep, key
from qkstore.errors import ContrastError, StoreError
from qkstore.pool import opened
from qkstore.text import head_name

REPAIRS = 5


class Left(BaseException):
    """What a page raises in work that nobody waits for any more."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two layers of four heads over two KV heads; the queries of layer 0 head 2 are all the same."""
    store = tmp_path_factory.mktemp("store")
    data = synthetic.synthetic(400)
    data.q[0, 2] = data.q[0, 2, 0]
    synthetic.publish(store, "r", data)
    return store


@pytest.fixture
def store(folder, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r.duckdb").symlink_to(folder / "runs" / "r.duckdb")
    return qkstore.open(tmp_path)


@pytest.fixture
def layers(monkeypatch):
    """The layers that are computed, each time."""
    found, plain = [], Sweep.count

    def counted(self, task):
        if not task.head:
            found.append(task.layer)
        return plain(self, task)

    monkeypatch.setattr(Sweep, "count", counted)
    return found


def after(n: int):
    """A progress that is left when n heads are done."""

    def progress(done: int, of: int) -> None:
        if done == n:
            raise Left

    return progress


def test_each_row_is_what_the_head_alone_gives(store):
    run = store.run("r")
    rows = counts(run, repairs=REPAIRS)
    assert [(r.layer, r.head) for r in rows] == [(layer, head) for layer in run.layers for head in range(run.n_heads)]
    for row in rows:
        if row.why:
            continue
        alone = components(run, row.layer, row.head, repairs=REPAIRS)
        assert row == HeadCount.of(alone, names(Scored.of_head(alone), DEALS).names if len(alone) else [])
        assert row.number == alone.found.number.value == len(row.rho) == len(row.share)
        assert row.carried == pytest.approx(alone.found.share.sum())
    read = rows[4]
    assert read.number == read.confirmed == 3, "layer 1 head 0 reads the order of four boxes"
    assert any(row.number and row.confirmed < row.number for row in rows), "other queries do not confirm all"


def test_a_head_that_chooses_nothing_says_why(store):
    rows = counts(store.run("r"), repairs=REPAIRS)
    assert [r.why for r in rows if r.why] == ["queries of this head are all the same, so they choose nothing"]
    assert (rows[2].number, rows[2].carried, rows[2].confirmed) == (None, None, None)


def test_keys_are_read_once_a_kv_head(store, monkeypatch):
    run, read = store.run("r"), []
    plain = type(run).keys
    monkeypatch.setattr(
        type(run), "keys", lambda self, layer, head, rows: read.append((layer, head)) or plain(self, layer, head, rows)
    )
    counts(run, repairs=0)
    assert read == [(0, 0), (0, 2), (1, 0), (1, 2)]
    components(run, 1, 1, repairs=0)
    assert len(read) == 6, "one head alone reads them for each split"


def test_it_is_told_how_many_heads_are_done(store):
    told = []
    counts(store.run("r"), repairs=0, progress=lambda *at: told.append(at))
    assert told == [(n, 8) for n in range(1, 9)]


def test_workers_give_the_same(store):
    run, told = store.run("r"), []
    with opened(2) as pool:
        found = kept_counts(store, run, repairs=REPAIRS, progress=lambda *at: told.append(at), pool=pool)
        with pytest.raises(ContrastError):
            counts(run, "q.variant = 'none of these'", pool=pool)
    assert found == counts(run, repairs=REPAIRS)
    assert told == [(n, 8) for n in range(1, 9)]


def test_they_are_computed_once_a_store_and_kept(store, layers):
    run = store.run("r")
    first = kept_counts(store, run, repairs=REPAIRS)
    assert layers == [0, 1]
    assert kept_counts(qkstore.open(store.where), run, repairs=REPAIRS) == first == counts(run, repairs=REPAIRS)
    assert layers == [0, 1, 0, 1], "the plain one computes them"
    kept_counts(store, run, "q.variant = 'base'", REPAIRS)
    assert layers == [0, 1, 0, 1], "the default by its name"
    kept_counts(store, run, repairs=REPAIRS, seed=1)
    assert layers == [0, 1, 0, 1, 0, 1]


def test_work_that_was_left_is_gone_on_with(store, layers):
    run, told = store.run("r"), []
    with pytest.raises(Left):
        kept_counts(store, run, repairs=REPAIRS, progress=after(6))
    assert len(store.catalog.parts(key(run, repairs=REPAIRS))) == 1
    layers.clear()
    found = kept_counts(store, run, repairs=REPAIRS, progress=lambda *at: told.append(at))
    assert layers == [1]
    assert told[0] == (5, 8)
    assert found == counts(run, repairs=REPAIRS)
    assert store.catalog.parts(key(run, repairs=REPAIRS)) == [], "the whole takes their place"


def test_a_store_that_may_only_be_read_still_answers(store, monkeypatch):
    asked = []

    def refuse(*args, **more):
        asked.append(args)
        raise StoreError("read-only")

    monkeypatch.setattr(store.catalog, "keep_result", refuse)
    assert len(kept_counts(store, store.run("r"), repairs=0)) == 8
    assert len(asked) == 1, "it is not asked again: a writer may wait long"


def test_what_another_program_put_there_is_not_taken(store, layers):
    run = store.run("r")
    asked, row = key(run, repairs=REPAIRS), counts(run, repairs=REPAIRS)[0].to_dict()
    layers.clear()
    for i, wrong in enumerate(([row], [row | {"rho": 3}] * 4, {"no": "list"}, [row | {"else": 1}] * 4, "text")):
        store.catalog.keep_result(asked, "x", "r", "", wrong, part=str(i))
    assert kept_counts(store, run, repairs=REPAIRS) == counts(run, repairs=REPAIRS)
    assert layers[:2] == [0, 1]


def test_a_condition_that_fits_no_query_is_one_line(store):
    with pytest.raises(ContrastError, match="no query of the train split of run 'r' fits"):
        counts(store.run("r"), "q.variant = 'none'")


def test_the_same_comes_back_from_json(store):
    for row in counts(store.run("r"), repairs=REPAIRS):
        assert HeadCount.from_dict(json.loads(json.dumps(row.to_dict()))) == row


def named(*shares_explained_named, labels=("a", "b", "c")) -> HeadCount:
    names = tuple(Named(b, b, e, ok) for (_, e, ok), b in zip(shares_explained_named, labels, strict=False))
    shares = tuple(s for s, *_ in shares_explained_named)
    n = len(names)
    return HeadCount(1, 0, number=n, interval=(n, n), clear=n, rho=(0.9, 0.6, 0.4)[:n], share=shares, names=names)


def test_what_labels_explain_is_weighed_by_what_components_carry():
    row = named((0.6, 0.9, True), (0.2, 0.5, True), (0.2, 0.2, False))
    assert (row.explained, row.unnamed, row.carried) == pytest.approx((0.64, 0.2, 1.0))
    assert (row.label, row.confirmed) == ("a", 2)
    assert named((0.3, 0.9, True), (0.2, 0.5, True), (0.2, 0.5, True), labels=("a", "b", "b")).label == "b"
    less = named((0.5, 0.9, True), (-0.1, 0.9, False))
    assert (less.explained, less.unnamed) == pytest.approx((0.9, 0.0)), "what carries less than nothing weighs nothing"
    assert (HeadCount(0, 0, why="nothing").explained, HeadCount(0, 0, number=0).unnamed) == (None, None)


def test_a_head_of_orders_is_named_so_and_one_of_noise_is_not(store):
    rows = {(r.layer, r.head): r for r in counts(store.run("r"), repairs=REPAIRS)}
    read = rows[1, 0]
    assert read.explained > 0.5
    assert "order" in read.label
    assert read.unnamed < 0.4


def test_the_table_has_most_components_first_and_those_without_last(store):
    rows = counts(store.run("r"), repairs=REPAIRS)
    told = table(rows)
    assert len(told) == len(rows) == 8
    numbers = told["number"].to_list()
    assert numbers[:-1] == sorted(numbers[:-1], reverse=True)
    assert numbers[-1] is None
    assert told["why"][-1].startswith("queries of this head are all the same")
    said, has = statement(rows), [r for r in rows if r.number]
    assert said.startswith(f"{len(has)} of 8 heads have components, {sum(r.number for r in has)} together")
    assert "Of the other heads 1 has nothing to choose." in said
    assert statement(rows[2:3]) == "None of 1 heads has a component; 1 has nothing to choose."
    number = max(r.number for r in has)
    most = [head_name(r.layer, r.head) for r in has if r.number == number]
    one = next(r for r in has if r.number == number)
    assert f"at most {number} ({', '.join(most) if len(most) < 5 else f'{len(most)} heads'}); " in said
    assert f"at most {number} ({most[0]}); " in statement([one, rows[2]])
    assert f"at most {number} ({most[0]}, {most[0]}); " in statement([one, one, rows[2]]), "all that have as many"
    assert f"at most {number} (5 heads); " in statement([one] * 5)
    assert refusals(rows) == {"queries of this head are all the same, so they choose nothing": 1}


def test_without_names_it_says_nothing_of_names_and_names_that_are_kept_are_given(store, layers):
    run = store.run("r")
    plain = kept_counts(store, run, repairs=REPAIRS, named=False)
    assert all(r.names == () for r in plain)
    assert [r.number for r in plain] == [r.number for r in counts(run, repairs=REPAIRS)]
    assert {(r.explained, r.unnamed, r.label) for r in plain} == {(None, None, "")}
    assert set(table(plain).filter(pl.col("number") > 0)["n_unnamed"]) == {None}
    assert "no name" not in statement(plain)
    assert "from chance" not in statement(plain)
    layers.clear()
    named = kept_counts(store, run, repairs=REPAIRS)
    assert layers == [0, 1], "what has no names does not stand for what has"
    assert "no name" in statement(named)
    assert statement(named).endswith("says of each whether it is told from chance."), "names that no swap judged"
    assert kept_counts(store, run, repairs=REPAIRS, named=False) == named
    assert layers == [0, 1]
