"""p-values of means and shares: uniform where there is nothing, also where words are asked for many times."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from qkstore.covariance import Pairs
from qkstore.interval import LEAST_GROUPS, p_above, p_binomial
from qkstore.score import score


def share_below(level: float, make) -> float:
    """Of 1,000 p-values, the share that is at most `level`."""
    return float(np.mean([make(np.random.default_rng(seed)) <= level for seed in range(1000)]))


def test_without_an_effect_the_p_value_is_uniform():
    for level in (0.05, 0.5):
        found = share_below(level, lambda rng: p_above(rng.normal(size=40)))
        assert found == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 1000))


def test_values_of_one_word_count_once():
    """20 words of 30 prompts each, every word with an effect of its own; the control takes prompts as independent."""
    words = np.repeat(np.arange(20), 30)

    def made(rng, groups):
        return p_above(rng.normal(size=20)[words] + rng.normal(size=600), groups)

    assert 0.03 <= share_below(0.05, lambda rng: made(rng, words)) <= 0.07
    assert share_below(0.05, lambda rng: made(rng, None)) > 0.25


def test_it_is_the_t_test_of_independent_values():
    values = np.random.default_rng(3).normal(0.2, size=50)
    expected = stats.ttest_1samp(values, 0.0, alternative="greater").pvalue
    assert p_above(values) == pytest.approx(expected)
    assert p_above(values, np.arange(50)) == pytest.approx(expected), "each in a group of its own"
    assert p_above(values, np.arange(50) % (LEAST_GROUPS - 1)) == pytest.approx(expected), "too few groups"


def test_one_value_tells_nothing_and_equal_ones_all():
    assert p_above(np.array([1.0])) is None
    assert p_above(np.ones(9)) == 0.0
    assert p_above(np.zeros(9)) == p_above(-np.ones(9)) == 1.0


def test_the_binomial_tail():
    for k, n, chance in ((0, 5, 0.2), (3, 5, 0.2), (5, 5, 0.2), (40, 300, 1 / 9)):
        assert p_binomial(k, n, chance) == pytest.approx(stats.binom.sf(k - 1, n, chance))


def test_a_score_says_its_chance_and_how_far_from_it_it_is():
    """Queries of one positive and three negative keys: by chance a quarter is right."""
    rng, n = np.random.default_rng(0), 200
    pairs = Pairs(np.repeat(np.arange(n), 4), np.arange(4 * n), np.tile([1, -1, -1, -1], n).astype(np.int8))
    logits = rng.normal(size=4 * n)
    attention = np.exp(logits) / np.exp(logits).reshape(n, 4).sum(1).repeat(4)
    noise = score(logits, attention, pairs, resample=False)
    assert noise.chance == 0.25
    assert noise.mass == pytest.approx(1.0)
    assert noise.accuracy_p > 0.01
    assert noise.attention_p > 0.01
    lifted = score(logits + 2 * pairs.positive, attention, pairs, resample=False)
    assert lifted.accuracy_p < 1e-9
    assert lifted.attention_p == noise.attention_p
    few = pairs.where(pairs.query < 3)
    sure = score(np.where(few.positive, 9.0, 0.0), attention[: len(few)], few, resample=False)
    assert sure.accuracy == 1.0
    assert sure.accuracy_p == pytest.approx(0.25**3), "three right answers are not certain"
