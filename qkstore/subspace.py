"""Subspaces of a feature: the leading singular vectors of ΔC, U in query space and V in key space (eq. 7, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.errors import ContrastError

SAME = 1e-6  # radians, or relative size: smaller differences are the rounding of float32 vectors


def rank(S: np.ndarray, energy: float = 0.99) -> int:
    """Return how many of the largest singular values S: (n,) hold `energy` of ‖ΔC‖²_F; 0 where all are 0.

    0.99 is the paper's rule. It says how many dimensions carry the energy, not how many are statistically there
    (`qkstore.rank.statistical`).
    """
    held = np.cumsum(np.sort(np.square(S, dtype=np.float64))[::-1])
    return int(np.searchsorted(held, energy * held[-1] * (1 - 1e-12)) + 1) if held[-1] > 0 else 0


@dataclass(frozen=True)
class Subspace:
    """ΔC = U Σ Vᵀ (eq. 7), cut at `rank`.

    U: (d_head, rank) orthonormal columns that span the feature in query space; V: (d_head, rank), in key space.
    S: (d_head,) all singular values, descending. Column i of U and column i of V belong together: change the sign of
    both or of neither. Of a `union`, U and V may differ in width.
    """

    U: np.ndarray
    S: np.ndarray
    V: np.ndarray
    rank: int

    def __repr__(self) -> str:
        return f"Subspace(rank={self.rank}, d_head={len(self.U)})"

    @classmethod
    def of(cls, delta: np.ndarray, rank: int | None = None, energy: float = 0.99) -> Subspace:
        """Decompose ΔC: (d_head, d_head) and cut it at `rank`, or at the rank that holds `energy` where none is given.

        Signs are chosen the same on every machine. Raises ContrastError for a rank outside 1…d_head, and for a zero ΔC
        without a rank.
        """
        U, S, Vt = np.linalg.svd(np.asarray(delta, np.float64))
        r = _rank_of(S, energy) if rank is None else rank
        if r == 0 and rank is None:
            raise ContrastError("ΔC is zero: positive and negative keys are the same, so there is no subspace")
        if not 1 <= r <= len(S):
            raise ContrastError(f"rank {r} is outside 1…{len(S)}, the size of the head")
        return cls(*_signed(U[:, :r], S, Vt[:r].T), r)

    @property
    def d_head(self) -> int:
        """Size of a query or key."""
        return len(self.U)

    @property
    def query_projector(self) -> np.ndarray:
        """(d_head, d_head) U Uᵀ, which keeps a query's part in the subspace."""
        return self.U @ self.U.T

    @property
    def key_projector(self) -> np.ndarray:
        """(d_head, d_head) V Vᵀ (eq. 8), which keeps a key's part in the subspace."""
        return self.V @ self.V.T


def union(subspaces: Sequence[Subspace]) -> Subspace:
    """Return the span of several subspaces of one head, in query space and in key space.

    Directions that two of them share count once; adding projectors would count them twice. U and V are the singular
    vectors of the sum of the parts' ΔC, each cut to its rank and scaled to norm 1, so their columns still belong
    together; S holds the singular values of that sum. U and V differ in width where the parts share more directions in
    one space than in the other; `rank` is V's width, because swaps move keys.
    """
    U, V = _span([s.U for s in subspaces]), _span([s.V for s in subspaces])
    left, S, right = np.linalg.svd(U.T @ sum(_unit(s) for s in subspaces) @ V)
    all_S = np.zeros(len(U))
    all_S[: len(S)] = S
    return Subspace(*_signed(U @ left, all_S, V @ right.T), V.shape[1])


def random(d_head: int, rank: int, rng: np.random.Generator) -> Subspace:
    """Draw a baseline: U and V independent and uniform (Haar) among subspaces of `rank`; S is 1, then 0.

    Raises ContrastError for a rank outside 1…d_head.
    """
    if not 1 <= rank <= d_head:
        raise ContrastError(f"rank {rank} is outside 1…{d_head}, the size of the head")
    return Subspace(_haar(d_head, rank, rng), (np.arange(d_head) < rank).astype(float), _haar(d_head, rank, rng), rank)


def principal_angles(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the (min(a, b),) principal angles of the spans of A: (d, a) and B: (d, b), in radians, ascending.

    Small angles are computed from sines, so they keep their precision.
    """
    from scipy.linalg import subspace_angles

    return subspace_angles(A, B)[::-1]


def overlap(A: np.ndarray, B: np.ndarray) -> float:
    """Return the mean squared cosine of the principal angles of two orthonormal bases A: (d, a) and B: (d, b).

    It is 1 where one span contains the other and 0 where they are orthogonal; random ones give max(a, b) / d on
    average.
    """
    return float(np.sum((A.T @ B) ** 2) / min(A.shape[1], B.shape[1]))


_rank_of = rank  # Subspace.of has an argument of that name


def _signed(U: np.ndarray, S: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sign of each pair (u, v) chosen so that u's largest entry is positive; U Σ Vᵀ does not change."""
    sign = np.sign(U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])])
    paired = np.ones(V.shape[1])
    paired[: len(sign)] = sign[: len(paired)]
    return U * sign, S, V * paired


def _unit(s: Subspace) -> np.ndarray:
    """(d, d) ΔC cut to the rank, scaled to norm 1."""
    paired = min(s.U.shape[1], s.V.shape[1])
    S = s.S[:paired]
    return (s.U[:, :paired] * (S / np.linalg.norm(S))) @ s.V[:, :paired].T


def _span(bases: list[np.ndarray]) -> np.ndarray:
    """(d, r) orthonormal basis of what the orthonormal bases span together."""
    U, S, _ = np.linalg.svd(np.hstack(bases), full_matrices=False)
    return U[:, S > SAME]


def _haar(d: int, r: int, rng: np.random.Generator) -> np.ndarray:
    """(d, r) orthonormal basis of a uniformly random subspace."""
    Q, R = np.linalg.qr(rng.standard_normal((d, r)))
    return Q * np.sign(np.diag(R))
