"""Queries and keys of one head as points: in a feature's coordinates, to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from qkstore import projection
from qkstore.analysis.head import Contrasts, Head, Rows, Split, build_split, split_of
from qkstore.contrast import pairs
from qkstore.projection import Projection
from qkstore.run import Run

DRAWN = 900  # points of a picture
NO_LABEL = "no label"  # the group of a query or key that has none
Method = Literal["pca", "umap", "raw"]


@dataclass(frozen=True)
class Points:
    """Queries and keys in a subspace, as coordinates with their labels; `shown` of `total` when sampled.

    table: one row for each point: side (query, key), row (its query_row or key_row), x, y, z, group, prompt_id, pos,
    text. explained: the axes' shares of the variance, None for UMAP. groups: those of all points, the most frequent
    first, whatever the sample, so that a group has one colour in every picture; () where the table itself tells.
    """

    table: pl.DataFrame
    explained: list[float] | None
    shown: int
    total: int
    split: str | None
    rank: int
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """Queries or keys of a run, the same for every head: row, group, prompt, pos and text, (n,) of each."""

    row: np.ndarray
    group: np.ndarray
    prompt: np.ndarray
    pos: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, run: Run, side: Literal["q", "k"], label: str, rows: np.ndarray) -> Places:
        """Those of rows of the store; `label` names the groups."""
        told = run.labels(side, [label, "prompt_id", "pos", "token"], rows)
        group = np.array([NO_LABEL if v is None else str(v) for v in told[label].to_pylist()])
        prompt, pos = told["prompt_id"].to_numpy(), told["pos"].to_numpy()
        return cls(rows, group, prompt, pos, np.array(told["token"].to_pylist()))


@dataclass(frozen=True)
class Side:
    """vectors: (n, d_head) as stored; coordinates: (n, r) in the subspace; at: what is told of each."""

    vectors: np.ndarray
    coordinates: np.ndarray
    at: Places


@dataclass(frozen=True)
class Sample:
    """Points of a cloud that were drawn from it, before they get axes: positions in each side, and vectors of both.

    q: (n, r), k: (m, r) coordinates, or vectors as they are. method: what is to make axes of them.
    """

    cloud: Cloud
    kept: dict[str, np.ndarray]
    q: np.ndarray
    k: np.ndarray
    method: Method
    total: int

    def place(self, drawn: Projection) -> Points:
        """The points on these axes."""
        xyz = {"query": drawn.query, "key": drawn.key}
        sides = {"query": self.cloud.query, "key": self.cloud.key}
        table = pl.concat([_table(name, sides[name].at, rows, xyz[name]) for name, rows in self.kept.items()])
        explained = None if drawn.explained is None else drawn.explained.tolist()
        at = self.cloud
        return Points(table, explained, len(table), self.total, at.split, at.rank, at.groups)


@dataclass(frozen=True)
class Cloud:
    """Every query and key of a contrast's pairs in one head, of which pictures and matches are made."""

    query: Side
    key: Side
    rank: int
    split: str | None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of queries and keys, the most frequent first."""
        names, counts = np.unique(np.concatenate([self.query.at.group, self.key.at.group]), return_counts=True)
        return tuple(names[np.lexsort((names, -counts))].tolist())

    def sample(self, method: Method = "pca", queries: bool = True, most: int = DRAWN, seed: int = 0) -> Sample:
        """At most `most` points, with as many of each group as of any other."""
        sides = {"query": self.query, "key": self.key} if queries else {"key": self.key}
        total = sum(len(side.at.row) for side in sides.values())
        kept = {
            name: projection.sample(side.at.group, max(1, most * len(side.at.row) // total), seed)
            for name, side in sides.items()
        }
        at = {name: (side.vectors if method == "raw" else side.coordinates)[kept[name]] for name, side in sides.items()}
        return Sample(self, kept, at.get("query", at["key"][:0]), at["key"], method, total)

    def draw(
        self, method: Method = "pca", queries: bool = True, most: int = DRAWN, n_neighbors: int = 15, seed: int = 0
    ) -> Points:
        """A sample on common axes of queries and keys.

        method: PCA or UMAP of the coordinates; raw is PCA of the vectors without a subspace (Fig. 17). Without queries,
        the axes are of the keys alone.
        """
        drawn = self.sample(method, queries, most, seed)
        if method == "umap":
            return drawn.place(projection.umap(drawn.q, drawn.k, n_neighbors=n_neighbors, seed=seed))
        return drawn.place(projection.pca(drawn.q, drawn.k))


@dataclass(frozen=True)
class Chosen:
    """Which pairs give the subspace, and which queries and keys are drawn in it: the same for every head of a run."""

    built: tuple[Rows, ...]
    query: Places
    key: Places
    split: str | None

    @classmethod
    def of(cls, run: Run, contrasts: Contrasts, q_label: str, k_label: str, split: Split = "judge") -> Chosen:
        """Every query and key of the contrasts' pairs on one split; the subspace is of the train split."""
        of = split_of(run, split)
        built = tuple(Rows.of(run, c, build_split(run)) for c in contrasts)
        drawn = [b.stored for b in built] if of == build_split(run) else [pairs(run, c, of) for c in contrasts]
        rows_q = np.unique(np.concatenate([p.query for p in drawn]))
        rows_k = np.unique(np.concatenate([p.key for p in drawn]))
        return cls(built, Places.of(run, "q", q_label, rows_q), Places.of(run, "k", k_label, rows_k), of)

    def cloud(self, head: Head, rank: int | None = None) -> Cloud:
        """All of them in one head."""
        space = head.spanned([(rows.contrast, rows) for rows in self.built], rank)
        q, k = head.queries(self.query.row), head.keys(self.key.row)
        q_in, k_in = projection.project(q, k, space)
        return Cloud(Side(q, q_in, self.query), Side(k, k_in, self.key), space.rank, self.split)


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
    at = Head(run, layer, head)
    return Chosen.of(run, contrasts, q_label, k_label, split).cloud(at, rank)


def _table(name: str, at: Places, rows: np.ndarray, xyz: np.ndarray) -> pl.DataFrame:
    xyz = np.pad(xyz, ((0, 0), (0, 3 - xyz.shape[1])))
    axes = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2]}
    told = {"group": at.group[rows], "prompt_id": at.prompt[rows], "pos": at.pos[rows], "text": at.text[rows]}
    return pl.DataFrame({"side": [name] * len(rows), "row": at.row[rows], **axes, **told})


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
