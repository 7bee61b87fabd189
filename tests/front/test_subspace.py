"""Subspaces: known ones are recovered, spans count what they share once. Projectors are compared, never columns."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError
from qkstore.subspace import Subspace, overlap, principal_angles, random, rank, union


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def toy(rng, n=64, r1=3, r2=4, d=32, d_head=12, shared=True):
    """Triplets for z1 of the paper's discrete task (eq. 1, 2).

    Queries, positive keys, negative keys, and the closed form. Both keys of a triplet hold one z2; `shared`: one
    payload and one noise as well.
    """
    W_Q, W_K = rng.standard_normal((2, d_head, d)) / np.sqrt(d)
    B1, A1 = rng.standard_normal((2, d, r1))
    B2, A2 = rng.standard_normal((2, d, r2))
    z1, other1 = rng.choice([-1.0, 1.0], (2, n, r1))
    z2, held2 = rng.choice([-1.0, 1.0], (2, n, r2))
    rest = held2 @ A2.T + 0.1 * rng.standard_normal((2, n, d))[[0, 0] if shared else [0, 1]]
    q = (z1 @ B1.T + z2 @ B2.T) @ W_Q.T
    return q, (z1 @ A1.T + rest[0]) @ W_K.T, (other1 @ A1.T + rest[1]) @ W_K.T, (W_Q @ B1, W_K @ A1)


def delta_of(q, k_pos, k_neg):
    i = np.arange(len(q))
    pairs = Pairs(np.r_[i, i], np.r_[i, i + len(q)], np.repeat([1, -1], len(q)))
    return ContrastiveCovariance(q.shape[1]).update(q, np.vstack([k_pos, k_neg]), pairs).delta


def test_closed_form_of_the_toy_is_recovered(rng):
    """ΔC → W_Q B1 A1ᵀ W_Kᵀ; keys that share all but z1 give its key space exactly, from few triplets."""
    q, k_pos, k_neg, (Q1, K1) = toy(rng, n=200_000)
    closed = Q1 @ K1.T
    delta = delta_of(q, k_pos, k_neg)
    assert np.linalg.norm(delta - closed) < 0.05 * np.linalg.norm(closed)
    found, truth = Subspace.of(delta), Subspace.of(closed)
    assert found.rank == truth.rank == 3
    assert np.allclose(found.key_projector, K1 @ np.linalg.pinv(K1), atol=1e-9)
    assert overlap(found.U, truth.U) > 0.99

    few = toy(rng, n=64)
    assert rank(np.linalg.svd(delta_of(*few[:3]), compute_uv=False), 1 - 1e-12) == 3
    unlike = toy(rng, n=64, shared=False)
    assert (
        rank(np.linalg.svd(delta_of(*unlike[:3]), compute_uv=False), 1 - 1e-12) == 7
    )  # a noise floor: all that the queries span


def test_rank_holds_the_energy():
    S = np.sqrt([90.0, 9.0, 0.9, 0.1])
    assert [rank(S, e) for e in (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)] == [1, 1, 2, 2, 3, 4]
    assert rank(np.zeros(4)) == 0
    assert rank(np.ones(100)) == 99
    assert rank(np.ones(100), 1.0) == 100
    assert rank(S[::-1], 0.99) == 2  # in any order
    assert rank(S, 0.99) != int((S.cumsum() / S.sum() < 0.99).sum() + 1)  # squares, not values


def test_of_rebuilds_delta(rng):
    delta = rng.standard_normal((8, 3)) @ rng.standard_normal((3, 8))
    s = Subspace.of(delta, energy=1 - 1e-12)
    assert s.rank == 3
    assert s.S.shape == (8,)
    assert s.U.shape == s.V.shape == (8, 3)
    assert s.d_head == 8
    assert np.allclose((s.U * s.S[:3]) @ s.V.T, delta)
    for B, P in ((s.U, s.query_projector), (s.V, s.key_projector)):
        assert np.allclose(B.T @ B, np.eye(3))
        assert np.allclose(P @ P, P)
        assert np.isclose(np.trace(P), 3)
    flipped = s.U * [-1, 1, 1]
    assert not np.allclose((flipped * s.S[:3]) @ s.V.T, delta)  # one of a pair turned alone


def test_signs_do_not_depend_on_the_solver(rng):
    delta = rng.standard_normal((6, 6))
    a, b = Subspace.of(delta), Subspace.of(np.asfortranarray(delta) * (1 + 1e-15))
    assert np.allclose(a.U, b.U)
    assert np.allclose(a.V, b.V)
    assert (a.U[np.abs(a.U).argmax(axis=0), range(a.rank)] > 0).all()


@pytest.mark.parametrize("r", [0, 9, -1])
def test_rank_out_of_bounds(rng, r):
    with pytest.raises(ContrastError, match=f"rank {r} is outside 1…8"):
        Subspace.of(rng.standard_normal((8, 8)), rank=r)
    with pytest.raises(ContrastError, match=f"rank {r} is outside 1…8"):
        random(8, r, rng)
    assert Subspace.of(rng.standard_normal((8, 8)), rank=8).rank == 8


def test_no_subspace_of_nothing():
    with pytest.raises(ContrastError, match="zero"):
        Subspace.of(np.zeros((4, 4)))


def planted(rng, d=10, widths=(4, 4), shared=2):
    """Two subspaces that share `shared` directions in query and in key space, and the bases of their spans."""
    total = sum(widths) - shared
    E, F = random(d, total, rng).U, random(d, total, rng).V
    first, second = np.arange(widths[0]), np.arange(total - widths[1], total)
    made = [Subspace.of((E[:, c] * rng.uniform(1, 2, len(c))) @ F[:, c].T, len(c)) for c in (first, second)]
    return made, E, F


def test_union_counts_overlap_once(rng):
    (a, b), E, F = planted(rng)
    u = union([a, b])
    assert u.rank == 6
    assert np.allclose(u.query_projector, E @ E.T)
    assert np.allclose(u.key_projector, F @ F.T)
    added = a.key_projector + b.key_projector
    # overlap counted twice
    assert not np.allclose(added @ added, added)
    assert np.isclose(np.linalg.eigvalsh(added)[-1], 2)
    assert union([a, a]).rank == 4
    assert union([a]).rank == 4
    assert union([u, b]).rank == 6
    assert np.allclose(union([b, a]).key_projector, u.key_projector)


def test_union_keeps_columns_paired(rng):
    """A query and a key of one class meet at the same coordinates; with each side's own basis they do not."""
    E, F = random(16, 5, rng).U, random(16, 5, rng).V
    u = union([Subspace.of(np.outer(E[:, i], F[:, i]), 1) for i in range(5)])
    at_q, at_k = E.T @ u.U, F.T @ u.V  # (5, 5) coordinates of each class
    assert np.allclose(at_q, at_k)
    own = np.linalg.qr(np.roll(E, 1, axis=1))[0]
    assert not np.allclose(E.T @ own, at_k)


def test_union_with_unequal_sides(rng):
    """Two features that share their queries but not their keys: the keys' span is the wider one."""
    e, F = random(8, 1, rng).U, random(8, 2, rng).V
    u = union([Subspace.of(e @ F[:, [i]].T, 1) for i in range(2)])
    assert u.U.shape == (8, 1)
    assert u.V.shape == (8, 2)
    assert u.rank == 2
    assert np.allclose(u.key_projector, F @ F.T)
    assert np.allclose(u.query_projector, e @ e.T)
    assert union([u, random(8, 2, rng)]).rank == 4


def test_union_fills_the_space_at_most(rng):
    assert union([random(6, 4, rng), random(6, 5, rng)]).rank == 6


def test_random_is_uniform(rng):
    """Haar: the mean projector is r/d on the diagonal.

    Without the sign of R it would still be, so columns are checked too.
    """
    draws = [random(5, 2, rng) for _ in range(4000)]
    for mean in (
        np.mean([s.query_projector for s in draws], axis=0),
        np.mean([s.key_projector for s in draws], axis=0),
    ):
        assert np.allclose(mean, 0.4 * np.eye(5), atol=0.03)
    assert abs(np.mean([s.U[0, 0] for s in draws])) < 0.03  # plain QR leaves this at -E|x|
    plain = [np.linalg.qr(rng.standard_normal((5, 2)))[0][0, 0] for _ in range(200)]
    assert abs(np.mean(plain)) > 0.2
    assert np.isclose(np.mean([overlap(s.U, s.V) for s in draws]), 0.4, atol=0.02)  # U and V are independent
    again = random(5, 2, np.random.default_rng(3)), random(5, 2, np.random.default_rng(3))
    assert (again[0].V == again[1].V).all()
    assert again[0].S.tolist() == [1, 1, 0, 0, 0]


def test_principal_angles(rng):
    t = 1e-9
    A = np.eye(4)[:, :2]
    B = np.array([[np.cos(t), 0], [0, np.cos(0.7)], [np.sin(t), 0], [0, np.sin(0.7)]])
    assert np.allclose(principal_angles(A, B), [t, 0.7], rtol=1e-5, atol=0)
    cosines = np.linalg.svd(A.T @ B, compute_uv=False)
    assert np.arccos(min(cosines[0], 1.0)) != pytest.approx(t, rel=0.5)  # cosines alone lose small angles
    assert np.isclose(overlap(A, B), (1 + np.cos(0.7) ** 2) / 2)
    turned = B @ np.linalg.qr(rng.standard_normal((2, 2)))[0]
    assert np.allclose(principal_angles(A, turned), [t, 0.7], rtol=1e-5, atol=1e-12)
    assert np.isclose(overlap(A, turned), overlap(A, B))
    assert overlap(A, np.eye(4)) == overlap(np.eye(4), A) == 1
    assert overlap(A, np.eye(4)[:, 2:]) == 0
