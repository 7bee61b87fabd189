"""Distribution of the logit gap: parts sum to the gap in every query, and means are those of all queries' shares."""

from __future__ import annotations

import numpy as np
import pytest
import stores

import qkstore
from qkstore.analysis import shares
from qkstore.analysis.attribution import gaps
from qkstore.attribution import distribution
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
    assert np.allclose(sum(found.parts.values()), found.gap)
    assert np.allclose(found.gap, 0.5 * np.sum(q * difference, axis=1))
    assert sum(found.share.values()) == pytest.approx(1)


def test_the_first_feature_takes_what_two_share(arrays):
    q, difference, spaces = arrays
    one = distribution(q, difference, spaces, 1.0, order=["a", "b"]).parts
    other = distribution(q, difference, spaces, 1.0, order=["b", "a"]).parts
    U = spaces["a"].U
    assert np.allclose(one["a"], np.sum((q @ U @ U.T) * difference, axis=1))
    assert not np.allclose(one["a"], other["a"])
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


def test_intervals_of_shares_cover_the_truth(arrays):
    """Queries N(1, I) with keys W q + noise: a part's mean is tr(U Uᵀ E[q qᵀ] W), and shares follow."""
    spaces, W = arrays[2], np.diag(np.arange(1, 9) / 4)
    second = np.eye(8) + 1  # E[q qᵀ]
    A = spaces["a"].U @ spaces["a"].U.T
    B = spaces["b"].U @ spaces["b"].U.T @ (np.eye(8) - A)  # a, the smaller, is taken out first
    true = {"a": np.trace(A @ second @ W), "b": np.trace(B @ second @ W)}
    true = {name: value / np.trace(second @ W) for name, value in true.items()} | {
        "rest": 1 - sum(true.values()) / np.trace(second @ W)
    }
    covered, off = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        q = rng.normal(size=(150, 8)) + 1
        found = distribution(q, q @ W + rng.normal(size=(150, 8)), spaces, 0.25)
        covered.append([found.ci[name][0] <= value <= found.ci[name][1] for name, value in true.items()])
        off.append([found.ci[name][0] <= value + 0.15 <= found.ci[name][1] for name, value in true.items()])
    assert ((0.89 <= np.mean(covered, axis=0)) & (np.mean(covered, axis=0) <= 1)).all()
    assert (np.mean(off, axis=0) < 0.35).all()


def test_the_scaling_changes_logits_and_no_share(arrays):
    q, difference, spaces = arrays
    one, other = (distribution(q, difference, spaces, s) for s in (1.0, 0.25))
    assert np.allclose(other.gap, one.gap / 4)
    assert other.share == pytest.approx(one.share)
    assert all(other.ci[name] == pytest.approx(one.ci[name]) for name in one.ci)


def test_a_seed_draws_the_interval_and_nothing_else(arrays):
    q, difference, spaces = arrays
    one, same, other = (distribution(q, q + difference, spaces, 1.0, seed=s) for s in (0, 0, 1))
    assert one.ci == same.ci != other.ci
    assert one.share == other.share


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
        assert float(found.gap.mean()) == pytest.approx(whole.gap)
        assert found.share == pytest.approx(whole.share)
        assert found.split == "test"
    assert gaps(run, features, 1, 0, order).share["order"] > 0.8
    assert gaps(run, features, 1, 2, order).share["order"] < 0.3


def test_an_empty_side_is_named(store):
    run = store.run("boxes")
    with pytest.raises(ContrastError, match="no positive pairs"):
        gaps(
            run,
            {"order": store.feature(run, "order")},
            1,
            0,
            store.feature(run, "order")[0].replace(positive="k.order_id = 99"),
        )
