"""The formulas of docs/discovery.md, each computed another way."""

from __future__ import annotations

import numpy as np
import pytest
from latents import planted

from qkstore.components import AttentionContrast, Gauge, canonical, components
from qkstore.components.rotation import independent


@pytest.fixture(scope="module")
def head():
    found, _ = planted(n=3000, keys=7, sharp=2.0)
    return found, AttentionContrast(12, 19).update(found)


def test_what_a_query_chose_is_the_mean_it_attended_to_less_the_mean_of_the_rest():
    from qkstore.components import choices

    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((1, 1, 4)), rng.standard_normal((1, 5, 4))
    d = choices(q, k, np.ones((1, 1, 5), bool), np.zeros(1, int), 0.5).d[0]
    a = np.exp(0.5 * k[0] @ q[0, 0])
    a /= a.sum()
    others = ((1 - a) / (1 - a).sum()) @ k[0]
    assert np.allclose(d, a @ k[0] - others)
    assert not np.allclose(d, a @ k[0] - k[0].mean(axis=0))


def test_correlations_are_those_of_a_generalised_eigenvalue_problem(head):
    """S_qd S_d⁻¹ S_dq a = ρ² S_q a, and the same of the other side."""
    from scipy.linalg import eigh

    _, contrast = head
    m, c = contrast.moments(), canonical(contrast.moments(), Gauge.of(contrast.within))
    squared, a = eigh(m.S_qd @ np.linalg.solve(m.S_d, m.S_qd.T), m.S_q)
    assert np.allclose(np.sqrt(squared.clip(0))[::-1], c.rho, atol=1e-7)
    assert np.allclose(np.abs(a[:, ::-1].T @ m.S_q @ c.a)[:4, :4], np.eye(4), atol=1e-6)
    left, b = eigh(m.S_qd.T @ np.linalg.solve(m.S_q, m.S_qd), m.S_d)
    assert np.allclose(left, squared, atol=1e-9)
    assert np.allclose(np.abs(b[:, ::-1].T @ m.S_d @ c.b)[:4, :4], np.eye(4), atol=1e-6)


def test_correlations_are_scikit_learn_s(head):
    from sklearn.cross_decomposition import CCA

    found, contrast = head
    c = canonical(contrast.moments(), Gauge.of(contrast.within))
    x, y = (
        CCA(n_components=4, scale=False, max_iter=20_000, tol=1e-12).fit(found.q, found.d).transform(found.q, found.d)
    )
    rho = np.sort([np.corrcoef(x[:, j], y[:, j])[0, 1] for j in range(4)])[::-1]
    assert np.allclose(rho, c.rho[:4], atol=1e-4)
    q, d = found.q - found.q.mean(axis=0), found.d - found.d.mean(axis=0)
    assert np.allclose(np.cov((q @ c.a).T, bias=True), np.eye(12), atol=1e-8)
    assert np.allclose((q @ c.a).T @ (d @ c.b) / len(q), np.diag(c.rho), atol=1e-8)


def test_what_a_component_gains_is_the_covariance_times_its_functional(head):
    _, contrast = head
    m, c = contrast.moments(), canonical(contrast.moments(), Gauge.of(contrast.within))
    assert np.allclose(c.a_onto, m.S_q @ c.a)
    assert np.allclose(c.b_onto, m.S_d @ c.b)
    assert np.allclose(c.a.T @ c.a_onto, np.eye(12))
    assert np.allclose(c.b.T @ c.b_onto, np.eye(12))


def test_shares_are_the_part_of_the_centred_gap_and_sum_to_one(head):
    found, contrast = head
    every = components(contrast, found, 12)
    q, d = found.q - found.q.mean(axis=0), found.d
    gap = np.mean(np.einsum("nd,nd->n", q, d))
    each = [np.mean(np.einsum("nd,nd->n", q, d @ every.key_projector([j]).T)) / gap for j in range(12)]
    assert np.allclose(each, every.share)
    assert sum(each) == pytest.approx(1)
    assert components(contrast, found).share.sum() < 1
    whole = np.mean(np.einsum("nd,nd->n", found.q, found.d))
    assert every.mean_share == pytest.approx(1 - gap / whole)


def test_one_rotation_turns_both_sides_and_keeps_the_span(head):
    found, contrast = head
    c = components(contrast, found)
    r, shrink = len(c), (c.number.shrink_q, c.number.shrink_d)
    whole = canonical(contrast.moments(), Gauge.of(contrast.within), *shrink)
    R, S = (np.linalg.lstsq(x[:, :r], y, rcond=None)[0] for x, y in ((whole.a, c.a), (whole.b, c.b)))
    assert np.allclose(R, S)
    assert np.allclose(R.T @ R, np.eye(r))
    assert np.allclose(c.key_projector(), whole.only(slice(r)).b_onto @ whole.only(slice(r)).b.T)


def test_a_swap_adds_to_the_logit_what_the_projector_says(head):
    """k̃ = k + P (k' − k): q · (k̃ − k) is the sum over components of q · b_onto b · (k' − k)."""
    found, contrast = head
    c = components(contrast, found)
    difference = found.d[1] - found.d[0]
    by_hand = sum((found.q[0] @ c.b_onto[:, j]) * (c.b[:, j] @ difference) for j in range(len(c)))
    assert found.q[0] @ c.key_projector() @ difference == pytest.approx(by_hand)


def test_gauge_s_keys_have_covariance_one_and_logits_are_as_before(head):
    found, contrast = head
    gauge = Gauge.of(contrast.within)
    assert np.allclose(gauge.key.T @ contrast.within @ gauge.key, np.eye(12))
    assert np.allclose(
        np.sum((found.q @ gauge.query) * (found.d @ gauge.key), axis=1), np.sum(found.q * found.d, axis=1)
    )


@pytest.mark.parametrize("shrink", [0.1, 0.6])
def test_shrinkage_depends_on_the_basis_of_the_head_unless_it_is_done_in_the_gauge(shrink):
    M = np.diag(np.geomspace(0.1, 10, 12)) @ np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0]
    (one, _), (two, _) = (planted(n=150, M=m) for m in (None, M))
    fits = [AttentionContrast(12, 0).update(c) for c in (one, two)]
    inside = [canonical(f.moments(), Gauge.of(f.within), shrink, shrink).rho for f in fits]
    assert np.allclose(*inside, atol=1e-9)
    plain = Gauge(np.eye(12), np.eye(12))
    outside = [canonical(f.moments(), plain, shrink, shrink).rho for f in fits]
    assert np.abs(outside[0] - outside[1]).max() > 0.01


def test_gaussian_scores_have_no_rotation_of_their_own():
    """Two halves of one sample agree on a rotation of signs, and not on one of Gaussian scores."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]

    def agreement(z):
        first, second = (independent(z[half] @ turn).R for half in (slice(0, None, 2), slice(1, None, 2)))
        return np.abs(first.T @ second).max(axis=1).min()

    assert agreement(rng.choice([-1.0, 1.0], (8000, 4))) > 0.99
    assert agreement(rng.standard_normal((8000, 4))) < 0.95
