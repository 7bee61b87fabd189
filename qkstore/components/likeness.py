"""Components of different heads that score the same queries and keys alike: one feature, read several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAME = 0.7  # likeness from which two components are of one feature: half of the variance of either tells the other
LEVEL = 0.05
TINY = 1e-12
Anew = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Likeness:
    """How alike m components of several heads are, beside chance.

    value: (m, m) see `alike`. chance: the 95 % quantile, over times that prompts are paired anew, of the largest
    likeness of any two components of different heads. threshold: the larger one of SAME and chance.
    """

    value: np.ndarray
    chance: float

    @property
    def threshold(self) -> float:
        return max(SAME, self.chance)


def likeness(
    query: np.ndarray, key: np.ndarray, head: np.ndarray, anew: list[tuple[np.ndarray, np.ndarray]]
) -> Likeness:
    """Return how alike components are by their scores, which no change of any head's basis moves.

    query: (n, m) scores of the same n queries by m components; key: (l, m) scores of the same l keys, less their mean
    over each prompt, since only differences of keys say something; head: (m,) the head of each; anew: for each time
    that prompts are paired anew the (n,) queries and (l,) keys that take the places of these.
    """
    query, key = standard(query), standard(key)
    others = head[:, None] != head[None, :]
    null = [np.where(others, alike(query, key, query[q], key[k]), 0.0).max() for q, k in anew] if others.any() else []
    return Likeness(alike(query, key, query, key), float(np.quantile(null, 1 - LEVEL)) if null else 0.0)


def alike(query: np.ndarray, key: np.ndarray, other_query: np.ndarray, other_key: np.ndarray) -> np.ndarray:
    """Return (m, m) likeness of standardised scores: the smaller one of |r| of queries and |r| of keys.

    It is 0 where the two have different signs: then what one component looks for is what the other one shuns.
    """
    of_queries, of_keys = query.T @ other_query, key.T @ other_key
    return np.where(of_queries * of_keys > 0, np.minimum(np.abs(of_queries), np.abs(of_keys)), 0.0)


def clustered(value: np.ndarray, threshold: float) -> np.ndarray:
    """Return (m,) the cluster of each component, by average linkage of 1 − likeness cut at 1 − threshold.

    Clusters are numbered from 0 by their size, the largest first; of one size, that of the first component first.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(value) < 2:
        return np.zeros(len(value), int)
    apart = np.clip(1 - (value + value.T) / 2, 0, None)
    np.fill_diagonal(apart, 0)
    cut = fcluster(linkage(squareform(apart, checks=False), "average"), 1 - threshold, "distance")
    _, first, place, many = np.unique(cut, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -many))
    number = np.empty(len(order), int)
    number[order] = np.arange(len(order))
    return number[place]


def standard(scores: np.ndarray) -> np.ndarray:
    """(n, m) float32 scores less their mean, of length 1; 0 where they are flat."""
    centred = scores - scores.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > TINY).astype(np.float32)
