"""Agreement beyond random weights: these give uniform p-values, also under rotary positions; a match does not."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.analysis.discovery.aligned import agreement, p_aligned
from qkstore.analysis.discovery.sweep import p_gap

N, D, WIDTH, HEADS = 300, 16, 24, 400


def rotated(v: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rotary positions of Hugging Face's layout: coordinates i and i + d/2 turn together."""
    half = v.shape[-1] // 2
    angle = positions[:, None] * 100.0 ** -(np.arange(half) / half)
    first, second = v[..., :half], v[..., half:]
    turned = first * np.cos(angle) - second * np.sin(angle), first * np.sin(angle) + second * np.cos(angle)
    return np.concatenate(turned, axis=-1)


def heads(rng: np.random.Generator, learned: bool = False, rotary: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(n, heads, d) centred queries and (n, d) centred key contrasts: a key of the query's own word, less another."""
    words = rng.normal(size=(50, WIDTH))
    asked = rng.integers(50, size=N)
    own, other = words[asked], words[(asked + rng.integers(1, 50, N)) % 50]
    W_K = rng.normal(size=(WIDTH, D))
    W_Q = W_K[:, None] if learned else rng.normal(size=(WIDTH, 1, D))
    q, k, k_other = np.einsum("nw,wjd->njd", own, W_Q), own @ W_K, other @ W_K
    if rotary:
        pos = rng.integers(2, 40, N)
        q, k, k_other = rotated(q[:, 0], pos)[:, None], rotated(k, pos - 1), rotated(k_other, rng.integers(0, pos - 1))
    c = k - k_other
    return q - q.mean(axis=0), c - c.mean(axis=0)


def p_values(rotary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of HEADS heads of random weights: of agreement beyond such weights, and of a mean gap above 0."""
    rng, aligned, gap = np.random.default_rng(rotary), [], []
    for _ in range(HEADS):
        x, c = heads(rng, rotary=rotary)
        aligned.append(p_aligned(*agreement(x, c))[0])
        gap.append(p_gap(np.einsum("njd,nd->n", x, c), []))
    return np.array(aligned), np.array(gap)


@pytest.mark.parametrize("rotary", [False, True])
def test_random_weights_give_uniform_p_values(rotary):
    aligned, gap = p_values(rotary)
    for level in (0.01, 0.05, 0.2, 0.5, 0.8):
        assert abs((aligned <= level).mean() - level) < 3.5 * np.sqrt(level * (1 - level) / HEADS)
    assert (gap <= 0.01).mean() > 0.15  # the control: a mean above 0 is the rule in random weights


@pytest.mark.parametrize("rotary", [False, True])
def test_queries_and_keys_that_learned_to_match_are_told(rotary):
    assert p_aligned(*agreement(*heads(np.random.default_rng(0), learned=True, rotary=rotary)))[0] < 1e-4


@pytest.mark.parametrize("amplitudes", [[1.0], [1.0, 3.0], [0.1, 0.5, 1.0, 4.0], list(np.linspace(0.2, 1, 32))])
def test_p_is_the_share_of_turns_that_agree_as_much(amplitudes):
    A, rng = np.array(amplitudes), np.random.default_rng(0)
    drawn = (A * np.cos(rng.uniform(0, 2 * np.pi, (200_000, len(A))))).sum(axis=1)
    for level in (0.9, 0.5, 0.1, 0.01, 0.001):
        (p,) = p_aligned(np.quantile(drawn, [1 - level]), A[None])
        assert p == pytest.approx(level, rel=0.25)


def test_the_ends():
    none, most = p_aligned(np.array([0.0, 3.0]), np.array([[0.0, 0.0], [1.0, 2.0]]))
    assert none == 1
    assert most < 1e-3
    assert p_aligned(np.array([-3.0]), np.array([[1.0, 2.0]]))[0] > 0.999


def test_an_odd_number_of_dimensions_loses_nothing():
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(50, 2, 7)), rng.normal(size=(50, 7))
    total, amplitudes = agreement(x, c)
    assert total == pytest.approx(np.einsum("nhd,nd->h", x, c) / 50)
    assert amplitudes.shape == (2, 4)
