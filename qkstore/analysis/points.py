"""A cloud of queries and keys in a feature's coordinates, to be drawn, and whether queries lie with their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore import projection
from qkstore.analysis.head import Contrasts, judge_split, subspace
from qkstore.contrast import pairs
from qkstore.errors import ContrastError
from qkstore.interval import wilson
from qkstore.run import Run

DRAWN = 900  # points of a picture


@dataclass(frozen=True)
class Points:
    """Queries and keys in a subspace, as coordinates with their labels; `shown` of `total` when sampled."""

    table: pl.DataFrame
    explained: list[float] | None
    shown: int
    total: int
    split: str | None
    rank: int


def project(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    q_label: str,
    k_label: str,
    method: str = "pca",
    split: str | None = "judge",
    rank: int | None = None,
    most: int = 4000,
    n_neighbors: int = 15,
    seed: int = 0,
) -> Points:
    """Queries on U and keys on V, then PCA or UMAP of both together; method `raw` is PCA without projecting (Fig. 17).

    The columns of the table: side (query, key), x, y, z, group (the value of q_label or k_label), prompt_id, text.
    """
    split = judge_split(run) if split == "judge" else split
    space = subspace(run, contrasts, layer, head, rank)
    found = [pairs(run, c, split) for c in contrasts]
    rows = {
        "q": np.unique(np.concatenate([p.query for p in found])),
        "k": np.unique(np.concatenate([p.key for p in found])),
    }
    labels = {
        side: run.labels(side, [name, "prompt_id", "token"], rows[side])
        for side, name in (("q", q_label), ("k", k_label))
    }
    groups = {
        side: np.array([str(v) for v in labels[side][name].to_pylist()])
        for side, name in (("q", q_label), ("k", k_label))
    }
    total = sum(map(len, rows.values()))
    kept = {side: projection.sample(groups[side], max(1, most * len(rows[side]) // total), seed) for side in rows}
    q, k = run.queries(layer, head, rows["q"][kept["q"]]), run.keys(layer, head, rows["k"][kept["k"]])
    coordinates = (q, k) if method == "raw" else projection.project(q, k, space)
    if method == "umap":
        points = projection.umap(*coordinates, n_neighbors=n_neighbors, seed=seed)
    else:
        points = projection.pca(*coordinates)
    table = pl.concat(
        [
            _side("query", points.query, labels["q"], groups["q"], kept["q"]),
            _side("key", points.key, labels["k"], groups["k"], kept["k"]),
        ]
    )
    return Points(
        table, None if points.explained is None else points.explained.tolist(), len(table), total, split, space.rank
    )


def _side(side: str, xyz: np.ndarray, labels, groups: np.ndarray, kept: np.ndarray) -> pl.DataFrame:
    xyz = np.pad(xyz, ((0, 0), (0, 3 - xyz.shape[1])))
    chosen = labels.take(kept)
    return pl.DataFrame(
        {
            "side": [side] * len(kept),
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": groups[kept],
            "prompt_id": chosen["prompt_id"].to_numpy(),
            "text": chosen["token"].to_pylist(),
        }
    )


def held(explained: Sequence[float] | None) -> float | None:
    """The share of the variance on all drawn axes together; None for axes without variance."""
    return float(sum(explained)) if explained else None


@dataclass(frozen=True)
class Side:
    """vectors: (n, d_head) as stored; coordinates: (n, r) in the subspace; labels: group, prompt and text of each."""

    vectors: np.ndarray
    coordinates: np.ndarray
    group: np.ndarray
    prompt: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Cloud:
    query: Side
    key: Side
    rank: int
    split: str | None


@dataclass(frozen=True)
class Match:
    """Of n queries or keys, the share that lies nearest to the centre of its own group; 95 % interval.

    groups: how many centres there are; chance gives a share of 1 in `groups`.
    """

    share: float
    ci: tuple[float, float]
    n: int
    groups: int


def cloud(run: Run, contrasts: Contrasts, layer: int, head: int, q_label: str, k_label: str) -> Cloud:
    """Every query and key of the contrasts' pairs on the judged split, in the subspace that the other split gives."""
    split, space = judge_split(run), subspace(run, contrasts, layer, head)
    found = [pairs(run, c, split) for c in contrasts]
    rows = {
        "q": np.unique(np.concatenate([p.query for p in found])),
        "k": np.unique(np.concatenate([p.key for p in found])),
    }
    q, k = run.queries(layer, head, rows["q"]), run.keys(layer, head, rows["k"])
    coordinates = dict(zip("qk", projection.project(q, k, space)))
    vectors, names = {"q": q, "k": k}, {"q": q_label, "k": k_label}
    sides = {}
    for side in "qk":
        labels = run.labels(side, [names[side], "prompt_id", "token"], rows[side])
        group = np.array([str(v) for v in labels[names[side]].to_pylist()])
        sides[side] = Side(
            vectors[side],
            coordinates[side],
            group,
            labels["prompt_id"].to_numpy(),
            np.array(labels["token"].to_pylist()),
        )
    return Cloud(sides["q"], sides["k"], space.rank, split)


def drawn(
    cloud: Cloud, method: str, queries: bool = True, most: int = DRAWN, n_neighbors: int = 15, seed: int = 0
) -> tuple[pl.DataFrame, list[float] | None]:
    """At most `most` points to draw, and the axes' shares of variance; method is pca, umap or raw.

    The points are a table of side, x, y, z, group, prompt_id and text, with as many of each group as of any other.
    Without queries, the axes are of the keys alone.
    """
    sides = [("query", cloud.query), ("key", cloud.key)] if queries else [("key", cloud.key)]
    total = sum(len(side.group) for _, side in sides)
    kept = [projection.sample(side.group, max(1, most * len(side.group) // total), seed) for _, side in sides]
    arrays = [(side.vectors if method == "raw" else side.coordinates)[rows] for (_, side), rows in zip(sides, kept)]
    q, k = arrays if queries else (arrays[0][:0], arrays[0])
    points = projection.umap(q, k, n_neighbors=n_neighbors, seed=seed) if method == "umap" else projection.pca(q, k)
    at = [points.query, points.key][-len(sides) :]
    table = pl.concat([_table(name, side, rows, xyz) for (name, side), rows, xyz in zip(sides, kept, at)])
    return table, None if points.explained is None else points.explained.tolist()


def matches(cloud: Cloud, raw: bool = False) -> dict[str, Match]:
    """{query, key: Match}: whether queries (keys) of half the prompts lie with their group's keys of the other half.

    Both sides less the mean of their groups' means (the first axis tells keys from queries); nearest by cosine. Raises
    ContrastError where fewer than two groups are in both halves.
    """
    names, centres = _centres(cloud.key, _half(cloud.key) == 1, raw)
    found = {}
    for name, side in (("query", cloud.query), ("key", cloud.key)):
        rows = (_half(side) == 0) & np.isin(side.group, names)
        groups, own = _centres(side, rows, raw)
        if len(names) < 2 or not len(groups):
            raise ContrastError(
                f"{len(names)} groups of keys in one half of the prompts: two are needed to tell where a {name} lies"
            )
        points = _points(side, raw)[rows] - own.mean(axis=0)
        cosine = _unit(points) @ _unit(centres - centres.mean(axis=0)).T
        right, n = int((names[cosine.argmax(axis=1)] == side.group[rows]).sum()), int(rows.sum())
        found[name] = Match(right / n, wilson(right, n), n, len(names))
    return found


def _half(side: Side) -> np.ndarray:
    """(n,) 0 or 1, the same for a prompt and the counterfactual that follows it."""
    return side.prompt // 2 % 2


def _points(side: Side, raw: bool) -> np.ndarray:
    return side.vectors if raw else side.coordinates


def _centres(side: Side, rows: np.ndarray, raw: bool) -> tuple[np.ndarray, np.ndarray]:
    """(groups,) names, and the (groups, r) mean of each."""
    names, of = np.unique(side.group[rows], return_inverse=True)
    points = _points(side, raw)[rows]
    return names, np.stack([points[of == i].mean(axis=0, dtype=np.float64) for i in range(len(names))]) if len(
        names
    ) else points[:0]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(float).tiny)


def _table(name: str, side: Side, rows: np.ndarray, xyz: np.ndarray) -> pl.DataFrame:
    xyz = np.pad(xyz, ((0, 0), (0, 3 - xyz.shape[1])))
    return pl.DataFrame(
        {
            "side": [name] * len(rows),
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": side.group[rows],
            "prompt_id": side.prompt[rows],
            "text": side.text[rows],
        }
    )
