"""The heads that are nearest to a head: whether their subspaces of a contrast hold the same of the same tokens.

Subspaces of two heads lie in different spaces, each in the queries and keys of its own head, so their bases have no
angle. What they hold can be compared: every head has a query and a key of the same tokens, so the coordinates of these
tokens in two heads' subspaces are two sets of columns over the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore.analysis.head import Contrasts, Head, HeadData, Rows, build_split, judge_split
from qkstore.analysis.pairs.block import chosen
from qkstore.errors import ContrastError, RunError
from qkstore.projection import shared
from qkstore.run import Run
from qkstore.subspace import SAME, Subspace, random, union
from qkstore.text import split_name

LEAST = 10  # rows of a half
BASES = 10  # random subspaces, and permutations, that an angle stands beside
MOST = 1000  # queries, and keys, that are compared
Progress = Callable[[int, int], None]  # called with (heads done, heads in all)


@dataclass(frozen=True)
class Near:
    """How near one head's subspace is to another's; angles are in degrees, 0 the same and 90 nothing in common.

    query_angle, key_angle: the mean principal angle between the coordinates of the queries, and of the keys; None where
    those of the head that is asked about do not vary. angle: the mean of the two. random, random_least: the mean and
    the least angle with random subspaces of the other head in place of the contrast's. chance: the mean angle where the
    rows of the other head are permuted. same_keys: the two heads share a KV head.
    """

    layer: int
    head: int
    angle: float
    query_angle: float | None
    key_angle: float | None
    random: float
    random_least: float
    chance: float
    same_keys: bool

    @property
    def nearer(self) -> bool:
        """Whether the contrast's subspace is nearer than every random one of the same head.

        By chance that happens once in as many heads as there are random ones, and one more.
        """
        return self.angle < self.random_least


@dataclass(frozen=True)
class Nearest:
    """The other heads, the nearest first; ranks: dimensions of queries and of keys; n_q, n_k: rows compared."""

    heads: list[Near]
    ranks: tuple[int, int]
    n_q: int
    n_k: int
    built_on: str | None
    judged_on: str | None
    bases: int
    seed: int

    @property
    def table(self) -> pl.DataFrame:
        """A row a head, the nearest first: the fields of Near, and nearer."""
        return pl.DataFrame([vars(near) | {"nearer": near.nearer} for near in self.heads], infer_schema_length=None)

    def to_dict(self) -> dict:
        """What `qkstore nearest --json` prints."""
        told = ("ranks", "n_q", "n_k", "built_on", "judged_on", "bases", "seed")
        return {name: getattr(self, name) for name in told} | {"heads": self.table.to_dicts()}

    @property
    def chance(self) -> float:
        """The mean angle over all heads where rows are permuted."""
        return float(np.mean([near.chance for near in self.heads]))

    @property
    def sentence(self) -> str:
        """What was compared."""
        ranks = f"{self.ranks[0]}" if self.ranks[0] == self.ranks[1] else f"{self.ranks[0]} and {self.ranks[1]}"
        return (
            f"mean principal angle between the coordinates of {self.n_q:,} queries and {self.n_k:,} keys of the "
            f"{split_name(self.judged_on)} split in two heads' subspaces of rank {ranks}, fitted on half of the "
            "prompts and taken on the other; 0° holds the same, 90° nothing in common. "
            f"Random: {self.bases} subspaces of that rank in the other head; the contrast's is nearer than all of "
            f"them by chance once in {self.bases + 1} heads. With its rows permuted the angle is {self.chance:.0f}°"
        )


def nearest(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    layers: Sequence[int] | None = None,
    most: int = MOST,
    bases: int = BASES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Nearest:
    """Compare a head's subspace of a contrast, or of a span, with that of every other head of `layers` (default: all).

    Each head's subspace is built on the train split and cut at the rank of the head that is asked about, so that like
    is compared with like. Over at most `most` queries and as many keys of the judged split, their coordinates in two
    heads' U, and V, give canonical correlations (qkstore.projection.shared): the cosines of the principal angles
    between what the two hold of the same tokens. Subspaces of heads that carry nothing of the contrast may still hold
    much of the same tokens, so an angle stands beside those of random subspaces of the other head.

    Memory is that of one head. Raises ContrastError for an empty side and for fewer than 20 rows to compare, RunError
    for a layer or head that is not there and where there is no other head.
    """
    at, others = Head(run, layer, head), _others(run, layer, head, layers)
    reader, rng = _Reader(run, contrasts, most, seed), np.random.default_rng([seed, 1])
    data = reader.read(at)
    own = data.parts()
    mine, widths = data.coordinates(*_bases(own)), tuple(basis.shape[1] for basis in _bases(own))
    if not any(_varies(side) for side in mine):
        raise ContrastError(f"neither queries nor keys of layer {layer}, head {head} vary in the contrast's subspace")
    found = []
    for i, other in enumerate(others):
        data = reader.read(other)
        theirs = data.coordinates(*_bases(data.parts([s.rank for s in own])))
        drawn = [data.coordinates(*(random(run.d_head, w, rng).U for w in widths)) for _ in range(bases)]
        mixed = [tuple(rng.permutation(side) for side in theirs) for _ in range(bases)]
        found.append(
            _near(at, other, *([_angles(mine, s, reader.halves) for s in on] for on in ([theirs], drawn, mixed)))
        )
        if progress:
            progress(i + 1, len(others))
    found.sort(key=lambda near: (near.angle, near.layer, near.head))
    n_q, n_k = (len(half) for half in reader.halves)
    return Nearest(found, widths, n_q, n_k, build_split(run), judge_split(run), bases, seed)


def _others(run: Run, layer: int, head: int, layers: Sequence[int] | None) -> list[Head]:
    asked = list(run.layers) if layers is None else list(dict.fromkeys(layers))
    every = [Head(run, number, h) for number in asked for h in range(run.n_heads)]
    others = [other for other in every if (other.layer, other.head) != (layer, head)]
    if not others:
        raise RunError(f"run {run.name!r} has no head there but layer {layer}, head {head}: none is near it")
    return others


Side = tuple[np.ndarray, np.ndarray]  # of queries (n_q, r), of keys (n_k, s)
Angles = tuple[float | None, float | None]  # of queries, of keys


def _near(at: Head, other: Head, own: list[Angles], drawn: list[Angles], mixed: list[Angles]) -> Near:
    at_random, by_chance = [_mean(a) for a in drawn], [_mean(a) for a in mixed]
    kv = at.run.kv_head
    return Near(
        other.layer,
        other.head,
        _mean(own[0]),
        *own[0],
        float(np.mean(at_random)),
        min(at_random),
        float(np.mean(by_chance)),
        at.layer == other.layer and kv(at.head) == kv(other.head),
    )


def _angles(mine: Side, theirs: Side, halves: Side) -> Angles:
    """The mean principal angle of queries and of keys, in degrees; None for a side that does not vary."""
    query, key = (
        float(np.degrees(np.arccos(shared(a, b, half).clip(0.0, 1.0))).mean()) if _varies(a) else None
        for a, b, half in zip(mine, theirs, halves, strict=True)
    )
    return query, key


def _mean(angles: Angles) -> float:
    return float(np.mean([angle for angle in angles if angle is not None]))


def _varies(side: np.ndarray) -> bool:
    return bool(np.ptp(side, axis=0).max() > SAME * np.abs(side).max(initial=0.0))


def _bases(parts: Sequence[Subspace]) -> tuple[np.ndarray, np.ndarray]:
    """U and V of a contrast's subspace, or of the span of several."""
    space = parts[0] if len(parts) == 1 else union(parts)
    return space.U, space.V


# -- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    """What one head has: of each contrast, and q and k of the rows that are compared."""

    data: list[HeadData]
    q: np.ndarray
    k: np.ndarray

    def parts(self, ranks: Sequence[int] | None = None) -> list[Subspace]:
        """The subspace of each contrast, cut at its rank; by default where 99 % of ‖ΔC‖² is held."""
        cuts = ranks or [None] * len(self.data)
        return [Subspace.of(d.covariance.delta, r) for d, r in zip(self.data, cuts, strict=True)]

    def coordinates(self, U: np.ndarray, V: np.ndarray) -> Side:
        return self.q @ U, self.k @ V


class _Reader:
    """Reads one head after another; the keys read last are held for the heads that share them.

    halves: of the rows that are compared, which are in the first half of the prompts. A prompt and the next one, which
    may be its counterfactual, are in one half.
    """

    def __init__(self, run: Run, contrasts: Contrasts, most: int, seed: int):
        self._built = [Rows.of(run, c, build_split(run)) for c in contrasts]
        judged = chosen(run, contrasts, judge_split(run))
        rng = np.random.default_rng(seed)
        self._q, self._k = (_drawn(rows, most, rng) for rows in (judged.query, judged.key))
        self.halves = _half(run.query_places[0][self._q]), _half(run.key_places[0][self._k])
        self._query = np.unique(np.concatenate([self._q, *(rows.query for rows in self._built)]))
        self._key = np.unique(np.concatenate([self._k, *(rows.key for rows in self._built)]))
        self._group, self._keys = None, np.empty((0, 0), np.float32)

    def read(self, head: Head) -> _Read:
        if (group := (head.layer, head.run.kv_head(head.head))) != self._group:
            self._group, self._keys = group, head.keys(self._key)
        q, k = head.queries(self._query), self._keys
        at = [(np.searchsorted(self._query, r.query), np.searchsorted(self._key, r.key)) for r in self._built]
        data = [HeadData(head, rows, q[i], k[j]) for rows, (i, j) in zip(self._built, at, strict=True)]
        return _Read(data, q[np.searchsorted(self._query, self._q)], k[np.searchsorted(self._key, self._k)])


def _drawn(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many of the distinct rows, ascending."""
    distinct = np.unique(rows)
    return np.sort(rng.permutation(distinct)[:most])


def _half(prompt: np.ndarray) -> np.ndarray:
    """(n,) bool. Raises ContrastError where a half has too few rows."""
    half = np.unique(prompt // 2, return_inverse=True)[1] % 2 == 0
    if (least := int(min(half.sum(), (~half).sum()))) < LEAST:
        raise ContrastError(f"{least} queries or keys in one half of the prompts: {LEAST} are needed to compare heads")
    return half
