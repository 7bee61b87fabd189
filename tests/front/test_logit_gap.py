"""The logit gap of a swap: what a random subspace leaves, and what a feature moves beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.intervention import Swap, beyond, random_summary, swap
from qkstore.subspace import random


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def spread(rng, n: int = 600, m: int = 60, d: int = 24) -> tuple:
    """Queries that attend to m keys about alike, log-sum-exp of the row, and two of the keys."""
    q, K = rng.normal(size=(n, d)), rng.normal(size=(n, m, d)) * 1.5
    logits = np.einsum("nd,nmd->nm", q, K) / np.sqrt(d)
    return q, K[:, 0], K[:, 1], np.log(np.exp(logits).sum(axis=1)), 1 / np.sqrt(d)


def level(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The keys without what the query looks for: all have a logit of 0."""
    return k - q * (np.einsum("nd,nd->n", q, k) / np.einsum("nd,nd->n", q, q))[:, None]


def test_a_random_swap_of_a_spread_head_raises_both_attentions_and_leaves_the_gap():
    q, a, b, logsumexp, scaling = spread(np.random.default_rng(0))
    a, b = level(q, a), level(q, b)
    swaps = [swap(q, a, b, logsumexp, random(24, 12, np.random.default_rng(i)).V, scaling) for i in range(10)]
    told = random_summary("random", swaps, 12)
    assert told.original_after > told.ci["original_before"][1], "what attention says of a random subspace"
    assert told.target_after > told.ci["target_before"][1]
    assert told.ci["delta_p"][0] > 0
    low, high = told.ci["gap_gain"]
    assert low < 0 < high


def test_the_gap_is_that_of_a_softmax_over_edited_keys(rng):
    q, K = rng.normal(size=(40, 8)), rng.normal(size=(40, 5, 8))
    V = random(8, 3, rng).V
    for softcap in (None, 0.7):

        def logits(keys, softcap=softcap):
            raw = 0.5 * np.einsum("nd,nmd->nm", q, keys)
            return raw if softcap is None else softcap * np.tanh(raw / softcap)

        before = logits(K)
        edited = K.copy()
        edited[:, 0] += (K[:, 1] - K[:, 0]) @ V @ V.T
        edited[:, 1] += (K[:, 0] - K[:, 1]) @ V @ V.T
        after = logits(edited)
        found = swap(q, K[:, 0], K[:, 1], np.log(np.exp(before).sum(axis=1)), V, 0.5, softcap)
        assert np.allclose(found.gap_before, before[:, 1] - before[:, 0])
        assert np.allclose(found.gap_after, after[:, 1] - after[:, 0])
        attention = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (before, after)]
        told = Swap(*(p[:, i] for p in attention for i in (0, 1)))
        assert np.allclose(told.gap_gain, found.gap_gain), "from attention alone it is the same"


def test_a_random_subspace_turns_round_its_share_of_the_gap(rng):
    q, a, b, logsumexp, scaling = spread(rng, n=2000)
    a = a + q  # the original is what the query looks for
    swaps = [swap(q, a, b, logsumexp + 3, random(24, 6, np.random.default_rng(i)).V, scaling) for i in range(40)]
    told = random_summary("random", swaps, 6)
    assert told.gap_gain == pytest.approx(-2 * 6 / 24 * told.gap_before, rel=0.05)


def test_an_attention_of_nothing_has_a_finite_gap():
    none, some = np.zeros(3), np.full(3, 0.5)
    assert np.isfinite(Swap(none, some, some, none).gap_gain).all()


def test_what_a_feature_does_beyond_random_is_paired(rng):
    """Queries whose gap is large move more under every swap: that is no spread of the difference."""
    n, d = 800, 16
    q, other = rng.normal(size=(n, d)) * rng.lognormal(0, 0.8, size=(n, 1)), rng.normal(size=(n, d))
    V, a = np.eye(d)[:, :4], other + q
    found = swap(q, a, other, np.full(n, 40.0), V, 0.25)
    drawn = [swap(q, a, other, np.full(n, 40.0), random(d, 3, np.random.default_rng(i)).V, 0.25) for i in range(10)]
    told = beyond(found, drawn)
    value, low, high = told["gap_gain"]
    random_mean = np.mean([r.gap_gain for r in drawn], axis=0)
    assert value == pytest.approx(float(np.mean(found.gap_gain - random_mean)))
    assert low < value < high
    unpaired = np.sqrt(np.var(found.gap_gain) / n + np.var(random_mean) / n) * 2 * 1.96
    assert high - low < 0.75 * unpaired


def test_a_feature_that_does_nothing_is_not_beyond_random(rng):
    q, a, b, logsumexp, scaling = spread(rng)
    drawn = [swap(q, a, b, logsumexp, random(24, 6, np.random.default_rng(i)).V, scaling) for i in range(10)]
    nothing = beyond(swap(q, a, b, logsumexp, random(24, 6, np.random.default_rng(99)).V, scaling), drawn)
    assert nothing["gap_gain"][1] < 0 < nothing["gap_gain"][2]
