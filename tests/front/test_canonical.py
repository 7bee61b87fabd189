"""Canonical correlations: no change of basis moves them, and chance is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.rank import canonical, chance, ranks


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def head(rng, n=2000, d=6, strengths=(1.0, 1.0, 1.0), noise=0.1):
    """Queries and key contrasts that share len(strengths) latent dimensions."""
    z = rng.standard_normal((n, len(strengths)))
    B, A = (np.linalg.qr(rng.standard_normal((d, d)))[0][:, : len(strengths)] for _ in range(2))
    return z @ B.T + noise * rng.standard_normal((n, d)), (z * strengths) @ A.T + noise * rng.standard_normal((n, d))


def gauge(rng, d, condition):
    """M: (d, d) of a condition number."""
    P, Q = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    return (P * np.geomspace(1, condition, d)) @ Q


def slipped(rng, array, relative=1e-11):
    """The array, off by a planted error that is far above the rounding of any processor."""
    return array + relative * np.abs(array).max() * rng.standard_normal(array.shape)


def by_moments(x, c, slip=lambda M: M):
    """The same from second moments, as it is usually written; slip: an error of the moments of either side."""

    def root(M):
        values, vectors = np.linalg.eigh(slip(M))
        return (vectors / np.sqrt(values)) @ vectors.T

    n = len(x)
    return np.linalg.svd(root(x.T @ x / n) @ (x.T @ c / n) @ root(c.T @ c / n), compute_uv=False)


@pytest.mark.parametrize("d", [3, 8])
def test_a_gauge_leaves_them_and_the_logits_but_not_the_99_percent_rank(rng, d):
    """W_Q → M W_Q, W_K → M⁻ᵀ W_K with a condition of 100: M stretches the first direction of ΔC in query space."""
    x, c = head(rng, d=d)
    U, S, _ = np.linalg.svd(x.T @ c / len(x))
    M = np.eye(d) + 99 * np.outer(U[:, 0], U[:, 0])
    moved = x @ M.T, c @ np.linalg.inv(M)
    assert np.linalg.cond(M) == pytest.approx(100)
    assert np.allclose(np.sum(moved[0] * moved[1], axis=1), np.sum(x * c, axis=1), atol=1e-9)
    assert np.abs(canonical(*moved).values - canonical(x, c).values).max() < 1e-6
    assert ranks(x, c).energy == 3
    assert ranks(*moved).energy == 1
    assert not np.allclose(np.linalg.svd(moved[0].T @ moved[1] / len(x), compute_uv=False), S, rtol=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_nor_does_any_other_gauge_of_that_condition(rng, seed):
    x, c = head(rng)
    M = gauge(np.random.default_rng(seed), 6, 100.0)
    assert np.abs(canonical(x @ M.T, c @ np.linalg.inv(M)).values - canonical(x, c).values).max() < 1e-6
    other = rng.permutation(len(x))  # the control: other pairs of the same vectors
    assert np.abs(canonical(x, c[other]).values - canonical(x, c).values).max() > 0.5


def test_they_are_those_of_the_second_moments_and_stay_right_where_those_do_not(rng):
    x, c = head(rng)
    assert np.allclose(canonical(x, c).values, by_moments(x, c), atol=1e-10)
    M = gauge(rng, 6, 1e5)
    assert np.abs(canonical(x @ M.T, c @ np.linalg.inv(M)).values - canonical(x, c).values).max() < 1e-6
    M = gauge(rng, 6, 1e4)  # an error of the vectors grows by that, one of their moments by its square
    moved = x @ M.T, c @ np.linalg.inv(M)
    assert np.abs(canonical(*(slipped(rng, m) for m in moved)).values - canonical(x, c).values).max() < 1e-6
    off = by_moments(*moved, slip=lambda M: slipped(rng, M)) - canonical(x, c).values
    assert np.abs(off).max() > 1e-5, "the control"


def test_they_lie_in_0_to_1_and_say_what_is_shared(rng):
    values = canonical(*head(rng, strengths=(1.0, 0.05))).values
    assert np.all((values >= 0) & (values <= 1))
    assert np.all(np.diff(values) <= 0)
    assert len(values) == 6
    assert values[0] > 0.98
    assert 0.3 < values[1] < 0.7
    assert values[2] < 0.1
    x, _ = head(rng)
    assert np.allclose(canonical(x, 7 * x).values, 1)
    assert canonical(x, 7 * x).values.max() <= 1
    assert np.allclose(canonical(x, -x).values, 1)


def test_they_are_not_centred(rng):
    """A query that is nearly constant explains keys that differ in their mean, as within one category."""
    x = 1 + 0.01 * rng.standard_normal((500, 4))
    c = 3 + 0.01 * rng.standard_normal((500, 4))
    assert canonical(x, c).values[0] > 0.99
    assert canonical(x - x.mean(axis=0), c - c.mean(axis=0)).values[0] < 0.25


def test_directions_that_are_not_there_do_not_count(rng):
    x, c = head(rng)
    flat = c.copy()
    flat[:, 4:] = flat[:, :2]
    assert len(canonical(x, flat).values) == 4
    assert canonical(x, flat).chance < canonical(x, c).chance
    wide = np.hstack([x, x]).astype(np.float32)
    assert len(canonical(wide, np.hstack([c, c])).values) == 6, "the rounding of float32 is no direction"
    assert np.abs(canonical(wide, np.hstack([c, c])).values - canonical(x, c).values).max() < 1e-5
    nothing = canonical(x, np.zeros_like(c))
    assert len(nothing.values) == 0


@pytest.mark.parametrize(("n", "p", "m", "near"), [(400, 8, 8, 0.3), (400, 40, 10, 0.1), (3000, 64, 64, 0.05)])
def test_chance_is_the_largest_of_independent_pairs(rng, n, p, m, near):
    """An edge for many dimensions; with few, the largest lies a little below."""
    found = canonical(rng.standard_normal((n, p)), rng.standard_normal((n, m)))
    assert (1 - near) * found.chance < found.values[0] < 1.05 * found.chance == 1.05 * chance(n, p, m)
    assert canonical(*head(rng, n=n)).values[2] > 2 * chance(n, 6, 6), "and a shared direction is well above it"


def test_with_as_many_dimensions_as_queries_everything_is_chance(rng):
    found = canonical(rng.standard_normal((40, 30)), rng.standard_normal((40, 30)))
    assert found.chance == 1.0 == chance(40, 20, 20)
    assert found.values[0] == pytest.approx(1)
    assert chance(40, 10, 10) < 1
