"""Subspaces of a feature: the leading singular vectors of ΔC, U in query space and V in key space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.errors import ContrastError

SAME = 1e-6  # two directions nearer than this many radians are one: the rounding of float32 vectors


def rank(S: np.ndarray, energy: float = 0.99) -> int:
    """Number of singular values that hold `energy` of ‖ΔC‖²_F, the paper's rule at 0.99; 0 for a zero ΔC.

    It asks how many dimensions carry the energy, not how many are statistically there.
    """
    held = np.cumsum(np.sort(np.square(S, dtype=np.float64))[::-1])
    return int(np.searchsorted(held, energy * held[-1] * (1 - 1e-12)) + 1) if held[-1] > 0 else 0


@dataclass(frozen=True)
class Subspace:
    """ΔC = U Σ Vᵀ (eq. 7), cut at `rank`.

    U: (d_head, rank) orthonormal columns that span the feature in query space, V: (d_head, rank) in key space.
    S: (d_head,) all singular values. Column i of U and of V belong together: turn both or neither.
    """

    U: np.ndarray
    S: np.ndarray
    V: np.ndarray
    rank: int

    @classmethod
    def of(cls, delta: np.ndarray, rank: int | None = None, energy: float = 0.99) -> Subspace:
        """From ΔC: (d_head, d_head), with the rank given or by energy.

        Raises ContrastError for a rank outside 1…d_head.
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
        return len(self.U)

    @property
    def query_projector(self) -> np.ndarray:
        """(d_head, d_head) U Uᵀ."""
        return self.U @ self.U.T

    @property
    def key_projector(self) -> np.ndarray:
        """(d_head, d_head) V Vᵀ, eq. 8."""
        return self.V @ self.V.T


def union(subspaces: Sequence[Subspace]) -> Subspace:
    """The span of several subspaces, in query and in key space.

    What they share counts once (added projectors count it twice). The bases are turned so that columns of U and V still
    belong together: they are the singular vectors of the sum of the parts' ΔC, each cut to its rank and scaled to norm
    1, within the spans; S holds its singular values. Only where parts share more directions in one space than in the
    other have U and V different widths; `rank` is the keys', which a swap moves.
    """
    U, V = _span([s.U for s in subspaces]), _span([s.V for s in subspaces])
    left, S, right = np.linalg.svd(U.T @ sum(_unit(s) for s in subspaces) @ V)
    all_S = np.zeros(len(U))
    all_S[: len(S)] = S
    return Subspace(*_signed(U @ left, all_S, V @ right.T), V.shape[1])


def random(d_head: int, rank: int, rng: np.random.Generator) -> Subspace:
    """A baseline: U and V independent and uniform (Haar) among subspaces of that rank; S is 1 for its directions."""
    if not 1 <= rank <= d_head:
        raise ContrastError(f"rank {rank} is outside 1…{d_head}, the size of the head")
    return Subspace(_haar(d_head, rank, rng), (np.arange(d_head) < rank).astype(float), _haar(d_head, rank, rng), rank)


def principal_angles(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """(min(a, b),) angles between the spans of A: (d, a) and B: (d, b), radians, ascending; small ones from sines."""
    from scipy.linalg import subspace_angles

    return subspace_angles(A, B)[::-1]


def overlap(A: np.ndarray, B: np.ndarray) -> float:
    """Mean squared cosine of the principal angles of two orthonormal bases (d, a), (d, b): 1 nested, 0 orthogonal.

    For random ones max(a, b) / d is expected.
    """
    return float(np.sum((A.T @ B) ** 2) / min(A.shape[1], B.shape[1]))


_rank_of = rank  # Subspace.of has an argument of that name


def _signed(U: np.ndarray, S: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One of the two signs of each (u, v), the same on every machine: u and v turn together, so U Σ Vᵀ stays."""
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
    Q, R = np.linalg.qr(rng.standard_normal((d, r)))
    return Q * np.sign(np.diag(R))
