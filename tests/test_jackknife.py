"""Jackknife: intervals of ΔC's size, rank and gap cover the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.jackknife import moments


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
    assert found.norm.value == pytest.approx(np.linalg.norm(delta)) and found.trace.value == pytest.approx(np.trace(delta))
    rest = delta - np.outer(x.mean(axis=0), c.mean(axis=0))
    assert found.mean_query.value == pytest.approx(1 - np.sum(rest**2) / np.sum(delta**2))


def test_intervals_of_the_gap_cover_the_truth():
    found = [moments(*sample(400, seed)).trace for seed in range(200)]
    covered = np.mean([e.low <= 6 <= e.high for e in found])
    assert 0.9 <= covered <= 0.99
    halves = np.mean([e.value - 0.3 * (e.value - e.low) <= 6 <= e.value + 0.3 * (e.high - e.value) for e in found])
    assert halves < 0.7, "the control: an interval a third as wide misses"


def test_intervals_narrow_with_more_queries():
    few, many = (moments(*sample(n, 1)) for n in (200, 20_000))
    for name in ("norm", "trace"):
        a, b = getattr(few, name), getattr(many, name)
        assert 5 < (a.high - a.low) / (b.high - b.low) < 20, "ten times as narrow"


def test_a_clear_rank_has_no_spread_and_an_unclear_one_does():
    clear = moments(*sample(20_000, 2, noise=0.1)).rank
    assert (clear.value, clear.low, clear.high) == (2, 2, 2)
    spread = [moments(*sample(150, seed, noise=2.0)).rank for seed in range(5)]
    assert any(e.low < e.value < e.high for e in spread) and all(e.low >= 0 for e in spread)


def test_the_mean_query_explains_all_where_the_query_never_varies():
    x, c = sample(300, 3)
    assert moments(np.ones_like(x), c).mean_query.value == pytest.approx(1)
    assert moments(x - x.mean(axis=0), c).mean_query.value == pytest.approx(0, abs=1e-12)


def test_fewer_queries_than_parts_and_the_same_seed():
    assert moments(*sample(7, 0)).norm.value > 0
    assert moments(*sample(100, 0), seed=4) == moments(*sample(100, 0), seed=4)
