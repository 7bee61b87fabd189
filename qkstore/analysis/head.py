"""One head of a run: where its vectors are read, what it has of a contrast, and its covariance and subspace.

Everything is built on the train split and judged on the test split, where a run has them; each result says which
prompts it comes from, and how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import polars as pl

from qkstore.contrast import Contrast, pairs
from qkstore.covariance import ContrastiveCovariance, Counts, Pairs
from qkstore.errors import RunError, near
from qkstore.null import Tested
from qkstore.rank import units
from qkstore.run import Layer, Run
from qkstore.score import Queries, Score, by_query, pair_logits, scores
from qkstore.subspace import Subspace, union

Contrasts = tuple[Contrast, ...]
Split = Literal["build", "judge", "train", "test", "whole"]


def build_split(run: Run) -> str | None:
    """The split that subspaces are built on: train, or None (every prompt) of a run without one."""
    return "train" if "train" in run.splits else None


def judge_split(run: Run) -> str | None:
    """The split that results are judged on: test, or else the one they were built on."""
    return "test" if "test" in run.splits else build_split(run)


def split_of(run: Run, split: Split) -> str | None:
    """The split of the run that is meant; None is every prompt. Raises RunError for any other word."""
    if split not in get_args(Split):
        raise RunError(f"no split {split!r}: {near(str(split), get_args(Split))}")
    return {"build": build_split(run), "judge": judge_split(run), "whole": None}.get(split, split)


@dataclass(frozen=True)
class Head:
    """One head of a run. Raises RunError for a layer or head that the run does not have."""

    run: Run
    layer: int
    head: int

    def __post_init__(self):
        self.run.layer(self.layer, self.head)

    @property
    def facts(self) -> Layer:
        """Scaling, soft-cap, window and mask of the head's layer."""
        return self.run.layers[self.layer]

    def queries(self, rows: np.ndarray) -> np.ndarray:
        """q: (n, d_head) float32 of the store's query rows."""
        return self.run.queries(self.layer, self.head, rows)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """k: (m, d_head) float32 of the store's key rows."""
        return self.run.keys(self.layer, self.head, rows)

    def logsumexp(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 log-sum-exp of query rows over every key that they see."""
        return self.run.logsumexp(self.layer, self.head, rows)

    def attended(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        """(p,) bool: whether each query row has an attention on its key row (same prompt, visible in this layer)."""
        return self.run.attended(self.facts, query, key)

    def read(self, contrast: Contrast, split: Split = "build") -> HeadData:
        """What this head has of a contrast's pairs on one split. Raises ContrastError on an empty side."""
        return Rows.of(self.run, contrast, split_of(self.run, split)).read(self)

    def subspace(self, contrasts: Contrasts, rank: int | None = None) -> Subspace:
        """The subspace of a contrast, or the span of several, of the train split; 99 % rank unless one is given.

        A contrast that carries a subspace gives that one, for the head that it belongs to. Raises ContrastError for
        another head.
        """
        return self.spanned([(c, None) for c in contrasts], rank)

    def spanned(self, parts: Sequence[tuple[Contrast, Rows | None]], rank: int | None = None) -> Subspace:
        """The same of contrasts whose pairs were read already, or were not."""
        spaces = [self._part(contrast, rows, rank) for contrast, rows in parts]
        return spaces[0] if len(spaces) == 1 else union(spaces)

    def _part(self, contrast: Contrast, rows: Rows | None, rank: int | None) -> Subspace:
        if contrast.own:
            return contrast.own.subspace(self.run.digest, self.layer, self.head, rank)
        data = rows.read(self) if rows else self.read(contrast)
        return Subspace.of(data.covariance.delta, rank)

    def subspaces(self, features: dict[str, Contrasts], ranks: dict[str, int] | None = None) -> dict[str, Subspace]:
        """The subspace of each feature, and where there are several the span of all, under their names joined by +."""
        spaces = {name: self.subspace(contrasts, (ranks or {}).get(name)) for name, contrasts in features.items()}
        return spaces | ({"+".join(spaces): union(list(spaces.values()))} if len(spaces) > 1 else {})


@dataclass(frozen=True)
class Rows:
    """The pairs of a contrast on one split of a run: the same for every head.

    stored: pairs as rows of the store. query: (n,), key: (m,) the distinct rows among them, ascending. local: the same
    pairs as positions in those two.
    """

    run: Run
    contrast: Contrast
    split: str | None
    stored: Pairs
    query: np.ndarray
    key: np.ndarray
    local: Pairs

    @classmethod
    def of(cls, run: Run, contrast: Contrast, split: str | None) -> Rows:
        """Those that the contrast selects. Raises ContrastError on an empty side."""
        return cls.these(run, contrast, split, pairs(run, contrast, split))

    @classmethod
    def these(cls, run: Run, contrast: Contrast, split: str | None, stored: Pairs) -> Rows:
        """Pairs that were chosen already, as rows of the store."""
        return cls(run, contrast, split, stored, *stored.localise())

    def told(self, table: Literal["q", "k"], name: str) -> np.ndarray:
        """A label of the queries (n,) or of the keys (m,), as text."""
        numbers = self.query if table == "q" else self.key
        return self.run.labels(table, [name], numbers)[name].to_numpy(zero_copy_only=False).astype(str)

    def read(self, head: Head, k: np.ndarray | None = None) -> HeadData:
        """What one head has of these pairs; k: its keys, where they were read for another head of the same KV head."""
        return HeadData(head, self, head.queries(self.query), head.keys(self.key) if k is None else k)


@dataclass(frozen=True)
class HeadData:
    """What one head has of a contrast's pairs, read once: q (n, d_head) and k (m, d_head) float32 of `rows`."""

    head: Head
    rows: Rows
    q: np.ndarray
    k: np.ndarray

    @property
    def pairs(self) -> Pairs:
        """The pairs as positions in q and k."""
        return self.rows.local

    @property
    def counts(self) -> Counts:
        return self.rows.stored.counts

    @property
    def split(self) -> str | None:
        return self.rows.split

    def fit(self, part: Pairs) -> ContrastiveCovariance:
        """C+, C− and ΔC (eq. 5, 6) of some of the pairs."""
        return self.rows.contrast.fitter(self.q.shape[1]).update(self.q, self.k, part)

    @cached_property
    def covariance(self) -> ContrastiveCovariance:
        """C+, C− and ΔC (eq. 5, 6) of all pairs."""
        return self.fit(self.pairs)

    @property
    def norm(self) -> float:
        """‖ΔC‖_F."""
        return float(np.linalg.norm(self.covariance.delta))

    @cached_property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """x, c: (n, d_head) each, with mean x cᵀ = ΔC (see qkstore.rank.units)."""
        kind = self.rows.contrast
        return units(self.q, self.k, self.pairs, centred=kind.centring == "queries", summed=kind.weighting == "sum")

    @property
    def dealt(self) -> bool:
        """Whether any query has keys of both signs: without, there is no key contrast whose sign could be dealt."""
        return len(np.intersect1d(self.pairs.query[self.pairs.positive], self.pairs.query[self.pairs.negative])) > 0

    def null(self, n: int, seed: int = 0) -> Tested:
        """‖ΔC‖_F of centred queries, and under n deals of the signs of key contrasts (qkstore.null.SignNull)."""
        return self.rows.contrast.null(self.pairs, n, seed).test(self.q, self.k)

    def logits(self) -> np.ndarray:
        """(p,) the logit of every pair, with the model's scaling and soft-cap."""
        return pair_logits(self.q, self.k, self.pairs, self.head.facts.scaling, self.head.facts.softcap)

    def attention(self, logits: np.ndarray) -> np.ndarray:
        """(p,) the attention of every pair, given its logit; NaN where the key is not in the query's own row."""
        stored = self.rows.stored
        seen = self.head.attended(stored.query, stored.key)
        return np.where(seen, np.exp(logits - self.head.logsumexp(stored.query)), np.nan)

    def by_query(self) -> Queries:
        """What the head attends to, of these pairs, query by query (qkstore.score.by_query)."""
        logits = self.logits()
        return by_query(logits, self.attention(logits), self.pairs, self.q, self.rows.stored.key)

    def score(self, resample: bool = False, groups: np.ndarray | None = None) -> Score:
        """What the head attends to, of these pairs (qkstore.score.score)."""
        return scores([self.by_query()], groups, resample)[0]


@dataclass(frozen=True)
class Covariance:
    """ΔC of one head with its subspace (99 % rank unless one was asked for) and the pairs it comes from."""

    covariance: ContrastiveCovariance
    subspace: Subspace
    counts: Counts
    split: str | None

    def __repr__(self) -> str:
        return f"Covariance({self.subspace}, split={self.split!r}, {self.counts})"

    @property
    def delta(self) -> np.ndarray:
        """(d_head, d_head) ΔC = C+ − C−."""
        return self.covariance.delta

    def arrays(self) -> dict[str, np.ndarray]:
        """What `qkstore covariance --out` writes."""
        c, s = self.covariance, self.subspace
        return dict(
            C_pos=c.C_pos, C_neg=c.C_neg, delta=c.delta, U=s.U, S=s.S, V=s.V, n_pos=c.n_pos, n_neg=c.n_neg, rank=s.rank
        )


def covariance(
    run: Run, contrast: Contrast, layer: int, head: int, rank: int | None = None, split: Split = "build"
) -> Covariance:
    """C+, C− and ΔC (eq. 5, 6) of one head with the SVD of ΔC (eq. 7).

    rank: where to cut the SVD, by default where 99 % of ‖ΔC‖² is held. Raises ContrastError on an empty side, RunError
    for a layer or head that is not there.
    """
    data = Head(run, layer, head).read(contrast, split)
    return Covariance(data.covariance, Subspace.of(data.covariance.delta, rank), data.counts, data.split)


def subspace(run: Run, contrasts: Contrasts, layer: int, head: int, rank: int | None = None) -> Subspace:
    """The subspace of a contrast in one head, or the span of several; built on the train split."""
    return Head(run, layer, head).subspace(contrasts, rank)


def subspaces(
    run: Run, features: dict[str, Contrasts], layer: int, head: int, ranks: dict[str, int] | None = None
) -> dict[str, Subspace]:
    """The subspace of each feature in one head, and where there are several the span of all, as `a+b`."""
    return Head(run, layer, head).subspaces(features, ranks)


def spectrum(S: np.ndarray, rank: int) -> pl.DataFrame:
    """Singular values S: (d,), descending, with the share of ‖ΔC‖² that they and those before them hold.

    The columns: index (from 1), value, held, kept (whether it is among the first `rank`).
    """
    energy = np.cumsum(np.square(S, dtype=np.float64))
    return pl.DataFrame(
        {
            "index": np.arange(1, len(S) + 1),
            "value": S,
            "held": energy / energy[-1] if energy[-1] else energy,
            "kept": np.arange(len(S)) < rank,
        }
    )


def matrices(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The three matrices of a contrast by their names in the paper."""
    return {"C+": arrays["C_pos"], "C−": arrays["C_neg"], "ΔC": arrays["delta"]}
