"""A group of components as a contrast: its subspace is used wherever a contrast's is, its pairs are what it says."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import stores

import qkstore
from qkstore.analysis import Head, covariance, intervene, project
from qkstore.analysis.decomposition import components, group
from qkstore.analysis.decomposition.group import DRAWN, common, contrast
from qkstore.analysis.heads import heads
from qkstore.contrast import builtin, pairs
from qkstore.contrast.fit import misfit
from qkstore.errors import ContrastError
from qkstore.sql.bounds import LONGEST

ORDER = "q.queried_order = k.order_id"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("groups") / "store"
    stores.write(path)
    stores.write(path, "other", n=200, seed=1)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def run(store):
    return store.run("boxes")


@pytest.fixture(scope="module")
def of(run):
    return components(run, 1, 0)


def test_the_subspace_of_the_head_is_the_span_of_the_group(run, of):
    space = Head(run, 1, 0).subspace((contrast(of, [0, 2], "mine"),))
    assert space.rank == 2
    for basis, onto in ((space.U, of.found.a_onto), (space.V, of.found.b_onto)):
        assert np.allclose(basis @ (basis.T @ onto[:, [0, 2]]), onto[:, [0, 2]], atol=1e-5)
        assert not np.allclose(basis @ (basis.T @ onto[:, [1]]), onto[:, [1]], atol=1e-2), "the one left out is not in"


def test_another_head_and_another_run_are_told_whose_it_is(store, run, of):
    mine = contrast(of, [0], "mine")
    for layer, head in ((1, 1), (0, 0)):
        with pytest.raises(ContrastError, match=f"of layer 1 head 0 .* says nothing of layer {layer} head {head}"):
            Head(run, layer, head).subspace((mine,))
    with pytest.raises(ContrastError, match="layer 1 head 0"):
        Head(store.run("other"), 1, 0).subspace((mine,))
    assert misfit(run, mine) is None
    assert "of layer 1 head 0 of the run" in misfit(store.run("other"), mine)


def test_pairs_of_a_name_are_those_of_its_conditions(run, of):
    mine = contrast(of, [0, 1], "mine", ORDER)
    assert (mine.positive, mine.negative) == ("k.order_id = q.queried_order", "k.order_id <> q.queried_order")
    found, order = (pairs(run, c, "test") for c in (mine, builtin.ORDER))
    assert np.array_equal(found.query, order.query)
    assert np.array_equal(found.key, order.key)
    assert "whose role is box" in mine.sentence()


def test_listed_pairs_are_the_keys_that_the_head_chose_and_others_that_it_could(run, of):
    mine = contrast(of, [0], "mine")
    for split in ("train", "test"):
        found = Head(run, 1, 0).read(mine, "build" if split == "train" else "judge")
        stored = found.rows.stored
        counts = stored.counts
        assert counts.n_pos == counts.n_q <= DRAWN
        assert counts.n_neg > counts.n_pos
        table = pl.DataFrame({"query": stored.query, "logit": found.logits(), "positive": stored.positive})
        best = table.sort("logit").group_by("query", maintain_order=True).last()
        assert best["positive"].all(), "what gets most attention is positive"
        assert found.rows.run.attended(run.layers[1], stored.query, stored.key).all()
        labels = run.labels("k", ["role"], stored.key)["role"].to_pylist()
        assert set(labels) == {"box"}


def test_the_queries_listed_are_drawn_by_the_seed(of, monkeypatch):
    monkeypatch.setattr(group, "DRAWN", 50)
    assert contrast(of, [0], "mine") == contrast(of, [0], "mine")
    assert contrast(of, [0], "mine").positive != contrast(of, [0], "mine", seed=1).positive
    assert contrast(of, [0], "mine").positive.count("), (") == 2 * 50 - 1


def test_its_texts_are_within_the_guards_bounds_and_read_as_a_sentence(run, of):
    mine = contrast(of, [0, 1, 2], "mine")
    assert max(len(text) for text in (mine.where, mine.positive, mine.negative)) < LONGEST
    said = mine.sentence()
    assert len(said) < 900
    assert "is not one of" in said
    assert "3 dimensions of layer 1 head 0" in said


def test_every_analysis_takes_it(store, run, of):
    mine = store.catalog.save(contrast(of, [0, 1, 2], "mine"))
    (named,) = store.feature(run, "mine")
    assert named == mine
    swaps = intervene(run, {"mine": (named,), "order": (builtin.ORDER,)}, 1, 0)
    assert next((c.name, c.rank) for c in swaps.conditions) == ("mine", 3)
    alone, by_chance = swaps.conditions[0], next(c for c in swaps.conditions if c.name == "random")
    assert alone.target_after > by_chance.target_after
    assert covariance(run, named, 1, 0).delta.shape == (8, 8), "ΔC is that of the pairs"
    assert len(heads(run, named, nulls=9)) == 8
    assert project(run, (named,), 1, 0, "variant", "box").rank == 3


def test_a_common_name_is_one_that_all_have():
    def row(label="a", side="agreement", named=True, mixed=False) -> dict:
        return {"label": label, "side": side, "named": named, "mixed": mixed}

    assert common([row(), row()]) == "a"
    assert common([]) is None
    for other in (row("b"), row(side="key"), row(named=False), row(mixed=True)):
        assert common([row(), other]) is None


@pytest.mark.parametrize(
    ("chosen", "said"), [([], "no component; choose"), ([7], "no component 7"), ([-1], "no component -1")]
)
def test_a_group_that_is_none_is_one_line(of, chosen, said):
    with pytest.raises(ContrastError, match=said):
        contrast(of, chosen, "mine")


def test_a_name_that_is_no_agreement_is_one_line(of):
    with pytest.raises(ContrastError, match="'k.pos' is no agreement"):
        contrast(of, [0], "mine", "k.pos")
