"""Queries and keys of one head as points: in a feature's coordinates, to be drawn, and whether they lie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from qkstore import projection
from qkstore.analysis.head import Contrasts, Head, Split, split_of
from qkstore.contrast import pairs
from qkstore.errors import ContrastError
from qkstore.interval import wilson
from qkstore.run import Run
from qkstore.subspace import random

DRAWN = 900  # points of a picture
BASES = 10  # random subspaces that a match stands beside
Method = Literal["pca", "umap", "raw"]


@dataclass(frozen=True)
class Points:
    """Queries and keys in a subspace, as coordinates with their labels; `shown` of `total` when sampled.

    table: one row for each point: side (query, key), x, y, z, group, prompt_id, text. explained: the axes' shares of
    the variance, None for UMAP.
    """

    table: pl.DataFrame
    explained: list[float] | None
    shown: int
    total: int
    split: str | None
    rank: int


@dataclass(frozen=True)
class Side:
    """vectors: (n, d_head) as stored; coordinates: (n, r) in the subspace; group, prompt and text: (n,) of each."""

    vectors: np.ndarray
    coordinates: np.ndarray
    group: np.ndarray
    prompt: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Cloud:
    """Every query and key of a contrast's pairs in one head, of which pictures and matches are made."""

    query: Side
    key: Side
    rank: int
    split: str | None

    def draw(
        self, method: Method = "pca", queries: bool = True, most: int = DRAWN, n_neighbors: int = 15, seed: int = 0
    ) -> Points:
        """At most `most` points, with as many of each group as of any other, on common axes of queries and keys.

        method: PCA or UMAP of the coordinates; raw is PCA of the vectors without a subspace (Fig. 17). Without queries,
        the axes are of the keys alone.
        """
        sides = {"query": self.query, "key": self.key} if queries else {"key": self.key}
        total = sum(len(side.group) for side in sides.values())
        kept = {
            name: projection.sample(side.group, max(1, most * len(side.group) // total), seed)
            for name, side in sides.items()
        }
        at = {name: _points(side, method == "raw")[kept[name]] for name, side in sides.items()}
        q, k = at.get("query", at["key"][:0]), at["key"]
        drawn = projection.umap(q, k, n_neighbors=n_neighbors, seed=seed) if method == "umap" else projection.pca(q, k)
        xyz = {"query": drawn.query, "key": drawn.key}
        table = pl.concat([_table(name, side, kept[name], xyz[name]) for name, side in sides.items()])
        explained = None if drawn.explained is None else drawn.explained.tolist()
        return Points(table, explained, len(table), total, self.split, self.rank)


def cloud(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    q_label: str,
    k_label: str,
    split: Split = "judge",
    rank: int | None = None,
) -> Cloud:
    """Every query and key of the contrasts' pairs on one split, in the subspace that the train split gives.

    q_label, k_label: the labels that group queries and keys.
    """
    at, of = Head(run, layer, head), split_of(run, split)
    space = at.subspace(contrasts, rank)
    chosen = [pairs(run, c, of) for c in contrasts]
    rows_q = np.unique(np.concatenate([p.query for p in chosen]))
    rows_k = np.unique(np.concatenate([p.key for p in chosen]))
    q, k = at.queries(rows_q), at.keys(rows_k)
    q_in, k_in = projection.project(q, k, space)
    query, key = _side(run, "q", q_label, rows_q, q, q_in), _side(run, "k", k_label, rows_k, k, k_in)
    return Cloud(query, key, space.rank, of)


def _side(run: Run, side: str, label: str, rows: np.ndarray, vectors: np.ndarray, coordinates: np.ndarray) -> Side:
    told = run.labels(side, [label, "prompt_id", "token"], rows)
    group = np.array([str(v) for v in told[label].to_pylist()])
    return Side(vectors, coordinates, group, told["prompt_id"].to_numpy(), np.array(told["token"].to_pylist()))


def _table(name: str, side: Side, rows: np.ndarray, xyz: np.ndarray) -> pl.DataFrame:
    xyz = np.pad(xyz, ((0, 0), (0, 3 - xyz.shape[1])))
    labels = {"group": side.group[rows], "prompt_id": side.prompt[rows], "text": side.text[rows]}
    return pl.DataFrame({"side": [name] * len(rows), "x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2], **labels})


def project(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    q_label: str,
    k_label: str,
    method: Method = "pca",
    split: Split = "judge",
    rank: int | None = None,
    most: int = 4000,
    n_neighbors: int = 15,
    seed: int = 0,
) -> Points:
    """Queries on U and keys on V, then PCA or UMAP of both together, at most `most` points of them (see Cloud.draw)."""
    whole = cloud(run, contrasts, layer, head, q_label, k_label, split, rank)
    return whole.draw(method, most=most, n_neighbors=n_neighbors, seed=seed)


def held(explained: Sequence[float] | None) -> float | None:
    """The share of the variance on all drawn axes together; None for axes without variance."""
    return float(sum(explained)) if explained else None


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
        rows = (_half(side) == 0) & np.isin(side.group, names)
        groups, own = _centres(side, rows, points)
        if len(names) < 2 or not len(groups):
            raise ContrastError(
                f"{len(names)} groups of keys in one half of the prompts: two are needed to tell where a {name} lies"
            )
        cosine = _unit(points[rows] - own.mean(axis=0)) @ _unit(centres - centres.mean(axis=0)).T
        right = names[cosine.argmax(axis=1)] == side.group[rows]
        found[name] = int(right.sum()), int(rows.sum()), len(names)
    return found


def _half(side: Side) -> np.ndarray:
    """(n,) 0 or 1, the same for a prompt and the counterfactual that follows it."""
    return side.prompt // 2 % 2


def _points(side: Side, raw: bool) -> np.ndarray:
    return side.vectors if raw else side.coordinates


def _centres(side: Side, rows: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(groups,) names, and the (groups, r) mean of the points of each."""
    names, of = np.unique(side.group[rows], return_inverse=True)
    points = points[rows]
    if not len(names):
        return names, points
    return names, np.stack([points[of == i].mean(axis=0, dtype=np.float64) for i in range(len(names))])


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(float).tiny)
