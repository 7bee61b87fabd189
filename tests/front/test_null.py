"""The nulls of ΔC: p is uniform without a feature and small with one, however large the mean query.

The heads are those that bench/null.py plants; what was tested before stands beside as the control.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from conftest import ROOT

from qkstore import rank
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError
from qkstore.null import LabelNull, SignNull, family_p, gain, p_value

spec = importlib.util.spec_from_file_location("null_bench", ROOT / "bench" / "null.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def below(level: float, p: list[float]) -> float:
    return float(np.mean(np.array(p) <= level))


def p_of(heads: int, n: int, null=SignNull, first: int = 0, **head) -> list[float]:
    """p-values of planted heads."""
    made = (bench.planted(np.random.default_rng([first, i]), n, **head) for i in range(heads))
    return [null(pairs, bench.DEALS, i).test(q, k).p_value for i, (q, k, pairs) in enumerate(made)]


# -- the null of signs -------------------------------------------------------------------------------------------


def test_without_a_feature_p_is_uniform_whatever_the_mean_query():
    """1,200 heads of two kinds of contrast, the mean query 0 to 95 % of the energy."""
    p = [
        p_of(150, 200, first=10 * i + j, kind=kind, mean=mean)
        for i, kind in enumerate(bench.KEYS)
        for j, mean in enumerate(bench.MEANS)
    ]
    assert sum(map(len, p)) == 1200
    every = np.concatenate(p)
    assert 0.03 < below(0.05, every) < 0.07
    assert 0.45 < below(0.5, every) < 0.55
    assert all(below(0.05, part) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 150) for part in p)


@pytest.mark.parametrize("kind", bench.KEYS)
def test_a_feature_of_2_percent_is_found_whatever_the_mean_query(kind):
    for mean in bench.MEANS:
        assert below(0.05, p_of(20, 3000, kind=kind, mean=mean, feature=0.02)) >= 0.9
    before = p_of(20, 3000, bench.KeysDealt, kind=kind, mean=0.95, feature=0.02)
    assert below(0.05, before) < 0.5, "the control: with the mean query in the norm, it is not"


@pytest.mark.parametrize("kind", bench.KEYS)
def test_what_all_positive_keys_carry_is_no_feature(kind):
    """A leak: the mean of positive keys, and their spread, are not those of negative ones."""
    leak = dict(kind=kind, mean=0.91, leak=0.5)
    p = p_of(200, 200, **leak)
    assert 0.01 <= below(0.05, p) < 0.1
    assert 0.4 < below(0.5, p) < 0.6
    assert below(0.05, p_of(20, 200, bench.KeysDealt, **leak)) == 1, "the control: it was one"


def test_queries_of_unequal_sizes_are_no_feature():
    """A query's size tells that of its keys here, but not where they point: dealing contrasts to others would err."""
    p, dealt = p_of(300, 200, kind="pair", mean=0, uneven=0.7), []
    for i in range(100):
        q, k, pairs = bench.planted(np.random.default_rng([0, i]), 200, "pair", 0, uneven=0.7)
        x, c = rank.units(q, k, pairs, centred=True)
        null = [np.linalg.norm(x.T @ np.random.default_rng(j).permutation(c)) for j in range(39)]
        dealt.append(p_value(np.linalg.norm(x.T @ c), np.array(null)))
    assert below(0.05, p) < 0.1
    assert below(0.05, dealt) > 0.3


def test_the_norm_is_that_of_centred_delta_and_the_deals_are_signs(rng):
    """4 queries: all 16 deals are known, and what is drawn is among them, each as often as the next."""
    q, k = rng.standard_normal((4, 5)) + 3, rng.standard_normal((12, 5)) + 1
    pairs = Pairs(np.repeat(np.arange(4), 3), np.arange(12), np.tile([1, -1, -1], 4), rng.random(12))
    tested = SignNull(pairs, 500, 1).test(q, k)
    delta = ContrastiveCovariance(5, centred=True).update(q, k, pairs).delta
    assert tested.observed == pytest.approx(np.linalg.norm(delta), rel=1e-9)
    x, c = rank.units(q, k, pairs, centred=True)
    every = [
        np.linalg.norm((x * s[:, None]).T @ c) / np.sqrt(12)
        for s in np.array(np.meshgrid(*[[1, -1]] * 4)).T.reshape(-1, 4)
    ]
    assert np.abs(np.array(tested.null)[:, None] - every).min(axis=1).max() < 1e-5
    assert np.mean(np.square(tested.null)) == pytest.approx(np.mean(np.square(every)), rel=0.1)
    assert tested == SignNull(pairs, 500, 1).test(q + 100, k), "one seed; the mean query is no part of it"
    assert tested.null != SignNull(pairs, 500, 2).test(q, k).null


def test_summed_weights_reach_the_null(rng):
    q, k = rng.standard_normal((30, 4)), rng.standard_normal((90, 4)) + 5
    pairs = Pairs(np.repeat(np.arange(30), 3), np.arange(90), np.tile([1, -1, -1], 30))
    summed, plain = (SignNull(pairs, 9, 0, summed=s).test(q, k) for s in (True, False))
    delta = ContrastiveCovariance(4, centred=True, summed=True).update(q, k, pairs).delta
    assert summed.observed == pytest.approx(np.linalg.norm(delta), rel=1e-9)
    assert summed.high > plain.high


# -- the null of labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [0, 0.5])
def test_words_of_random_weights_pass_on_signs_and_not_on_labels(prompt):
    """A word's key has to do with that word's query, but not more than with another's."""
    found = [bench.words(np.random.default_rng([7, i]), 400, 0.0, prompt) for i in range(150)]
    p = [null.test(q, k).p_value for q, k, null in found]
    assert below(0.05, p) < 0.1
    assert 0.38 < below(0.5, p) < 0.65
    assert below(0.05, [SignNull(null.pairs, 39).test(q, k).p_value for q, k, null in found]) > 0.15, "the control"


@pytest.mark.parametrize("prompt", [0, 0.5])
def test_words_whose_query_and_key_match_pass_on_labels(prompt):
    found = [bench.words(np.random.default_rng([7, i]), 400, 0.7, prompt) for i in range(30)]
    assert below(0.05, [null.test(q, k).p_value for q, k, null in found]) > 0.9


def test_logits_are_means_over_other_pairs_than_the_contrasts(rng):
    """By a loop: query and key of a pair share their prompt, and are left out of what their labels have."""
    q, k, null = bench.words(rng, 150, 0.5, 2.0)
    asked, word = null.asked, null.word
    listed = set(zip(null.pairs.query.tolist(), null.pairs.key.tolist()))
    logit = null.logits(q, k, 0.5)
    for a, w in ((asked[0], word[0]), (asked[3], word[50])):
        others = [
            0.5 * q[i] @ k[j]
            for i in np.flatnonzero(asked == a)
            for j in np.flatnonzero(word == w)
            if (i, j) not in listed
        ]
        assert logit[a, w] == pytest.approx(np.mean(others), rel=1e-9)
        within = 0.5 * q[asked == a].mean(axis=0) @ k[word == w].mean(axis=0)
        assert (logit[a, w] == pytest.approx(within, rel=1e-3)) == (a != w)


def test_the_gain_is_of_own_words_beyond_what_value_and_word_have_everywhere():
    logit, own = np.zeros((3, 6)), np.array([0, 0, 1, 1, 2, 2])
    logit += np.array([5.0, 0, -5])[:, None] + np.arange(6)  # loud names and loud words
    assert gain(logit, own) == pytest.approx(0)
    holed = logit.copy()
    holed[0, 4] = np.nan
    assert abs(gain(holed, own)) < 1, "what is not there counts as what its value and word have"
    logit[own, np.arange(6)] += 3
    assert gain(logit, own) == pytest.approx(2)
    assert gain(logit, own[::-1]) < 0.5
    assert gain(logit, np.where(own == 2, -1, own)) == pytest.approx(2), "a value that no query asks for"


def test_values_are_dealt_among_words_and_each_word_keeps_its_keys():
    pairs = Pairs(np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4), np.tile([1, -1, -1, 1], 4))
    asked, word = np.array(["a", "b", "a", "b"]), np.array(["w", "x", "y", "z"])
    value = np.array(["a", "a", "b", "c"])
    null = LabelNull(pairs, asked, word, value, 200)
    assert null.own.tolist() == [0, 0, 1, -1]
    assert {tuple(d) for d in null.dealt} == {tuple(p) for p in np.unique(null.dealt, axis=0)}
    assert all(sorted(d) == [-1, 0, 0, 1] for d in null.dealt)
    assert len({tuple(d) for d in null.dealt}) == 12, "each deal of two a, one b and one c"


def test_labels_that_cannot_be_dealt_are_refused():
    pairs = Pairs(np.array([0, 1]), np.array([0, 1]), np.array([1, -1]))
    two, one = np.array(["a", "b"]), np.array(["a", "a"])
    with pytest.raises(ContrastError, match="'a' has more than one value"):
        LabelNull(pairs, two, one, two, 9)
    with pytest.raises(ContrastError, match="two words or more"):
        LabelNull(pairs, one, two, one, 9)


@pytest.mark.parametrize("deals", [19, 99])
def test_the_family_p_bounds_false_findings_and_finds_what_is_there(deals):
    """Of 400 families of 72 heads without a feature about 5 % have any finding, with few deals too.

    Where each head is counted alone, nearly all families have one; and many more have one with 19 deals where a head is
    taken in units of the spread of its null alone.
    """
    rng, any_found, naive, apart = np.random.default_rng(0), 0, 0, 0
    for _ in range(400):
        null, observed = 10 + rng.normal(size=(72, deals)), 10 + rng.normal(size=72)
        any_found += (family_p(observed, null) <= 0.05).any()
        naive += (((null >= observed[:, None]).sum(axis=1) + 1) / (deals + 1) <= 0.05).any()
        z = (null - null.mean(axis=1, keepdims=True)) / null.std(axis=1, keepdims=True)
        own = (observed - null.mean(axis=1)) / null.std(axis=1)
        apart += ((1 + (z.max(axis=0)[None] >= own[:, None]).sum(axis=1)) / (1 + deals) <= 0.05).any()
    assert any_found / 400 <= 0.08
    assert naive / 400 > 0.8
    assert deals > 19 or apart / 400 > 0.15
    observed[3] = 20
    assert family_p(observed, null)[3] == 1 / (deals + 1)


# -- the cross-validated rank ------------------------------------------------------------------------------------


def ranks_at(mean: float, feature: float, estimate, seeds: int = 4) -> np.ndarray:
    """(heads, seeds) of the same heads at each mean."""
    out = []
    for i in range(4):
        q, k, pairs = bench.planted(np.random.default_rng([3, i]), 3000, "several", mean, feature)
        out.append([estimate(*rank.units(q, k, pairs), s) for s in range(seeds)])
    return np.array(out)


def test_the_cross_validated_rank_does_not_know_the_mean_query_nor_the_seed():
    for feature, true in ((0.3, bench.RANK), (0.0, 0)):
        now = [ranks_at(mean, feature, rank.cross_validated) for mean in (0, 0.95)]
        assert (now[0] == true).all()
        assert (now[1] == now[0]).all()
    before = ranks_at(0.95, 0.1, bench.crossed_before)
    assert np.ptp(before, axis=1).max() > 3, "the control: it was another one at another seed"
    assert np.abs(before - bench.RANK).mean() > 1
    assert np.abs(ranks_at(0.95, 0.1, rank.cross_validated) - bench.RANK).mean() < 0.5
