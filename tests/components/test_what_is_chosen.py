"""Choices: what a query attends to less the others, by the definition, one query at a time."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.components import Choices, choices
from qkstore.components.choices import LEAST


@pytest.fixture
def block():
    """Five prompts of three queries and six keys; each query may choose of some of them."""
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((5, 3, 4)), rng.standard_normal((5, 6, 4))
    return q, k, rng.random((5, 3, 6)) < 0.7


def by_definition(q: np.ndarray, keys: np.ndarray, scaling: float, softcap: float | None) -> np.ndarray:
    """k⁺ − k⁻ of one query q: (d,) among its keys: (m, d)."""
    logit = scaling * keys @ q
    logit = softcap * np.tanh(logit / softcap) if softcap else logit
    a = np.exp(logit) / np.exp(logit).sum()
    chosen = a @ keys
    return chosen - (keys.sum(axis=0) - chosen) / (len(keys) - 1)


@pytest.mark.parametrize("softcap", [None, 1.5])
def test_what_a_query_chose_is_by_the_definition(block, softcap):
    q, k, seen = block
    found = choices(q, k, seen, np.arange(5), 0.7, softcap)
    there = [(b, i) for b in range(5) for i in range(3) if seen[b, i].sum() > 1]
    expected = np.array([by_definition(q[b, i], k[b, seen[b, i]], 0.7, softcap) for b, i in there])
    assert np.allclose(found.d, expected, atol=1e-12)
    assert np.allclose(found.q, [q[b, i] for b, i in there])
    assert found.group.tolist() == [b for b, _ in there]
    other = choices(q, k, np.ones_like(seen), np.arange(5), 0.7, softcap)
    assert not np.allclose(other.d[: len(expected)], expected), "keys that may not be chosen matter"


def test_the_keys_of_a_query_vary_by_their_covariance(block):
    q, k, seen = block
    found = choices(q, k, seen, np.arange(5), 0.7)
    own = [k[b, seen[b, i]] for b in range(5) for i in range(3) if seen[b, i].sum() > 1]
    assert np.allclose(found.within, sum(np.cov(keys.T, bias=True) for keys in own))


def test_attention_elsewhere_and_keys_too_few_leave_a_query_out(block):
    q, k, seen = block
    seen[0, 0] = np.arange(6) == 2
    seen[0, 1] = False
    here = np.exp(np.where(seen, 0.7 * np.einsum("bid,bjd->bij", q, k), -np.inf)).sum(axis=2)
    logsumexp = np.log(np.maximum(here, 1e-9))
    logsumexp[1] -= np.log([0.98 * LEAST, 1.02 * LEAST, 0.5])
    found = choices(q, k, seen, np.arange(5), 0.7, None, logsumexp)
    few = int((seen.sum(axis=2) < 2).sum())
    assert (found.few, found.elsewhere, len(found)) == (few, 1, 15 - few - 1)
    assert np.allclose(sorted(found.attention)[:3], [1.02 * LEAST, 0.5, 1.0])


def test_blocks_are_joined_in_their_order(block):
    q, k, seen = block
    whole = choices(q, k, seen, np.arange(5), 0.7)
    parts = [choices(q[at], k[at], seen[at], np.arange(5)[at], 0.7) for at in (slice(0, 2), slice(2, 5))]
    joined = Choices.joined(parts)
    for name in ("q", "d", "group", "within"):
        assert np.allclose(getattr(joined, name), getattr(whole, name))
    assert not np.allclose(Choices.joined(parts[::-1]).d, whole.d)


def test_logits_too_large_for_an_exponential_are_no_trouble(block):
    q, k, seen = block
    found = choices(1e6 * q, k, seen, np.arange(5), 0.7)
    assert np.isfinite(found.d).all()
