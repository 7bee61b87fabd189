"""Projection: queries and keys in a feature's coordinates, put on common axes by PCA or UMAP."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from qkstore.errors import ContrastError
from qkstore.subspace import SAME, Subspace

FLAT = SAME**2  # of the second moment: less variance is the rounding of float32 vectors
# Where numba finds neither OpenMP nor TBB, two sessions that use its threads at once end the whole process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Projection:
    """Points on common axes: query (n, c), key (m, c). explained: (c,) shares of variance; None for UMAP."""

    query: np.ndarray
    key: np.ndarray
    explained: np.ndarray | None


def project(q: np.ndarray, k: np.ndarray, subspace: Subspace) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates (n, r) of q: (n, d) in U and (m, r) of k: (m, d) in V.

    Coordinate i of queries and of keys can be compared because u_i and v_i are one pair. Where a union is wider in one
    space, its directions without a partner are left out.
    """
    r = min(subspace.U.shape[1], subspace.V.shape[1])
    return q @ subspace.U[:, :r], k @ subspace.V[:, :r]


def pca(q: np.ndarray, k: np.ndarray, n_components: int = 3) -> Projection:
    """Return joint principal components of queries (n, r) and keys (m, r), centred by their common mean.

    q, k: coordinates from `project`, or vectors as they are. There are min(n_components, r) axes; the sign of an axis
    makes its largest loading positive.
    """
    points = np.concatenate([q, k]).astype(np.float64)
    points -= points.mean(axis=0)
    variance, axes = np.linalg.eigh(points.T @ points)  # ascending; (r, r), so the number of points does not matter
    axes = axes[:, ::-1][:, :n_components]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    held = variance[::-1][:n_components].clip(0)
    at = points @ axes
    return Projection(at[: len(q)], at[len(q) :], held / max(held.sum(), variance.sum(), np.finfo(float).tiny))


def umap(
    q: np.ndarray, k: np.ndarray, n_components: int = 3, n_neighbors: int = 15, seed: int = 0, verbose: bool = False
) -> Projection:
    """Return a joint UMAP of queries (n, r) and keys (m, r), the same for the same seed; distances have no scale.

    verbose: print what it is at, and its epochs. Raises ContrastError unless 2 ≤ n_neighbors < n + m.
    """
    from umap import UMAP

    points = np.concatenate([q, k]).astype(np.float32)
    if not 2 <= n_neighbors < len(points):
        raise ContrastError(
            f"UMAP takes from 2 to {len(points) - 1} neighbours for {len(points)} points, not {n_neighbors}"
        )
    init = "spectral" if len(points) > 4 * n_components else "random"
    told = {"verbose": verbose, "random_state": seed, "n_jobs": 1}
    fitter = UMAP(n_components=n_components, n_neighbors=n_neighbors, init=init, **told)
    with _one_at_a_time:
        at = fitter.fit_transform(points)
    return Projection(at[: len(q)], at[len(q) :], None)


def sample(groups: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Return at most `most` positions in groups: (n,), ascending, drawn at random by `seed`.

    Each group gives equally many, until it has no more.
    """
    _, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(group)), group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    turn = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))  # place within its group
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def balanced(q: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose M so that queries q M and keys k M⁻¹ have equal second moments; return both. Attention does not change.

    q: (n, r), k: (m, r), coordinates in a subspace. Training may end in any basis W_Q → M W_Q, W_K → M⁻ᵀ W_K, as each
    gives the same logits; in some, queries and keys of one value lie together, in others they do not. M is symmetric
    and positive: M² is the geometric mean of Σ_q⁻¹ and Σ_k with Σ = E[x xᵀ]. Where queries or keys do not span all r
    directions there is no such M, and q and k are returned as they are.
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
    """A power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(Sigma)
    return (vectors * values**exponent) @ vectors.T


def shared(a: np.ndarray, b: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return the canonical correlations of coordinates a: (n, r) and b: (n, s) of the same n rows, on rows held out.

    half: (n,) bool. Directions are fitted on one half and correlated on the other, both ways round, and the two results
    averaged, so that rows without anything in common give about 0 however many directions there are. They are the
    cosines of the principal angles between what the two span over the rows, and no invertible map of either changes
    them. There are r; where one side has fewer directions that vary, the rest are 0.
    """
    return (_held_out(a, b, half) + _held_out(a, b, ~half)) / 2


def _held_out(a: np.ndarray, b: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """The correlations on the rows that were not fitted."""
    (x, whiten_x), (y, whiten_y) = (_whitened(np.asarray(side, np.float64), fitted) for side in (a, b))
    left, _, right = np.linalg.svd(whiten_x.T @ (x[fitted].T @ y[fitted]) @ whiten_y)
    n = min(whiten_x.shape[1], whiten_y.shape[1])
    u, v = x[~fitted] @ whiten_x @ left[:, :n], y[~fitted] @ whiten_y @ right[:n].T
    u, v = u - u.mean(axis=0), v - v.mean(axis=0)
    size = np.sqrt((u**2).sum(axis=0) * (v**2).sum(axis=0))
    out = np.zeros(a.shape[1])
    out[:n] = np.divide((u * v).sum(axis=0), size, out=np.zeros(n), where=size > 0)
    return out


def _whitened(x: np.ndarray, fitted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x less its mean over the fitted rows, and the (r, m) map that gives it m uncorrelated directions of one size."""
    centred = x - x[fitted].mean(axis=0)
    values, vectors = np.linalg.eigh(centred[fitted].T @ centred[fitted])
    kept = values > FLAT * np.sum(x[fitted] ** 2)
    return centred, vectors[:, kept] / np.sqrt(values[kept])
