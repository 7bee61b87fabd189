"""The least that an analysis has to do, in numpy, on vectors and pairs that are at hand: what no store can beat.

Nothing here is of the library, so that a slower library is slower than it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from qkstore.covariance import Pairs

RESAMPLES = 1000
BLOCK = 256  # queries at a time under the null, so that what is dealt stays in the processor's cache


@dataclass(frozen=True)
class Scores:
    """What a map has of one head."""

    norm: float
    rank: int
    observed: float
    high: float
    p_value: float
    accuracy: float
    selectivity: float
    interval: tuple[float, float]


def mixing(pairs: Pairs, n: int, m: int) -> csr_array:
    """(n, m): of each query, the coefficients of its keys, with ΔC = Qᵀ(W K); each pair counts the same."""
    positive = pairs.sign > 0
    c = np.where(positive, 1 / positive.sum(), -1 / (~positive).sum())
    return csr_array((c, (pairs.query, pairs.key)), shape=(n, m))


def delta(q: np.ndarray, k: np.ndarray, W: csr_array) -> np.ndarray:
    """(d, d) ΔC in float64."""
    return q.astype(np.float64).T @ (W @ k.astype(np.float64))


def rank(delta: np.ndarray) -> int:
    """How many singular values hold 99 % of ‖ΔC‖²."""
    held = np.cumsum(np.linalg.svd(delta, compute_uv=False) ** 2)
    return int(np.searchsorted(held, 0.99 * held[-1]) + 1)


def null(x: np.ndarray, c: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """(heads, deals): ‖mean x (s c)ᵀ‖ of each deal of signs s: (deals, n), all heads of a KV group in one product.

    x: (n, heads · d) centred queries, c: (n, d) centred key contrasts, both float32.
    """
    deals, n, d = len(signs), *c.shape
    total = np.zeros((x.shape[1], deals * d), np.float32)
    for start in range(0, n, BLOCK):
        part = slice(start, start + BLOCK)
        dealt = (signs[:, part].T[:, :, None] * c[part, None, :]).reshape(-1, deals * d)
        total += x[part].T @ dealt
    squares = total.reshape(x.shape[1] // d, d, deals, d) ** 2
    return np.sqrt(squares.sum(axis=(1, 3), dtype=np.float64) / (n * (n - 1)))


def draws(n: int) -> np.ndarray:
    """(RESAMPLES, n) how often each query is drawn: made once, for all heads."""
    drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n).astype(np.float32)


def group(q: np.ndarray, k: np.ndarray, W: csr_array, signs: np.ndarray) -> list[tuple[float, int, float, np.ndarray]]:
    """(‖ΔC‖, rank, ‖ΔC‖ of centred queries, its null) of each query head of a KV group.

    q: (heads, n, d), k: (m, d).
    """
    heads, n, d = q.shape
    c = W @ k.astype(np.float64)
    wide = q.transpose(1, 0, 2).reshape(n, heads * d).astype(np.float64)
    deltas = (wide.T @ c).reshape(heads, d, d)
    x, centred = wide - wide.mean(axis=0), n * (c - c.mean(axis=0))
    observed = np.linalg.norm((x.T @ centred).reshape(heads, -1), axis=1) / n
    dealt = null(x.astype(np.float32), centred.astype(np.float32), signs)
    return [(float(np.linalg.norm(D)), rank(D), float(o), each) for D, o, each in zip(deltas, observed, dealt)]


def judged(
    q: np.ndarray, k: np.ndarray, lse: np.ndarray, pairs: Pairs, scaling: float, counts: np.ndarray
) -> list[tuple[float, float, tuple[float, float]]]:
    """(accuracy, selectivity, its 95 % interval) of each query head of a KV group.

    q: (heads, n, d), k: (m, d), lse: (heads, n). Pairs are in the order of their queries.
    """
    starts, positive = np.flatnonzero(np.diff(pairs.query, prepend=-1)), pairs.sign > 0
    keys, out = k[pairs.key], []
    for each, total in zip(q, lse):
        logit = scaling * np.einsum("pd,pd->p", each[pairs.query], keys).astype(np.float64)
        out.append(_told(logit, np.exp(logit - total[pairs.query]), positive, starts, counts))
    return out


def _told(
    logit: np.ndarray, attention: np.ndarray, positive: np.ndarray, starts: np.ndarray, counts: np.ndarray
) -> tuple[float, float, tuple[float, float]]:
    """(accuracy, selectivity, its 95 % interval) from each pair's logit and attention."""
    best = [np.maximum.reduceat(np.where(side, logit, -np.inf), starts) for side in (positive, ~positive)]
    sums = np.stack([np.add.reduceat(np.where(side, attention, 0), starts) for side in (positive, ~positive)], axis=1)
    means = counts @ sums.astype(np.float32)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    on, off = sums.mean(axis=0)
    return float((best[0] > best[1]).mean()), float(on / off), (float(low), float(high))
