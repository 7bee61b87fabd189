"""What is judged of a decomposition whose truth is known: coordinates, subspace, number, swap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.intervention import Swapper

CLEAN = 0.98  # |correlation| from which a component is one coordinate of the truth
OWN = 0.8  # from which a coordinate has a component of its own
DROPPED = 0.1  # share of a coordinate's variance that all components tell, below which the head does not read it


@dataclass(frozen=True)
class Coordinates:
    """How r true coordinates are told by the scores of some components.

    matched: (r,) |correlation| of each coordinate with the component that it is matched with, one to one so that the
    sum is largest; 0 where there are fewer components. told: (r,) share of each one's variance that all components
    together tell, linearly.
    """

    matched: np.ndarray
    told: np.ndarray

    @property
    def clean(self) -> int:
        return int((self.matched >= CLEAN).sum())

    @property
    def own(self) -> int:
        return int((self.matched >= OWN).sum())

    @property
    def dropped(self) -> int:
        return int((self.told < DROPPED).sum())


def coordinates(scores: np.ndarray, z: np.ndarray) -> Coordinates:
    """Of scores: (n, c) of queries, and the true coordinates z: (n, r) of the same queries."""
    from scipy.optimize import linear_sum_assignment

    s, z = scores - scores.mean(axis=0), z - z.mean(axis=0)
    s = s[:, (s**2).sum(axis=0) > 0]
    norm = np.sqrt(np.outer((s**2).sum(axis=0), (z**2).sum(axis=0)))
    C = np.abs(s.T @ z) / norm  # (c, r)
    rows, columns = linear_sum_assignment(-C)
    matched = np.zeros(z.shape[1])
    matched[columns] = C[rows, columns]
    left = z - s @ np.linalg.lstsq(s, z, rcond=None)[0]
    return Coordinates(matched, 1 - (left**2).sum(axis=0) / (z**2).sum(axis=0))


def share(truth: np.ndarray, found: np.ndarray) -> float:
    """Part of the span of truth: (d, r) that lies in the span of found: (d, c), as a mean squared cosine."""
    if not found.shape[1]:
        return 0.0
    (A, _), (B, _) = np.linalg.qr(truth), np.linalg.qr(found)
    return float(np.sum((A.T @ B) ** 2) / A.shape[1])


def pairs(logits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the key that gets most of each query's attention, and another one at random; logits: (n, T)."""
    best = logits.argmax(axis=1)
    other = (best + rng.integers(1, logits.shape[1], len(best))) % logits.shape[1]
    return best, other


def swapper(q: np.ndarray, k: np.ndarray, logsumexp: np.ndarray, scaling: float, seed: int = 0) -> Swapper:
    """Swaps of each query's best key and another one; q: (n, d), k: (n, T, d), as `qkstore.analysis` draws them."""
    best, other = pairs(np.einsum("nd,ntd->nt", q, k), np.random.default_rng(seed))
    rows = np.arange(len(q))
    return Swapper(q, k[rows, best], k[rows, other], logsumexp, scaling)


def moved(swaps: Swapper, projectors: list[np.ndarray]) -> list[tuple[float, float]]:
    """Mean attention on the original and on the target after the swap by each of several projectors: (d, d)."""
    return [(float(s.original_after.mean()), float(s.target_after.mean())) for s in swaps.through(projectors)]
