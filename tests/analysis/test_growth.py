"""Growth: the rank is that of the queries whose label was drawn, and grows to that of all."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import write

import qkstore
from qkstore.analysis import covariance
from qkstore.analysis.evidence import growth
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError, RunError
from qkstore.subspace import rank

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=512)
    return qkstore.open(path).run("synthetic")


def test_all_values_give_the_rank_of_the_contrast(run):
    found = growth(run, ORDER, 1, 0)
    assert found.label == "queried_order"
    assert found.total == 4
    assert found.split == "train"
    whole = covariance(run, ORDER, 1, 0)
    last = found.table.filter(values=4)
    assert set(last["rank"]) == {whole.subspace.rank}
    assert set(last["queries"]) == {whole.counts.n_q}


def test_a_size_is_the_rank_of_the_queries_with_those_values(run):
    found = growth(run, ORDER, 1, 0, sizes=[1], draws=8)
    orders = run.labels("q", ["queried_order"], np.arange(run.n_queries))["queried_order"].to_numpy()
    every = pairs(run, ORDER, "train")
    expected = set()
    for value in np.unique(orders):
        kept = orders[every.query] == value
        q, k = run.queries(1, 0)[every.query[kept]], run.keys(1, 0)[every.key[kept]]
        side = every.positive[kept]
        delta = q[side].T @ k[side] / side.sum() - q[~side].T @ k[~side] / (~side).sum()
        expected.add((rank(np.linalg.svd(delta, compute_uv=False)), len(set(every.query[kept]))))
    assert set(zip(found.table["rank"], found.table["queries"])) <= expected
    assert len(found.table) == 8


def test_each_draw_holds_its_smaller_ones_and_draws_differ(run):
    found = growth(run, ORDER, 1, 0, sizes=[1, 2, 3], draws=4).table
    for draw in range(4):
        assert np.all(np.diff(found.filter(draw=draw)["queries"]) > 0)
    assert found.filter(values=1)["queries"].n_unique() > 1


def test_every_size_asked_for_is_there_in_whatever_order(run):
    found = growth(run, ORDER, 1, 0, sizes=[4, 2], draws=3).table
    assert found["values"].to_list() == [4, 2] * 3
    again = growth(run, ORDER, 1, 0, sizes=[2, 4], draws=3).table
    assert found.sort("values", "draw").equals(again.sort("values", "draw"))


def test_what_does_not_grow_is_named(run):
    with pytest.raises(ContrastError, match="one value of 'split'"):
        growth(run, ORDER, 1, 0, by="split")
    with pytest.raises(ContrastError, match="9 values of 'queried_order': there are 1 to 4"):
        growth(run, ORDER, 1, 0, sizes=[9])
    with pytest.raises(RunError, match="no label 'queried_ordr'"):
        growth(run, ORDER, 1, 0, by="queried_ordr")
