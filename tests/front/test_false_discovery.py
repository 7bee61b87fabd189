"""Benjamini–Hochberg: q-values by hand, and the rate of false discoveries that they promise."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.null import false_discovery


def test_q_values_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.5])
    assert false_discovery(p) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5])


def test_a_q_value_is_no_less_than_its_p_and_keeps_their_order():
    p = np.random.default_rng(0).uniform(size=200) ** 3
    q = false_discovery(p)
    assert (q >= p).all()
    assert (np.diff(q[np.argsort(p)]) >= 0).all()
    assert q.max() <= 1


def test_what_is_rejected_is_what_the_step_up_rule_rejects():
    p = np.sort(np.random.default_rng(1).uniform(size=100) ** 2)
    most = max((k for k in range(1, 101) if p[k - 1] <= 0.05 * k / 100), default=0)
    assert most > 0
    assert (false_discovery(p) <= 0.05).sum() == most


def test_of_what_is_found_few_are_false():
    """20 of 400 are true. In the mean at most a twentieth of what is found is false; of p ≤ .05 most are."""
    rng, false, naive = np.random.default_rng(2), [], []
    for _ in range(200):
        p = rng.uniform(size=400)
        p[:20] = rng.uniform(size=20) * 1e-5
        found = np.flatnonzero(false_discovery(p) <= 0.05)
        false.append((found >= 20).sum() / max(len(found), 1))
        naive.append((np.flatnonzero(p <= 0.05) >= 20).mean())
    assert np.mean(false) <= 0.055
    assert np.mean(naive) > 0.4


def test_nothing_is_found_of_nothing():
    assert false_discovery(np.empty(0)).shape == (0,)
    assert false_discovery(np.array([1.0, 1.0])) == pytest.approx([1, 1])
