"""Whether queries lie with the keys of their own group, beside what any subspace of the rank gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.analysis.points.cloud import Cloud, Side
from qkstore.errors import ContrastError
from qkstore.interval import wilson
from qkstore.subspace import random

BASES = 10  # random subspaces that a match stands beside


@dataclass(frozen=True)
class Match:
    """Of n queries or keys, the share that lies nearest to the centre of its own group; 95 % interval.

    groups: how many centres there are; points without any order would give a share of 1 in `groups`. raw: the share in
    all dimensions of the head. at_random: the mean share in random subspaces of the same rank, with the least and the
    largest: what any projection of these vectors gives.
    """

    share: float
    ci: tuple[float, float]
    n: int
    groups: int
    raw: float
    at_random: tuple[float, float, float]


def matches(cloud: Cloud, bases: int = BASES, seed: int = 0) -> dict[str, Match]:
    """{query, key: Match}: whether queries (keys) of half the prompts lie with their group's keys of the other half.

    Both sides less the mean of their groups' means (the first axis tells keys from queries); nearest by cosine. A
    random subspace is one for both sides, as the head's own space is. Raises ContrastError where fewer than two groups
    are in both halves.
    """
    rng, d_head = np.random.default_rng(seed), cloud.key.vectors.shape[1]
    inside = _nearest(cloud.query, cloud.key, cloud.query.coordinates, cloud.key.coordinates)
    whole = _nearest(cloud.query, cloud.key, cloud.query.vectors, cloud.key.vectors)
    drawn = [random(d_head, cloud.rank, rng).V for _ in range(bases)]
    others = [_nearest(cloud.query, cloud.key, cloud.query.vectors @ V, cloud.key.vectors @ V) for V in drawn]
    matched = {}
    for name, (right, n, groups) in inside.items():
        shares = [other[name][0] / n for other in others]
        told = float(np.mean(shares)), min(shares), max(shares)
        matched[name] = Match(right / n, wilson(right, n), n, groups, whole[name][0] / n, told)
    return matched


def _nearest(query: Side, key: Side, q: np.ndarray, k: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """{query, key: (how many lie nearest to their own group, of how many, groups)}, for points q and k of the sides."""
    names, centres = _centres(key, _half(key) == 1, k)
    found = {}
    for name, side, points in (("query", query, q), ("key", key, k)):
        rows = (_half(side) == 0) & np.isin(side.at.group, names)
        groups, own = _centres(side, rows, points)
        if len(names) < 2 or not len(groups):
            raise ContrastError(
                f"{len(names)} groups of keys in one half of the prompts: two are needed to tell where a {name} lies"
            )
        cosine = _unit(points[rows] - own.mean(axis=0)) @ _unit(centres - centres.mean(axis=0)).T
        right = names[cosine.argmax(axis=1)] == side.at.group[rows]
        found[name] = int(right.sum()), int(rows.sum()), len(names)
    return found


def _half(side: Side) -> np.ndarray:
    """(n,) 0 or 1, the same for a prompt and the counterfactual that follows it."""
    return side.at.prompt // 2 % 2


def _centres(side: Side, rows: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(groups,) names, and the (groups, r) mean of the points of each."""
    names, of = np.unique(side.at.group[rows], return_inverse=True)
    points = points[rows]
    if not len(names):
        return names, points
    return names, np.stack([points[of == i].mean(axis=0, dtype=np.float64) for i in range(len(names))])


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(float).tiny)
