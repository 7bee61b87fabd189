"""Canonical correlations of queries and key contrasts: what no change of the head's basis can move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.subspace import SAME


@dataclass(frozen=True)
class Canonical:
    """values: (r,) correlations in 0…1, descending.

    chance: about how large the largest is if queries and key contrasts are independent.
    """

    values: np.ndarray
    chance: float


def canonical(x: np.ndarray, c: np.ndarray) -> Canonical:
    """Canonical correlations of queries and key contrasts x, c: (n, d), as `qkstore.rank.units` gives them.

    They are the singular values of ΔC with both sides whitened. W_Q → M W_Q, W_K → M⁻ᵀ W_K leaves every logit as it is,
    and these too, but neither the singular values of ΔC nor its 99 % rank. Second moments are not centred, unless x and
    c are. Computed from orthonormal bases of x and c themselves: moment matrices would square their condition.
    """
    Q, K = _basis(x), _basis(c)
    values = np.linalg.svd(Q.T @ K, compute_uv=False).clip(0.0, 1.0)
    return Canonical(values, chance(len(x), Q.shape[1], K.shape[1]))


def chance(n: int, p: int, m: int) -> float:
    """The largest canonical correlation that chance gives: the upper edge for n independent pairs (Wachter 1980).

    p and m are the dimensions of the two sides; the edge is 1 where p + m ≥ n.
    """
    a, b = p / n, m / n
    return float(np.sqrt(a * (1 - b)) + np.sqrt(b * (1 - a))) if a + b < 1 else 1.0


def _basis(x: np.ndarray) -> np.ndarray:
    """(n, r) orthonormal basis of the columns of x: (n, d), without directions that are rounding alone."""
    U, S, _ = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    return U[:, S > SAME * S[0]]
