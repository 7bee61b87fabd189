"""Distribution of the logit gap: parts sum to the gap in every query, and means are those of the shares over all of them."""

from __future__ import annotations

import numpy as np
import pytest
import stores

import qkstore
from qkstore.analysis import shares
from qkstore.distribution import distribution, gaps
from qkstore.errors import ContrastError
from qkstore.subspace import random


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("store")))


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    spaces = {"a": random(8, 2, rng), "b": random(8, 3, rng)}
    return rng.normal(size=(50, 8)), rng.normal(size=(50, 8)), spaces


def test_parts_sum_to_the_gap_of_every_query(arrays):
    q, difference, spaces = arrays
    found = distribution(q, difference, spaces, 0.5)
    assert list(found.parts) == ["a", "b", "rest"]
    assert np.allclose(sum(found.parts.values()), found.gap) and np.allclose(found.gap, 0.5 * np.sum(q * difference, axis=1))
    assert sum(found.share.values()) == pytest.approx(1)


def test_the_first_feature_takes_what_two_share(arrays):
    q, difference, spaces = arrays
    one = distribution(q, difference, spaces, 1.0, order=["a", "b"]).parts
    other = distribution(q, difference, spaces, 1.0, order=["b", "a"]).parts
    U = spaces["a"].U
    assert np.allclose(one["a"], np.sum((q @ U @ U.T) * difference, axis=1)) and not np.allclose(one["a"], other["a"])
    assert list(other) == ["b", "a", "rest"]


def test_intervals_hold_the_share_and_narrow(arrays):
    rng = np.random.default_rng(1)
    widths = []
    for n in (100, 10_000):
        q = rng.normal(size=(n, 8)) + 1
        found = distribution(q, q + rng.normal(size=(n, 8)), arrays[2], 1.0)
        low, high = found.ci["a"]
        assert low < found.share["a"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_without_a_gap_there_are_no_shares(arrays):
    q, _, spaces = arrays
    found = distribution(q, np.zeros_like(q), spaces, 1.0)
    assert set(found.share.values()) == {None} == set(found.ci.values())


def test_over_a_run_the_means_are_those_of_the_shares(store):
    run = store.run("boxes")
    features = {name: store.feature(run, name) for name in ("order", "lexical")}
    (order,) = features["order"]
    for head in (0, 2):
        found, whole = gaps(run, features, 1, head, order), shares(run, features, 1, head, over=order).shares
        assert float(found.gap.mean()) == pytest.approx(whole.gap) and found.share == pytest.approx(whole.share) and found.split == "test"
    assert gaps(run, features, 1, 0, order).share["order"] > 0.8
    assert gaps(run, features, 1, 2, order).share["order"] < 0.3


def test_an_empty_side_is_named(store):
    run = store.run("boxes")
    with pytest.raises(ContrastError, match="no positive pairs"):
        gaps(run, {"order": store.feature(run, "order")}, 1, 0, store.feature(run, "order")[0].replace(positive="k.order_id = 99"))
