"""Pairs of any shape: sums block by block equal a loop over pairs, and what is not given takes no memory."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore import covariance
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError

D, N, M = 8, 60, 90


def within(rng):
    """Each query has three keys of its own."""
    return np.arange(30).repeat(3), np.arange(90), np.tile([1, -1, -1], 30)


def across(rng):
    """All queries have keys from everywhere, in no order; some queries have none, some pairs stand twice."""
    query = rng.permutation(np.arange(0, 50).repeat(9))
    return query, rng.integers(0, M - 5, len(query)), rng.choice([1, -1], len(query))


def far(rng):
    """All pairs are of the last queries, so that whole blocks of queries have none."""
    return np.array([58, 59, 59]), np.array([3, 89, 1]), np.array([1, -1, 1])


def by_hand(q, k, pairs):
    """ΔC and the mean query in a loop over pairs."""
    sums, total = {s: np.zeros((D, D)) for s in (1, -1)}, dict.fromkeys((1, -1), 0.0)
    for i, j, s, w in zip(pairs.query, pairs.key, pairs.sign, pairs.weight):
        sums[int(s)] += w * np.outer(q[i].astype(float), k[j].astype(float))
        total[int(s)] += w
    return sums[1] / total[1] - sums[-1] / total[-1], q[np.unique(pairs.query)].astype(float).mean(axis=0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("at_once", [1, 5 * 2 * D, 10**9])
@pytest.mark.parametrize("shape", [within, across, far])
def test_sums_of_blocks_equal_a_loop_over_pairs(shape, at_once, weighted, monkeypatch):
    monkeypatch.setattr(covariance, "AT_ONCE", at_once)
    rng = np.random.default_rng(3)
    q, k = (rng.normal(size=(rows, D)).astype(np.float32) for rows in (N, M))
    query, key, sign = shape(rng)
    pairs = Pairs(query, key, sign, rng.random(len(query)) + 0.1 if weighted else None)
    fitted = ContrastiveCovariance(D).update(q, k, pairs)
    delta, mean = by_hand(q, k, pairs)
    np.testing.assert_allclose(fitted.delta, delta, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fitted.query_ / fitted.queries_, mean, rtol=1e-12)
    moved = Pairs(query, np.r_[(key[0] + 1) % M, key[1:]], sign, pairs.weight)  # the control: one key is another
    assert not np.allclose(ContrastiveCovariance(D).update(q, k, moved).delta, delta, rtol=1e-6)


def test_a_pair_may_stand_any_number_of_times():
    q, k = np.eye(D, dtype=np.float32)[:1], np.eye(D, dtype=np.float32)[:2]
    pairs = Pairs([0] * 1001, [0] * 1000 + [1], [1] * 1000 + [-1])
    fitted = ContrastiveCovariance(D).update(q, k, pairs)
    assert fitted.product_[0, 0, 0] == 1000
    assert fitted.delta[0, 0] == 1


def test_weights_that_are_not_given_take_no_memory():
    query, key, sign = np.array([4, 4, 9]), np.array([2, 7, 7]), np.array([1, -1, 1])
    plain, given = Pairs(query, key, sign), Pairs(query, key, sign, np.ones(3))
    for pairs in (plain, plain.where(sign > 0), plain.localise()[2], plain.where(np.zeros(3, bool))):
        assert not pairs.weighted
        assert pairs.weight.strides == (0,)
        assert pairs.weight.tolist() == [1.0] * len(pairs)
    for pairs in (given, given.where(sign > 0), given.localise()[2], Pairs([1], [1], [1], np.broadcast_to(2.0, 1))):
        assert pairs.weighted
    assert plain.balanced().weighted
    assert plain.query.itemsize == plain.key.itemsize == 4


@pytest.mark.parametrize("rows", [[-1, 0], [0, 2**31]])
def test_a_number_that_no_row_has_is_one_line(rows):
    with pytest.raises(ContrastError, match="a row number is from 0 to 2147483647"):
        Pairs(rows, [0, 1], [1, -1])
    with pytest.raises(ContrastError, match="a row number"):
        Pairs([0, 1], rows, [1, -1])
