"""Clouds: what is drawn is what the library projects.

Queries lie with their keys where a feature was planted, and only there.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import stores

import qkstore
from qkstore import analysis
from qkstore.analysis.points import Cloud, Places, Side, cloud, matches
from qkstore.analysis.points.cloud import NO_LABEL
from qkstore.errors import ContrastError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("store")))


def side(vectors, coordinates, group, prompt) -> Side:
    """Points of a side that has one token a prompt."""
    at = Places(np.arange(len(prompt)), group, prompt, np.zeros(len(prompt), int), prompt.astype(str))
    return Side(vectors, coordinates, at)


def points(store, head: int, layer: int = 1) -> Cloud:
    run = store.run("boxes")
    return cloud(run, store.feature(run, "order"), layer, head, "queried_order", "order_id")


def test_every_query_and_key_of_the_judged_split_is_there(store):
    found, run = points(store, 0), store.run("boxes")
    whole = analysis.project(run, store.feature(run, "order"), 1, 0, "queried_order", "order_id")
    assert len(found.query.at.group) + len(found.key.at.group) == whole.total
    assert found.split == whole.split == "test"
    assert found.rank == whole.rank
    drawn = found.draw("pca", most=10_000)
    table, explained = drawn.table, drawn.explained
    assert len(table) == whole.total
    assert explained == pytest.approx(whole.explained)
    assert np.allclose(table.select("x", "y", "z").to_numpy(), whole.table.select("x", "y", "z").to_numpy(), atol=1e-4)


def test_what_has_no_label_says_so_and_is_no_word_none(tmp_path):
    data = stores.boxes(64)
    data.tokens = data.tokens.with_columns(entity=pl.when(pl.col("prompt_id") != 1).then(pl.col("entity")))
    run = qkstore.open(stores.write(tmp_path / "store", data=data)).run("boxes")
    group = Places.of(run, "k", "entity", np.arange(8)).group
    assert set(group[4:]) == {NO_LABEL} == {"no label"}
    assert NO_LABEL not in group[:4]


def test_a_drawing_is_sampled_and_may_be_of_keys_alone(store):
    found = points(store, 0)
    table = found.draw("pca", most=60).table
    assert len(table) <= 60
    assert set(table["side"]) == {"query", "key"}
    keys = found.draw("raw", queries=False, most=60).table
    assert set(keys["side"]) == {"key"}
    assert len(keys) == 60
    assert set(keys["group"].value_counts()["count"]) == {15}


def test_planted_queries_lie_with_their_keys_and_others_do_not(store):
    planted, noise = matches(points(store, 0)), matches(points(store, 3, layer=0))
    for side in ("query", "key"):
        assert planted[side].share > 0.9
        assert planted[side].groups == 4
        assert planted[side].ci[0] <= planted[side].share <= planted[side].ci[1]
    assert noise["query"].ci[0] < 0.35, "the control is near chance"


def test_a_match_stands_beside_what_any_subspace_gives():
    """Keys of groups that fill the whole space lie together in every subspace: the share alone says nothing of it."""
    rng = np.random.default_rng(1)
    group, prompt = rng.integers(0, 8, 480), np.arange(480)
    centres = rng.normal(size=(8, 16)) * 2
    vectors = centres[group] + rng.normal(size=(480, 16))
    every = side(vectors, vectors[:, :6], group.astype(str), prompt)
    spread = matches(Cloud(every, every, 6, None))["key"]
    assert spread.share > 0.5 > 1 / spread.groups
    mean, least, most = spread.at_random
    assert least <= mean <= most
    assert spread.share - mean < 0.25, "no more than a random subspace gives"
    assert spread.raw > spread.share
    held = np.zeros((480, 16))
    held[:, :6] = centres[group, :6]
    alone = held + rng.normal(size=(480, 16))
    every = side(alone, alone[:, :6], group.astype(str), prompt)
    planted = matches(Cloud(every, every, 6, None))["key"]
    assert planted.share > planted.at_random[2] + 0.1, "a subspace of its own holds more than any random one"


def test_a_query_is_judged_by_keys_of_other_prompts():
    rng = np.random.default_rng(0)
    prompt = np.arange(400)
    own = side(*[rng.normal(size=(400, 6))] * 2, rng.integers(0, 40, 400).astype(str), prompt)
    found = matches(Cloud(own, own, 6, None))
    assert found["query"].share < 0.15, "the same vectors on both sides would match themselves"


def test_one_group_is_no_match():
    every = side(np.ones((8, 2)), np.ones((8, 2)), np.array(["a"] * 8), np.arange(8))
    with pytest.raises(ContrastError, match="1 groups of keys"):
        matches(Cloud(every, every, 2, None))


def test_matches_are_those_of_a_loop(store):
    """Centres are means of the keys of every other pair of prompts, less the mean of the centres.

    A point of the other prompts, less their mean, belongs to the centre nearest to it by cosine.
    """
    found = points(store, 1)
    for raw in (False, True):
        said = matches(found)
        key = found.key.vectors if raw else found.key.coordinates

        def apart(side):
            return side.at.prompt // 2 % 2

        groups = sorted(set(found.key.at.group[apart(found.key) == 1]))
        centre = np.array([key[(apart(found.key) == 1) & (found.key.at.group == g)].mean(axis=0) for g in groups])
        for name, side in (("query", found.query), ("key", found.key)):
            mine = side.vectors if raw else side.coordinates
            rows = [i for i in range(len(mine)) if apart(side)[i] == 0 and side.at.group[i] in groups]
            middle = np.mean(
                [
                    mine[[i for i in rows if side.at.group[i] == g]].mean(axis=0)
                    for g in sorted({side.at.group[i] for i in rows})
                ],
                axis=0,
            )
            right = 0
            for i in rows:
                cosines = [
                    np.dot(mine[i] - middle, c) / np.linalg.norm(mine[i] - middle) / np.linalg.norm(c)
                    for c in centre - centre.mean(axis=0)
                ]
                right += groups[int(np.argmax(cosines))] == side.at.group[i]
            share = said[name].raw if raw else said[name].share
            assert (share, said[name].n, said[name].groups) == (
                pytest.approx(right / len(rows)),
                len(rows),
                len(groups),
            )


def test_coordinates_are_those_in_the_subspace_and_raw_points_the_vectors(store):
    found, run = points(store, 0), store.run("boxes")
    space = analysis.subspace(run, store.feature(run, "order"), 1, 0)
    assert np.allclose(found.query.coordinates, found.query.vectors @ space.U, atol=1e-5)
    assert np.allclose(found.key.coordinates, found.key.vectors @ space.V, atol=1e-5)
    assert found.rank == space.rank < 8
    inside, outside = (
        found.draw(method, most=10_000).table.select("x", "y", "z").to_numpy() for method in ("pca", "raw")
    )
    assert np.var(outside, axis=0).sum() > np.var(inside, axis=0).sum()
    assert not np.allclose(inside, outside, atol=0.1)


def test_two_dimensions_are_drawn_with_a_flat_third(store):
    found = points(store, 0)
    flat = [Side(s.vectors, s.coordinates[:, :2], s.at) for s in (found.query, found.key)]
    drawn = Cloud(*flat, 2, "test").draw("pca")
    table, explained = drawn.table, drawn.explained
    assert set(table["z"]) == {0.0}
    assert table["x"].std() > 0
    assert sum(explained) == pytest.approx(1)


def test_a_sample_is_the_same_for_a_seed_and_keeps_groups_and_texts_together(store):
    found = points(store, 0)
    one, same, other = (found.draw("pca", most=80, seed=s).table for s in (0, 0, 1))
    assert one.equals(same)
    assert not one.equals(other)
    where = {(p, t): g for p, t, g in zip(found.key.at.prompt, found.key.at.text, found.key.at.group)}
    assert all(where[p, t] == g for p, t, g in one.filter(side="key").select("prompt_id", "text", "group").iter_rows())


def test_a_span_has_the_points_of_all_its_contrasts_once(store):
    run = store.run("boxes")
    (order,) = store.feature(run, "order")
    halves = tuple(order.replace(name=f"h{i}", where=f"({order.where}) and q.queried_order % 2 = {i}") for i in (0, 1))
    span, whole = cloud(run, halves, 1, 0, "queried_order", "order_id"), points(store, 0)
    assert len(span.query.at.group) == len(whole.query.at.group)
    assert sorted(span.key.at.text) == sorted(whole.key.at.text)
    one = cloud(run, halves[:1], 1, 0, "queried_order", "order_id")
    assert set(one.query.at.group) == {"2", "4"}
    assert len(one.query.at.group) < len(whole.query.at.group)
