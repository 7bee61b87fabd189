"""Jackknife: intervals of ΔC's size, rank and gap cover the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.errors import ContrastError
from qkstore.interval import moments


def sample(n: int, seed: int, d: int = 6, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Units with mean x cᵀ = diag(4, 2, 0, …), of rank 2, and noise in all directions."""
    rng = np.random.default_rng(seed)
    z = rng.choice([-1.0, 1.0], (n, 2))
    x, c = (noise * rng.normal(size=(n, d)) for _ in range(2))
    x[:, :2] += z * [2, 2]
    c[:, :2] += z * [2, 1]
    return x, c


def test_values_are_those_of_delta():
    x, c = sample(500, 0)
    delta, found = x.T @ c / 500, moments(x, c)
    assert found.norm.value == pytest.approx(np.linalg.norm(delta))
    assert found.trace.value == pytest.approx(np.trace(delta))
    rest = delta - np.outer(x.mean(axis=0), c.mean(axis=0))
    assert found.mean_query.value == pytest.approx(1 - np.sum(rest**2) / np.sum(delta**2))


def test_intervals_of_the_gap_cover_the_truth():
    found = [moments(*sample(400, seed)).trace for seed in range(200)]
    covered = np.mean([e.low <= 6 <= e.high for e in found])
    assert 0.9 <= covered <= 0.99
    halves = np.mean([e.value - 0.3 * (e.value - e.low) <= 6 <= e.value + 0.3 * (e.high - e.value) for e in found])
    assert halves < 0.7, "the control: an interval a third as wide misses"


def test_intervals_of_the_size_and_of_the_mean_querys_share_cover_the_truth():
    """Queries with a mean of their own: ΔC = diag(4, 2, 0, …) + m wᵀ, of which the mean query explains m wᵀ."""
    m, w, planted = np.eye(6)[2], 2 * np.eye(6)[3], np.diag([4.0, 2, 0, 0, 0, 0])
    true = planted + np.outer(m, w)
    share = 1 - np.sum(planted**2) / np.sum(true**2)
    found = [moments(x + m, c + w) for x, c in (sample(1000, seed) for seed in range(200))]
    for name, value in (("norm", np.linalg.norm(true)), ("mean_query", share)):
        estimates = [getattr(e, name) for e in found]
        assert 0.88 <= np.mean([e.low <= value <= e.high for e in estimates]) <= 0.99, name
        assert np.mean([e.low <= 1.3 * value <= e.high for e in estimates]) < 0.2, (
            "the control: another value is not covered"
        )
    assert np.mean([e.rank.low <= 3 <= e.rank.high for e in found]) > 0.9, "three directions hold 99 %"


def test_sizes_are_not_below_zero_though_their_interval_be_wider_than_they_are():
    x, c = np.zeros((2, 40, 3))
    x[0], c[0] = 10, -10  # one query has all of it
    found = moments(x, c)
    assert found.norm.low == found.rank.low == 0 < found.norm.value
    assert found.norm.high > 2 * found.norm.value
    assert found.trace.low < 2 * found.trace.value < 0, "a gap may have any sign"


def test_no_interval_leaves_the_range_of_what_it_is_of():
    """A share of 1 at most and a rank of d at most, also of few queries with a large shared mean."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, c = rng.normal(size=(6, 3)) + 5, rng.normal(size=(6, 3)) + 2
        found = moments(x, c)
        assert found.mean_query.high <= 1
        assert 0 <= found.rank.low <= found.rank.high <= 3
        assert all(e.low <= e.value <= e.high for e in (found.norm, found.rank, found.trace, found.mean_query))


def test_the_order_of_queries_does_not_matter_to_values_and_scale_does_as_it_must():
    x, c = sample(300, 5)
    order = np.random.default_rng(0).permutation(300)
    one, other, larger = moments(x, c), moments(x[order], c[order]), moments(3 * x, c)
    assert one.norm.value == pytest.approx(other.norm.value)
    assert one.trace.value == pytest.approx(other.trace.value)
    assert larger.norm.interval == pytest.approx([3 * v for v in one.norm.interval])
    assert larger.rank == one.rank
    assert larger.mean_query.interval == pytest.approx(one.mean_query.interval)


def test_no_contrast_at_all_explains_nothing_and_does_not_divide_by_zero():
    found = moments(np.ones((50, 3)), np.zeros((50, 3)))
    assert (found.norm.interval, found.trace.interval, found.mean_query.value) == ((0, 0), (0, 0), 0)


def test_intervals_narrow_with_more_queries():
    few, many = (moments(*sample(n, 1)) for n in (200, 20_000))
    for name in ("norm", "trace"):
        a, b = getattr(few, name), getattr(many, name)
        assert 5 < (a.high - a.low) / (b.high - b.low) < 20, "ten times as narrow"


def test_a_clear_rank_has_no_spread_and_an_unclear_one_does():
    clear = moments(*sample(20_000, 2, noise=0.1)).rank
    assert (clear.value, clear.low, clear.high) == (2, 2, 2)
    spread = [moments(*sample(150, seed, noise=2.0)).rank for seed in range(5)]
    assert any(e.low < e.value < e.high for e in spread)
    assert all(e.low >= 0 for e in spread)


def test_the_mean_query_explains_all_where_the_query_never_varies():
    x, c = sample(300, 3)
    assert moments(np.ones_like(x), c).mean_query.value == pytest.approx(1)
    assert moments(x - x.mean(axis=0), c).mean_query.value == pytest.approx(0, abs=1e-12)


def test_fewer_queries_than_parts_and_the_same_seed():
    assert moments(*sample(7, 0)).norm.value > 0
    assert moments(*sample(100, 0), seed=4) == moments(*sample(100, 0), seed=4)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_intervals_cover_the_truth_where_queries_are_fewer_than_parts(n):
    """One unit of queries and normal keys: the gap is a mean of n normal values, for which Student's t is exact."""
    x, rng = np.ones((n, 1)), np.random.default_rng(n)
    found = [moments(x, 1 + rng.standard_normal((n, 1))).trace for _ in range(1500)]
    half, off = np.array([e.high - e.value for e in found]), np.array([abs(e.value - 1) for e in found])
    assert abs(np.mean(off <= half) - 0.95) < 0.02
    twenty = 2.093 / {3: 4.302653, 4: 3.182446, 6: 2.570582}[n]
    assert np.mean(off <= twenty * half) < 0.92, "the control: the t of twenty parts covers too seldom"


def test_one_query_has_no_interval():
    with pytest.raises(ContrastError, match="over 2 queries or more; the contrast has 1"):
        moments(np.ones((1, 3)), np.ones((1, 3)))
    assert np.isfinite(moments(np.eye(2, 3), np.eye(2, 3)).norm.high)
