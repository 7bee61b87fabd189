"""The closed form of a swap is the softmax with two edited keys; its summaries mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qkstore import interval
from qkstore.errors import ContrastError
from qkstore.intervention import Swap, Swapper, features_and_randoms, random_summary, summary, swap
from qkstore.subspace import Subspace, random, union

SCALING = 0.3


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rows(rng, n=40, T=7, d=8, loud=1.0):
    """n queries with T keys each; the original is key 2, the target key 5."""
    return rng.standard_normal((n, d)) * loud, rng.standard_normal((n, T, d)) + 0.5


def row_logits(q, keys, softcap=None):
    logit = SCALING * np.einsum("nd,ntd->nt", q, keys)
    return softcap * np.tanh(logit / softcap) if softcap else logit


def softmax(logit):
    e = np.exp(logit - logit.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def logsumexp(logit):
    top = logit.max(axis=1)
    return top + np.log(np.exp(logit - top[:, None]).sum(axis=1))


def swapped(q, keys, V, softcap=None):
    return swap(q, keys[:, 2], keys[:, 5], logsumexp(row_logits(q, keys, softcap)), V, SCALING, softcap)


def rerun(q, keys, P, softcap=None):
    """Edit the keys, take the softmax again: (n, 2) attention on the original and on the target."""
    edited = keys.copy()
    edited[:, 2] = keys[:, 2] + (keys[:, 5] - keys[:, 2]) @ P
    edited[:, 5] = keys[:, 5] + (keys[:, 2] - keys[:, 5]) @ P
    return softmax(row_logits(q, edited, softcap))[:, [2, 5]]


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("r", [1, 3, 8])
def test_equals_softmax_over_edited_keys(rng, softcap, r):
    q, keys = rows(rng, loud=3.0)
    V = random(8, r, rng).V
    found = swapped(q, keys, V, softcap)
    before = softmax(row_logits(q, keys, softcap))
    assert np.allclose(found.original_before, before[:, 2], atol=1e-12, rtol=0)
    assert np.allclose(found.target_before, before[:, 5], atol=1e-12, rtol=0)
    after = np.stack([found.original_after, found.target_after], axis=1)
    assert np.allclose(after, rerun(q, keys, V @ V.T, softcap), atol=1e-12, rtol=0)
    assert not np.allclose(after, rerun(q, keys, V @ V.T, None if softcap else 2.0), atol=1e-3)
    assert not np.allclose(after, rerun(q, keys, 2 * V @ V.T, softcap), atol=1e-3)  # a projector that counts twice


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_many_bases_together_are_each_of_them_alone(rng, softcap):
    """Of any ranks, 0 too; each is the softmax over its own edited keys and not that of its neighbour."""
    q, keys = rows(rng, loud=3.0)
    bases = [random(8, r, rng).V[:, :r] for r in (3, 1, 8, 3)] + [np.empty((8, 0))]
    lse = logsumexp(row_logits(q, keys, softcap))
    found = Swapper(q, keys[:, 2], keys[:, 5], lse, SCALING, softcap).each(bases)
    assert len(found) == len(bases)
    for i, (one, V) in enumerate(zip(found, bases)):
        after = np.stack([one.original_after, one.target_after], axis=1)
        assert np.allclose(after, rerun(q, keys, V @ V.T, softcap), atol=1e-12, rtol=0)
        next_one = bases[(i + 1) % len(bases)]
        assert not np.allclose(after, rerun(q, keys, next_one @ next_one.T, softcap), atol=1e-3)
        alone = swapped(q, keys, V, softcap)
        for name in ("original_before", "target_before", "gap_before", "gap_after", "doubt"):
            np.testing.assert_allclose(getattr(one, name), getattr(alone, name), rtol=1e-12, atol=1e-14)


def test_large_logits_do_not_overflow(rng):
    """A common part of 2,000 in every logit changes nothing, and neither does a target that gains 1,000 by the swap."""
    q, keys = rows(rng)
    q[:, 0], keys[:, :, 0] = 2000 / SCALING, 1.0
    V = np.eye(8)[:, 1:4]
    assert row_logits(q, keys).min() > 1900  # exp of these is infinite
    found = swapped(q, keys, V)
    assert np.allclose(found.target_after, rerun(q, keys, V @ V.T)[:, 1], atol=1e-9)
    q, keys = rows(rng, n=1)
    keys[:, :, :2] = 0
    q[0, :2], keys[0, 2, :2], keys[0, 5, :2] = 2000 / SCALING, (1, 0), (0, 1)
    far = swapped(q, keys, np.eye(8)[:, :1])
    assert far.target_after == 1
    assert far.original_after == 0


def one_off(x):
    """Every float64 off by one unit in its last place, up and down in turn: what a processor may round otherwise."""
    return np.nextafter(x, np.where(np.arange(len(x)) % 2, np.inf, -np.inf))


def test_doubt_marks_what_rounding_decides(rng):
    """Where two keys hold all but 1e-17 of a row, no log-sum-exp in float64 knows the rest.

    Such rows are marked, and others are as good as the doubt says. Stored in float32 it would fail from 1e-7 on,
    unmarked.
    """
    q, keys = rows(rng, n=400, loud=60.0)
    lse = one_off(logsumexp(row_logits(q, keys)))
    V = random(8, 3, rng).V
    soft, soft_keys = rows(rng, n=400, loud=15.0)
    for kind, good in ((np.float64, True), (np.float32, False)):
        rounded = one_off(logsumexp(row_logits(soft, soft_keys))).astype(kind)
        apart = (
            swap(soft, soft_keys[:, 2], soft_keys[:, 5], rounded, V, SCALING).target_after
            - rerun(soft, soft_keys, V @ V.T)[:, 1]
        )
        assert (np.abs(apart).max() < 1e-3) == good
    found = swap(q, keys[:, 2], keys[:, 5], lse, V, SCALING)
    truth = rerun(q, keys, V @ V.T)
    error = np.maximum(np.abs(found.original_after - truth[:, 0]), np.abs(found.target_after - truth[:, 1]))
    assert (error <= 4 * found.doubt + 1e-12).all()
    assert error.max() > 0.1  # it does happen
    assert 0 < np.mean(found.doubt > 0.01) < 0.2  # the bound is not idle
    assert summary("loud", found, 3).unsure == np.mean(found.doubt > 0.01)
    assert summary("soft", swapped(*rows(rng), V), 3).unsure == 0


def test_the_whole_space_exchanges_the_two(rng):
    q, keys = rows(rng)
    whole, part = swapped(q, keys, np.eye(8)), swapped(q, keys, np.eye(8)[:, :4])
    assert np.allclose(whole.original_after, whole.target_before, atol=1e-12)
    assert np.allclose(whole.target_after, whole.original_before, atol=1e-12)
    assert not np.allclose(part.original_after, part.target_before, atol=1e-3)


def test_a_space_the_query_does_not_see_changes_nothing(rng):
    q, keys = rows(rng, n=1)
    seen = q.T / np.linalg.norm(q)
    unseen = np.linalg.svd(q)[2][1:].T
    nothing, everything = swapped(q, keys, unseen), swapped(q, keys, seen)
    assert np.allclose(nothing.original_after, nothing.original_before, atol=1e-12)
    assert np.allclose(everything.original_after, everything.target_before, atol=1e-12)  # one direction is enough


def test_sinks_and_other_keys_keep_their_odds(rng):
    """The row's log-sum-exp is all that is known of the rest; a sink in it takes attention like any key."""
    q, keys = rows(rng)
    logit = row_logits(q, keys)
    with_sink = np.concatenate([logit, np.full((len(q), 1), 1.5)], axis=1)
    V = random(8, 3, rng).V
    found = swap(q, keys[:, 2], keys[:, 5], logsumexp(with_sink), V, SCALING)
    edited = with_sink.copy()
    moved = SCALING * np.einsum("nd,nd->n", q @ V @ V.T, keys[:, 5] - keys[:, 2])
    edited[:, 2] += moved
    edited[:, 5] -= moved
    assert np.allclose(found.target_after, softmax(edited)[:, 5], atol=1e-12)
    assert not np.allclose(found.target_after, swapped(q, keys, V).target_after, atol=1e-3)


def test_rounded_logsumexp_gives_probabilities(rng):
    """A rounded log-sum-exp can be below the two logits: the rest is then none, not negative."""
    q, keys = rows(rng, loud=100.0)
    short = logsumexp(row_logits(q, keys)) - 1e-5
    found = swap(q, keys[:, 2], keys[:, 5], short, np.eye(8), SCALING)
    assert np.isfinite(found.original_after).all()
    assert ((found.original_after + found.target_after) <= 1 + 1e-12).all()
    mass = found.original_before + found.target_before
    assert mass.max() > 1


def test_both_is_the_span_not_the_sum(rng):
    """Features that overlap: their span swaps like the true space, adding their projectors moves too far."""
    q, keys = rows(rng)
    E = random(8, 3, rng)
    a, b = (Subspace(E.U[:, c], E.S, E.V[:, c], 2) for c in ([0, 1], [1, 2]))
    truth = rerun(q, keys, E.key_projector)[:, 1]
    assert np.allclose(swapped(q, keys, union([a, b]).V).target_after, truth, atol=1e-12)
    assert not np.allclose(rerun(q, keys, a.key_projector + b.key_projector)[:, 1], truth, atol=1e-3)


def test_summary_is_the_mean_and_counts_flips():
    s = Swap(*np.array([[0.9, 0.8, 0.1, 0.6], [0.0, 0.1, 0.7, 0.1], [0.2, 0.7, 0.0, 0.1], [0.7, 0.2, 0.8, 0.1]]))
    c = summary("order", s, 3)
    assert (c.name, c.rank, c.n, c.bases, c.spread) == ("order", 3, 4, None, None)
    assert np.allclose((c.original_before, c.target_before, c.original_after, c.target_after), (0.6, 0.225, 0.25, 0.45))
    assert np.isclose(c.delta_p, 0.225)
    assert np.isclose(c.flip_rate, 1 / 3)  # of three rows that could; a tie is no flip, the third had flipped before
    never = summary(
        "none", Swap(s.target_before[2:3], s.original_before[:1], s.original_after[:1], s.target_after[:1]), 3
    )
    assert never.flip_rate is None
    assert "flip_rate" not in never.ci


def test_features_and_their_randoms_are_parted_in_order(rng):
    q, keys = rows(rng)
    s = swapped(q, keys, random(8, 3, rng).V)
    a, b = summary("a", s, 1), summary("b", s, 2)
    random_a, random_b = random_summary("random of a's rank", [s] * 10, 1), random_summary("random", [s] * 10, 2)
    assert features_and_randoms([a, b, random_a, random_b]) == ([a, b], [random_a, random_b])
    assert features_and_randoms([a, random_a, b, random_b]) == ([a, b], [random_a, random_b]), "two interventions"
    dicts = [c.to_dict() for c in (a, random_a)]
    assert features_and_randoms(dicts, lambda c: c["bases"]) == (dicts[:1], dicts[1:])
    assert features_and_randoms([]) == ([], [])
    with pytest.raises(AssertionError, match="random baseline"):
        features_and_randoms([a, b, random_a])


def test_summary_is_reproducible_plain_and_paired(rng):
    q, keys = rows(rng)
    s = swapped(q, keys, random(8, 3, rng).V)
    assert summary("a", s, 3, seed=1) == summary("a", s, 3, seed=1) != summary("a", s, 3, seed=2)
    back = json.loads(json.dumps(summary("a", s, 3).to_dict()))
    assert back["name"] == "a"
    assert back["ci"]["delta_p"][0] < back["delta_p"] < back["ci"]["delta_p"][1]
    assert set(back["ci"]) == {
        "original_before",
        "target_before",
        "original_after",
        "target_after",
        "delta_p",
        "gap_before",
        "gap_after",
        "gap_gain",
        "flip_rate",
    }
    other = summary("b", swapped(q, keys, np.eye(8)), 8)
    assert other.ci["original_before"] == summary("a", s, 3).ci["original_before"]  # the same rows drawn


def test_bootstrap_covers_the_mean(rng):
    """About 95 of 100 intervals hold the true mean; of half their width, far fewer."""
    held, narrow = [], []
    for seed in range(200):
        x = rng.beta(2, 5, 60)
        low, high = summary("x", Swap(x, x * 0, x * 0, x), 1, seed).ci["delta_p"]
        held.append(low <= 2 / 7 <= high)
        narrow.append(abs((low + high) / 2 - 2 / 7) <= (high - low) / 4)
    assert 0.89 <= np.mean(held) <= 0.99
    assert np.mean(narrow) < 0.8


def test_resamples_that_are_kept_are_those_drawn_anew(rng, monkeypatch):
    """And equal means over rows drawn by hand; another seed draws others."""
    values = rng.standard_normal((30, 2))
    drawn = np.random.default_rng(5).integers(0, 30, (interval.RESAMPLES, 30))
    by_hand = values[drawn].mean(axis=1)
    kept = [interval.bootstrap(values, 5) for _ in range(2)]
    monkeypatch.setattr(interval, "KEPT_ROWS", 0)
    for means in (*kept, interval.bootstrap(values, 5)):
        np.testing.assert_allclose(means, by_hand, rtol=1e-12, atol=1e-14)
    assert not np.allclose(interval.bootstrap(values, 6), by_hand, atol=1e-3)
    assert interval._kept.cache_info().maxsize == 2


def test_random_summary_averages_and_shows_the_spread(rng):
    q, keys = rows(rng)
    swaps = [swapped(q, keys, random(8, 3, rng).V) for _ in range(12)]
    c = random_summary("random", swaps, 3)
    means = [summary("one", s, 3) for s in swaps]
    assert c.bases == 12
    assert c.n == 40
    assert c.original_before == means[0].original_before
    for name in ("original_after", "target_after", "delta_p", "flip_rate"):
        values = [getattr(m, name) for m in means]
        assert np.isclose(getattr(c, name), np.mean(values))
        assert np.isclose(c.spread[name], np.std(values, ddof=1))
        assert c.spread[name] > 0
    assert random_summary("same", swaps[:1] * 10, 3).spread["delta_p"] < 1e-15
    json.dumps(c.to_dict())


def test_one_random_basis_is_no_baseline(rng):
    q, keys = rows(rng)
    with pytest.raises(ContrastError, match="10 or more random subspaces, not 9"):
        random_summary("random", [swapped(q, keys, random(8, 3, rng).V)] * 9, 3)
