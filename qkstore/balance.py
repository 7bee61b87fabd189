"""Balance: the basis in which a head's queries and keys have the same second moments, at unchanged attention."""

from __future__ import annotations

import numpy as np

from qkstore.subspace import SAME


def balanced(q: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q M and k M⁻¹ of q: (n, r), k: (m, r) in a subspace's coordinates, with one symmetric M > 0: every q · k stays.

    W_Q → M W_Q, W_K → M⁻ᵀ W_K leaves a head's attention as it is, and training may end in any such M: in one, queries
    and keys of a value lie together, in another they do not. M² is the geometric mean of Σ_q⁻¹ and Σ_k, so that M Σ_q M
    = M⁻¹ Σ_k M⁻¹ with Σ = E[x xᵀ]. Where either side lacks a direction no M is determined: q and k are returned as they
    are.
    """
    q, k = (np.asarray(x, np.float64) for x in (q, k))
    Sigma_q, Sigma_k = (x.T @ x / len(x) for x in (q, k))
    if any(
        np.linalg.matrix_rank(Sigma, tol=SAME**2 * np.trace(Sigma), hermitian=True) < len(Sigma)
        for Sigma in (Sigma_q, Sigma_k)
    ):
        return q, k
    root, inverse = _power(Sigma_q, 0.5), _power(Sigma_q, -0.5)
    squared = inverse @ _power(root @ Sigma_k @ root, 0.5) @ inverse
    return q @ _power(squared, 0.5), k @ _power(squared, -0.5)


def _power(Sigma: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(Sigma)
    return (vectors * values**exponent) @ vectors.T
