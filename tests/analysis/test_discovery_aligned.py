"""Agreement beyond random weights: these give uniform p-values, also under rotary positions; a match does not."""

from __future__ import annotations

import numpy as np
import pytest

from bench.models import turned
from qkstore.analysis.discovery.aligned import agreement, p_aligned

HEADS = 400


@pytest.mark.parametrize("rotary", [False, True])
def test_random_weights_give_uniform_p_values(rotary):
    p = turned.p_values(HEADS, rotary, seed=1)
    aligned, gap = p["rotations of planes"], p["a mean above 0"]
    for level in (0.01, 0.05, 0.2, 0.5, 0.8):
        assert abs((aligned <= level).mean() - level) < 3.5 * np.sqrt(level * (1 - level) / HEADS)
    assert (gap <= 0.01).mean() > 0.15  # the control: a mean above 0 is the rule in random weights


@pytest.mark.parametrize("rotary", [False, True])
def test_queries_and_keys_that_learned_to_match_are_told(rotary):
    assert p_aligned(*agreement(*turned.head(np.random.default_rng(0), learned=True, rotary=rotary)))[0] < 1e-4


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
