"""Clouds: what is drawn is what the library projects, and queries lie with their keys where a feature was planted, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import stores

import qkstore
from qkstore import analysis
from qkstore.cloud import Cloud, Side, cloud, drawn, matches
from qkstore.errors import ContrastError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("store")))


def points(store, head: int, layer: int = 1) -> Cloud:
    run = store.run("boxes")
    return cloud(run, store.feature(run, "order"), layer, head, "queried_order", "order_id")


def test_every_query_and_key_of_the_judged_split_is_there(store):
    found, run = points(store, 0), store.run("boxes")
    whole = analysis.project(run, store.feature(run, "order"), 1, 0, "queried_order", "order_id")
    assert len(found.query.group) + len(found.key.group) == whole.total and found.split == whole.split == "test" and found.rank == whole.rank
    table, explained = drawn(found, "pca", most=10_000)
    assert len(table) == whole.total and explained == pytest.approx(whole.explained)
    assert np.allclose(table.select("x", "y", "z").to_numpy(), whole.table.select("x", "y", "z").to_numpy(), atol=1e-4)


def test_a_drawing_is_sampled_and_may_be_of_keys_alone(store):
    found = points(store, 0)
    table, _ = drawn(found, "pca", most=60)
    assert len(table) <= 60 and set(table["side"]) == {"query", "key"}
    keys, _ = drawn(found, "raw", queries=False, most=60)
    assert set(keys["side"]) == {"key"} and len(keys) == 60 and set(keys["group"].value_counts()["count"]) == {15}


def test_planted_queries_lie_with_their_keys_and_others_do_not(store):
    planted, noise = matches(points(store, 0)), matches(points(store, 3, layer=0))
    for side in ("query", "key"):
        assert planted[side].share > 0.9 and planted[side].groups == 4
        assert planted[side].ci[0] <= planted[side].share <= planted[side].ci[1]
    assert noise["query"].ci[0] < 0.35, "the control is near chance"


def test_a_query_is_judged_by_keys_of_other_prompts():
    rng = np.random.default_rng(0)
    prompt = np.arange(400)
    own = Side(*[rng.normal(size=(400, 6))] * 2, rng.integers(0, 40, 400).astype(str), prompt, prompt.astype(str))
    found = matches(Cloud(own, own, 6, None))
    assert found["query"].share < 0.15, "the same vectors on both sides would match themselves"


def test_one_group_is_no_match():
    side = Side(np.ones((8, 2)), np.ones((8, 2)), np.array(["a"] * 8), np.arange(8), np.array(["t"] * 8))
    with pytest.raises(ContrastError, match="1 groups of keys"):
        matches(Cloud(side, side, 2, None))
