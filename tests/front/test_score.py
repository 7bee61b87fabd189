"""Head scores equal a loop over queries, and their intervals hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore import score as module
from qkstore.covariance import Pairs
from qkstore.interval import bootstrap, margin, ratio_interval, student, wilson
from qkstore.score import logits, pair_logits, score


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some(rng, n=200, p=1000):
    """Pairs in no order; some queries have one sign only, some none; logits with ties; NaN attention."""
    pairs = Pairs(rng.integers(0, n, p), rng.integers(0, 50, p), rng.choice([1, -1, -1], p))
    logit = rng.integers(-3, 4, p) / 2
    return logit, np.where(rng.random(p) < 0.3, np.nan, rng.random(p)), pairs


def by_loop(logit, attention, pairs, tie=False):
    right, sums = [], {1: [], -1: []}
    for i in set(pairs.query.tolist()):
        mine = pairs.query == i
        on, off = mine & pairs.positive, mine & pairs.negative
        if on.any() and off.any():
            best, other = logit[on].max(), logit[off].max()
            right.append(best >= other if tie else best > other)
        for sign, side in ((1, on), (-1, off)):
            seen = attention[side][~np.isnan(attention[side])]
            if len(seen):
                sums[sign].append(seen.sum())
    return np.mean(right), len(right), np.mean(sums[1]), np.mean(sums[-1])


def test_equals_a_loop(rng):
    logit, attention, pairs = some(rng)
    found = score(logit, attention, pairs)
    accuracy, n, on, off = by_loop(logit, attention, pairs)
    assert (found.accuracy, found.n) == (accuracy, n)
    assert n < pairs.counts.n_q
    assert np.allclose((found.attention_positive, found.attention_negative, found.selectivity), (on, off, on / off))
    assert by_loop(logit, attention, pairs, tie=True)[0] > accuracy  # ties are there, and count against
    assert found.accuracy_ci == wilson(round(accuracy * n), n)


def test_order_of_pairs_does_not_matter(rng):
    logit, attention, pairs = some(rng)
    mixed = rng.permutation(len(pairs))
    shuffled = Pairs(pairs.query[mixed], pairs.key[mixed], pairs.sign[mixed])
    a, b = score(logit, attention, pairs), score(logit[mixed], attention[mixed], shuffled)
    assert a.accuracy == b.accuracy
    assert np.isclose(a.attention_positive, b.attention_positive)
    assert score(logit, attention, shuffled).accuracy != a.accuracy  # logits of other pairs


def test_a_perfect_and_a_blind_head():
    pairs = Pairs(np.repeat([4, 9], 3), np.arange(6), [1, -1, -1] * 2)
    attention = np.array([0.8, 0.1, 0.1] * 2)
    assert score(np.log(attention), attention, pairs).accuracy == 1
    blind = score(np.zeros(6), np.full(6, 1 / 3), pairs)
    assert blind.accuracy == 0
    assert blind.selectivity == pytest.approx(0.5)


def test_keys_of_other_prompts_have_no_attention(rng):
    logit, _, pairs = some(rng)
    found = score(logit, np.where(pairs.positive, 0.25, np.nan), pairs)
    per_query = np.bincount(pairs.query[pairs.positive])
    assert found.attention_negative is None
    assert found.selectivity is None
    assert np.isclose(found.attention_positive, 0.25 * per_query[per_query > 0].mean())
    assert score(logit, np.full(len(pairs), np.nan), pairs).attention_positive is None
    assert score(logit, np.where(pairs.positive, 0.25, 0.0), pairs).selectivity is None  # no ratio to nothing


@pytest.mark.parametrize("pairs", [Pairs([], [], []), Pairs([0, 1], [0, 1], [1, -1])])
def test_no_query_with_both_signs(pairs):
    found = score(np.zeros(len(pairs)), np.full(len(pairs), np.nan), pairs)
    assert (found.n, found.accuracy, found.accuracy_ci, found.attention_positive) == (0, None, None, None)


def test_logits_are_scaled_then_capped(rng):
    q, k = rng.standard_normal((2, 5, 8)).astype(np.float32)
    raw = np.array([0.5 * sum(float(a) * float(b) for a, b in zip(x, y)) for x, y in zip(q, k)])
    assert np.allclose(logits(q, k, 0.5), raw, rtol=0, atol=1e-14)
    assert logits(q, k, 0.5).dtype == np.float64
    capped = logits(10 * q, k, 0.5, softcap=3.0)
    assert np.allclose(capped, 3 * np.tanh(10 * raw / 3), atol=1e-6)
    assert np.abs(capped).max() <= 3 < np.abs(10 * raw).max()
    single = np.einsum("nd,nd->n", q, k) * np.float32(0.5)
    assert np.abs(single - raw).max() > 1e-10  # float32 sums would not pass the test above


def test_queries_of_one_vector_and_the_same_keys_are_one(rng):
    """Sixty queries with pooled keys: alike in all they do, or each with a vector of its own, the control."""
    pairs = Pairs(np.repeat(np.arange(60), 5), np.tile(np.arange(5), 60), np.tile([1, 1, 1, 1, -1], 60))
    q, rows = np.tile(rng.standard_normal((1, 8)).astype(np.float32), (60, 1)), pairs.key + 100
    logit, attention = np.tile([2.0, 0, 0, 0, 1.0], 60), rng.random(300)
    queries = lambda q, rows: module.by_query(logit, attention, pairs, q, rows)  # noqa: E731
    (found,) = module.scores([queries(q, rows)])
    (plain,) = module.scores([queries(None, None)])
    assert (found.n, found.accuracy, found.accuracy_ci, found.accuracy_p) == (1, 1.0, wilson(1, 1), pytest.approx(0.8))
    assert (plain.n, plain.accuracy_ci) == (60, wilson(60, 60))
    assert plain.accuracy_p < 1e-5
    assert found.selectivity_ci == plain.selectivity_ci, "attention is on keys of their own prompts"
    q[:20] = -0.0
    q[30] = 0.0
    assert module.scores([queries(q, rows)])[0].n == 2
    q = rng.standard_normal((60, 8)).astype(np.float32)
    assert module.scores([queries(q, rows)]) == [plain], "to the bit where all differ"
    q[1] = q[0]
    assert module.scores([queries(q, rows)])[0].n == 59
    assert module.scores([queries(q, np.arange(300))])[0].n == 60, "one vector, but keys of their own"


def test_what_is_alike_is_told_across_shards(rng):
    q, rows = np.ones((4, 3), np.float32), np.arange(2)
    part = Pairs([0, 0, 1, 1], [0, 1, 0, 1], [1, -1, 1, -1])
    each = [module.by_query(np.arange(4.0), np.ones(4), part, q, np.tile(rows, 2)) for _ in range(2)]
    each[1] = module.replace(each[1], query=each[1].query + 2)
    assert len(module.Queries.joined(each).distinct.query) == 1
    none = [module.replace(one, alike=None) for one in each]
    assert len(module.Queries.joined(none).distinct.query) == 4


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_pair_logits_do_not_depend_on_the_chunk(rng, monkeypatch, chunk):
    q, k = rng.standard_normal((10, 4)), rng.standard_normal((12, 4))
    pairs = Pairs(rng.integers(0, 10, 30), rng.integers(0, 12, 30), rng.choice([1, -1], 30))
    monkeypatch.setattr(module, "CHUNK", chunk)
    assert np.allclose(pair_logits(q, k, pairs, 0.3), 0.3 * (q @ k.T)[pairs.query, pairs.key], atol=1e-14)
    assert not np.allclose(pair_logits(q, k, pairs, 0.3), 0.3 * (q @ k.T)[pairs.query[::-1], pairs.key])
    assert pair_logits(q, k, Pairs([], [], []), 0.3).shape == (0,)


def test_wilson():
    """Known values, and coverage near 95 % where the plain normal interval fails."""
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    draws = np.random.default_rng(0).binomial(30, 0.03, 2000)
    covers = np.mean([low <= 0.03 <= high for low, high in (wilson(x, 30) for x in draws)])
    p = draws / 30
    plain = np.mean(np.abs(p - 0.03) <= 1.96 * np.sqrt(p * (1 - p) / 30))
    assert covers > 0.92
    assert plain < 0.7


def test_the_interval_of_a_ratio_covers_it():
    """Gamma attention with a true ratio of 3; the control, an interval of half the width, does not cover."""
    rng, hits, narrow = np.random.default_rng(0), 0, 0
    for seed in range(200):
        sums = np.stack([rng.gamma(2, 1.5, 150), rng.gamma(2, 0.5, 150)], axis=1)
        low, high = ratio_interval(sums, seed)
        middle, half = (low + high) / 2, (high - low) / 4
        hits, narrow = hits + (low <= 3 <= high), narrow + (middle - half <= 3 <= middle + half)
    assert 0.9 <= hits / 200 <= 0.985
    assert narrow / 200 < 0.85


def test_the_interval_is_of_the_score_and_pairs_the_sides(rng):
    logit, attention, pairs = some(rng)
    found = score(logit, attention, pairs)
    low, high = found.selectivity_ci
    assert low < found.selectivity < high
    assert score(logit, attention, pairs).selectivity_ci == (low, high)
    assert score(logit, attention, pairs, resample=False).selectivity_ci is None
    assert score(logit, np.where(pairs.positive, 0.25, np.nan), pairs).selectivity_ci is None
    scale = rng.gamma(1, 1, 300)  # queries that attend much to both: their ratio is known all the same
    low, high = ratio_interval(np.stack([2 * scale, scale], axis=1))
    assert (low, high) == pytest.approx((2, 2))
    loose = ratio_interval(np.stack([2 * scale, rng.permutation(scale)], axis=1))
    assert loose[1] - loose[0] > 0.2


def test_a_missing_side_is_left_out_of_its_mean():
    sums = np.array([[1.0, np.nan], [3.0, 1.0], [np.nan, 1.0]] * 50)
    low, high = ratio_interval(sums)
    assert low < 2 < high
    assert high - low < 0.6
    assert bootstrap(np.ones((4, 2)), 0).shape == (1000, 2)


TABLE = {2: 12.706205, 3: 4.302653, 4: 3.182446, 5: 2.776445, 8: 2.364624, 10: 2.262157, 20: 2.093024, 1000: 1.962341}


@pytest.mark.parametrize("n", TABLE)
def test_students_t_is_that_of_the_tables(n):
    assert student(n) == pytest.approx(TABLE[n], abs=1e-6)


@pytest.mark.parametrize("n", [3, 5, 30])
def test_the_interval_of_a_mean_covers_it_however_few_the_values(n):
    drawn = np.random.default_rng(n).standard_normal((4000, n))
    covered = np.mean([abs(row.mean()) <= margin(row) for row in drawn])
    assert abs(covered - 0.95) < 0.015
    normal = np.mean([abs(row.mean()) <= 1.96 * margin(row) / student(n) for row in drawn])
    assert normal < 0.90 or n == 30, "the control: few values under the normal's 1.96"


def test_one_value_has_no_interval():
    assert margin(np.array([3.0])) == 0
