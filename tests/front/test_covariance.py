"""ΔC is what its definition says, however it is streamed."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some(rng, n=30, m=50, d=6, p=200, mean=0.0):
    """Vectors with a mean, and pairs that share keys between queries, repeat, and skip some rows."""
    q, k = rng.standard_normal((n, d)) + mean, rng.standard_normal((m, d)) + mean
    pairs = Pairs(rng.integers(0, n - 3, p), rng.integers(0, m - 3, p), rng.choice([1, 1, -1], p), rng.random(p) + 0.1)
    return q.astype(np.float32), k.astype(np.float32), pairs


def brute(q, k, pairs, centre=0.0):
    """Outer products, one pair at a time."""
    sides = {1: np.zeros((q.shape[1],) * 2), -1: np.zeros((q.shape[1],) * 2)}
    total = {1: 0.0, -1: 0.0}
    for i, j, s, w in zip(pairs.query, pairs.key, pairs.sign, pairs.weight):
        sides[s] += w * np.outer(q[i].astype(float) - centre, k[j].astype(float))
        total[s] += w
    return sides[1] / total[1], sides[-1] / total[-1]


def fit(q, k, pairs, centred=False):
    return ContrastiveCovariance(q.shape[1], centred).update(q, k, pairs)


def by_query(pairs, groups):
    """The pairs of each group of queries."""
    return [
        Pairs(*(getattr(pairs, f)[np.isin(pairs.query, g)] for f in ("query", "key", "sign", "weight"))) for g in groups
    ]


def same(a, b, tol=1e-9):
    return np.linalg.norm(a - b) <= tol * np.linalg.norm(b)


def test_equals_outer_products(rng):
    q, k, pairs = some(rng, mean=2.0)
    fitted, (C_pos, C_neg) = fit(q, k, pairs), brute(q, k, pairs)
    assert same(fitted.C_pos, C_pos, 1e-13)
    assert same(fitted.C_neg, C_neg, 1e-13)
    assert same(fitted.delta, C_pos - C_neg, 1e-12)
    assert (fitted.n_pos, fitted.n_neg) == (int((pairs.sign > 0).sum()), int((pairs.sign < 0).sum()))
    flipped = Pairs(pairs.query, pairs.key, -pairs.sign, pairs.weight)
    assert same(fit(q, k, flipped).delta, -fitted.delta, 1e-12)
    assert not same(fit(q, k, flipped).delta, fitted.delta, 0.1)


def test_weights_are_repeats(rng):
    q, k, pairs = some(rng)
    times = rng.integers(1, 4, len(pairs))
    weighted = Pairs(pairs.query, pairs.key, pairs.sign, times)
    repeated = Pairs(*(np.repeat(getattr(pairs, f), times) for f in ("query", "key", "sign")))
    assert same(fit(q, k, weighted).delta, fit(q, k, repeated).delta)
    assert not same(fit(q, k, weighted).delta, fit(q, k, Pairs(pairs.query, pairs.key, pairs.sign)).delta, 1e-3)


def test_centring_is_centring_the_distinct_queries(rng):
    q, k, pairs = some(rng, mean=3.0)
    centre = q[np.unique(pairs.query)].mean(axis=0, dtype=float)
    C_pos, C_neg = brute(q, k, pairs, centre)
    fitted = fit(q, k, pairs, centred=True)
    assert same(fitted.C_pos, C_pos)
    assert same(fitted.delta, C_pos - C_neg)
    assert not same(fitted.delta, fit(q, k, pairs).delta, 1e-2)
    per_pair = brute(q, k, pairs, q[pairs.query].mean(axis=0, dtype=float))  # a query with many pairs would count more
    assert not same(fitted.C_pos, per_pair[0], 1e-4)


@pytest.mark.parametrize("centred", [False, True])
def test_streamed_and_merged_in_any_order(rng, centred):
    q, k, pairs = some(rng, n=60, p=500, mean=10.0)
    whole = fit(q, k, pairs, centred)
    parts = by_query(pairs, np.array_split(rng.permutation(60), 7))
    streamed = ContrastiveCovariance(q.shape[1], centred)
    for part in parts:
        query_rows, key_rows, local = part.localise()
        assert streamed.update(q[query_rows], k[key_rows], local) is streamed
    merged = ContrastiveCovariance(q.shape[1], centred)
    for i in rng.permutation(len(parts)):
        merged.merge(fit(q, k, parts[i], centred))
    for other in (streamed, merged):
        assert same(other.delta, whole.delta)
        assert same(other.C_neg, whole.C_neg)
        assert (other.n_pos, other.n_neg, other.queries_) == (whole.n_pos, whole.n_neg, whole.queries_)
    assert not same(merged.merge(fit(q, k, parts[0], centred)).delta, whole.delta)  # a shard counted twice shows


def test_fitters_of_two_kinds_do_not_merge(rng):
    with pytest.raises(AssertionError):
        ContrastiveCovariance(4).merge(ContrastiveCovariance(4, centred=True))
    with pytest.raises(AssertionError):
        ContrastiveCovariance(4).update(np.zeros((2, 4)), np.zeros((2, 5)), Pairs([0], [0], [1]))


@pytest.mark.parametrize("sign, side", [(1, "no negative"), (-1, "no positive")])
def test_an_empty_side_is_an_error_at_read_out_only(rng, sign, side):
    q, k, pairs = some(rng)
    one_sided = Pairs(pairs.query, pairs.key, np.full(len(pairs), sign))
    fitted = fit(q, k, one_sided)
    with pytest.raises(ContrastError, match=side):
        _ = fitted.delta
    with pytest.raises(ContrastError, match=side):
        one_sided.coefficient()
    assert fitted.merge(fit(q, k, Pairs(pairs.query, pairs.key, -one_sided.sign))).delta is not None
    with pytest.raises(ContrastError, match="weightless"):
        _ = fit(q, k, Pairs([0, 0], [0, 1], [1, -1], [0.0, 1.0])).delta


@pytest.mark.parametrize(
    "sign, weight, says",
    [([1, 0], None, "sign"), ([1, 2], None, "not 2"), ([1, -1], [1, np.nan], "weight"), ([1, -1], [1, -1], "weight")],
)
def test_pairs_refuse_other_signs_and_weights(sign, weight, says):
    with pytest.raises(ContrastError, match=says):
        Pairs([0, 0], [0, 1], sign, weight)
    with pytest.raises(AssertionError):
        Pairs([0, 0], [0, 1], [1])


def test_counts_and_masks():
    pairs = Pairs([7, 7, 3, 3], [9, 2, 9, 2], [1, -1, -1, -1])
    assert pairs.counts == (2, 2, 1, 3)
    assert pairs.counts.n_neg == 3
    assert pairs.positive.tolist() == [True, False, False, False]
    assert (pairs.negative != pairs.positive).all()
    assert Pairs([], [], []).counts == (0, 0, 0, 0)


def test_localise_keeps_every_pair(rng):
    pairs = some(rng)[2]
    far = Pairs(pairs.query * 17 + 5, pairs.key * 3, pairs.sign, pairs.weight)
    query_rows, key_rows, local = far.localise()
    assert (query_rows[local.query] == far.query).all()
    assert (key_rows[local.key] == far.key).all()
    assert (query_rows == np.unique(far.query)).all()
    assert local.query.max() == len(query_rows) - 1
    assert (local.sign == far.sign).all()
    assert (local.weight == far.weight).all()


def test_balanced_makes_queries_equal(rng):
    q, k, pairs = some(rng)
    even = pairs.balanced()
    for side in (even.positive, even.negative):
        totals = np.bincount(even.query[side], even.weight[side])
        assert np.allclose(totals[totals > 0], 1)
    per_query = [
        np.average([np.outer(q[i], k[j]) for j in one.key], axis=0, weights=one.weight)
        for i in np.unique(pairs.query)
        for one in by_query(
            Pairs(*(getattr(pairs, f)[pairs.positive] for f in ("query", "key", "sign", "weight"))), [[i]]
        )
        if len(one)
    ]
    assert same(fit(q, k, even).C_pos, np.mean(per_query, axis=0), 1e-6)
    assert not same(fit(q, k, pairs).C_pos, np.mean(per_query, axis=0), 1e-2)


def test_coefficients_are_delta(rng):
    q, k, pairs = some(rng)
    delta = (q[pairs.query] * pairs.coefficient()[:, None]).T.astype(float) @ k[pairs.key]
    assert same(delta, fit(q, k, pairs).delta, 1e-6)
    assert abs(pairs.coefficient().sum()) < 1e-12


def test_mean_query_share(rng):
    """One query repeated: ΔC is the mean term alone. Queries without a mean: the term explains nothing."""
    q, k, pairs = some(rng, n=400, p=4000)
    lone = np.repeat(q[:1], len(q), axis=0)
    assert np.isclose(fit(lone, k, pairs).mean_query_share, 1)
    key = np.arange(len(pairs))
    matched = 5 * pairs.sign[:, None] * q[pairs.query] + rng.standard_normal((len(pairs), q.shape[1]))
    assert abs(fit(q, matched, Pairs(pairs.query, key, pairs.sign)).mean_query_share) < 0.1
    centred, raw = fit(q + 3, k, pairs, True).delta, fit(q + 3, k, pairs).delta
    assert np.isclose(fit(q + 3, k, pairs).mean_query_share, 1 - np.sum(centred**2) / np.sum(raw**2))


def test_summed_takes_sums_over_keys_not_means(rng):
    """The authors' category script: with 1 positive and 3 negative keys a query, sums leave a shared mean in ΔC.

    Expectations do not.
    """
    n, d = 200, 6
    q, k = rng.normal(size=(n, d)) + 3, rng.normal(size=(4 * n, d)) + 5
    pairs = Pairs(np.arange(n).repeat(4), np.arange(4 * n), np.tile([1, -1, -1, -1], n))
    summed = ContrastiveCovariance(d, summed=True).update(q, k, pairs)
    explicit = sum(s * np.outer(q[i], k[j]) for i, j, s in zip(pairs.query, pairs.key, pairs.sign)) / n
    assert same(summed.delta, explicit, 1e-9)
    assert np.linalg.norm(summed.delta) > 5 * np.linalg.norm(fit(q, k, pairs).delta)
    delta = (q[pairs.query] * pairs.coefficient(summed=True)[:, None]).T @ k[pairs.key]
    assert same(delta, explicit, 1e-9)
    halves = [
        ContrastiveCovariance(d, summed=True).update(
            q, k, Pairs(*(getattr(pairs, f)[part] for f in ("query", "key", "sign", "weight")))
        )
        for part in (pairs.query < 50, pairs.query >= 50)
    ]
    assert same(halves[0].merge(halves[1]).delta, explicit, 1e-9)
