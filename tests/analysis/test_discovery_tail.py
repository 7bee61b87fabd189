"""Small p-values from three moments: uniform without a feature, far below one in the number of deals with one."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.analysis.discovery.tail import LEAST_P, cumulants, p_norm, p_tail
from qkstore.null import SignNull


def planted(rng, n=200, d=8, feature=0.0, mean=2.0):
    """q, x, c of one head: queries with a mean, key contrasts that have `feature` times the query in them."""
    x = rng.standard_normal((n, d)) * np.linspace(2, 0.5, d)
    c = rng.standard_normal((n, d)) * np.linspace(1, 0.3, d) + feature * x
    q = x + mean
    return [v.astype(np.float32) for v in (q, q - q.mean(axis=0), c - c.mean(axis=0))]


def test_p_values_are_uniform_without_a_feature():
    rng = np.random.default_rng(0)
    p = np.array([p_norm(*planted(rng)) for _ in range(3000)])
    for level, slack in ((0.5, 0.04), (0.05, 0.013), (0.01, 0.006)):
        assert abs((p <= level).mean() - level) < slack
    assert (p <= 1e-4).sum() <= 3


def test_a_feature_has_a_p_value_that_no_number_of_deals_gives():
    p = [p_norm(*planted(np.random.default_rng(i), feature=0.3)) for i in range(20)]
    assert max(p) < 1e-6
    assert min(p) >= LEAST_P


def test_it_agrees_with_dealt_signs():
    """The quantiles of 4,000 deals of one head, against the tail of its moments."""
    from qkstore.covariance import Pairs

    q, x, c = planted(np.random.default_rng(1))
    n = len(q)
    pairs = Pairs(np.arange(n).repeat(2), np.arange(2 * n), np.tile([1, -1], n))
    norms = SignNull(pairs, 4000).norms(x, c)[:, 0]
    moments = cumulants(x, c)
    for share in (0.5, 0.1, 0.01):
        at = float(np.quantile(norms, 1 - share)) ** 2 * n * (n - 1)
        assert p_tail(at, moments) == pytest.approx(share, rel=0.35 if share < 0.05 else 0.12)


def test_a_sample_of_units_tells_the_moments_of_all():
    _, x, c = planted(np.random.default_rng(2), n=1600)
    G = (x @ x.T) * (c @ c.T)
    np.fill_diagonal(G, 0)
    exact = 2 * np.square(G, dtype=np.float64).sum(), 8 * np.sum((G @ G) * G, dtype=np.float64)
    told = cumulants(x, c)
    assert told[0] == pytest.approx((np.square(x).sum(1) * np.square(c).sum(1)).sum(), rel=1e-4)
    assert told[1:] == pytest.approx(exact, rel=0.25)


def test_queries_that_share_keys_have_one_sign_together():
    """Of twenty prompts of ten queries alike, single signs call chance a feature; signs by prompt do not."""
    rng, single, together = np.random.default_rng(3), [], []
    groups = np.arange(30).repeat(10)
    for _ in range(200):
        q, _, c = planted(rng, n=30)
        q, c = (v[groups] + 0.1 * rng.standard_normal((300, 8)).astype(np.float32) for v in (q, c))
        x, c = q - q.mean(axis=0), c - c.mean(axis=0)
        single.append(p_norm(q, x, c))
        together.append(p_norm(q, x, c, groups))
    assert np.mean(np.array(single) <= 0.05) > 0.5
    assert np.mean(np.array(together) <= 0.05) < 0.1


def test_a_constant_query_has_p_one():
    q = np.ones((50, 8), np.float32) * np.linspace(1, 2, 8, dtype=np.float32)
    noise = 1e-7 * np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    c = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    q = q + noise
    assert p_norm(q, q - q.mean(axis=0), c) == 1.0
    assert p_norm(q, q - q.mean(axis=0) + c, c) < 1e-6  # the control: queries that vary
    assert p_norm(q[:2], q[:2] - q[:2].mean(axis=0), c[:2]) == 1.0
