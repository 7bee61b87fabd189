"""One task of a sweep: some heads of a layer on the queries of one shard, and what all shards of them come to.

A task is small, and says where its run is; whoever does it opens the run, selects the contrast's pairs, and has both at
hand for the next one. What it makes are sums and values a query, which merge with those of other shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qkstore.analysis.choice import Chooser
from qkstore.analysis.head import Rows, build_split, judge_split
from qkstore.analysis.heads.group import Block, Group, Reader, Sums, Units
from qkstore.analysis.tasks import Place
from qkstore.contrast import Contrast
from qkstore.null import Deals
from qkstore.run import Run
from qkstore.score import Queries

HELD = 64 << 20  # bytes of vectors that the second pass has from the first one


@dataclass(frozen=True)
class Asked:
    """What a sweep is of."""

    place: Place
    contrast: Contrast
    nulls: int
    seed: int
    shards: int


@dataclass(frozen=True)
class Task:
    """Heads of whole groups (`groups`) of one layer, on the queries of one shard."""

    asked: Asked
    layer: int
    heads: range
    shard: int


class Scored(NamedTuple):
    """What the first pass makes: for each head what it does on judged and on choosing queries, for each group its sums.

    Where a shard has no such queries, nothing.
    """

    judged: list[Queries]
    chosen: list[Queries]
    sums: list[Sums]


class Dealt(NamedTuple):
    """What the second pass makes of a group. norms: (deals, heads), where there is one shard.

    Else totals: (deals, heads · d + 1, d + 1) float32, of n queries Σ ± [x 1] [c 1]ᵀ with x, c about this shard's
    means q_mean: (heads, d) and c_mean: (d,): so they can be made sums about the means of all.
    """

    norms: np.ndarray | None
    n: int = 0
    q_mean: np.ndarray | None = None
    c_mean: np.ndarray | None = None
    totals: np.ndarray | None = None


def scored(task: Task) -> Scored:
    """In a worker: the first pass."""
    return _work(task.asked).scored(task)


def dealt(task: Task) -> list[Dealt]:
    """In a worker: the second pass."""
    return _work(task.asked).dealt(task)


@lru_cache(maxsize=2)  # what a worker has at hand: the tasks of a sweep come together
def _work(asked: Asked) -> Work:
    return Work(asked.place.run(), asked.contrast, asked.nulls, asked.seed, asked.shards)


class Part(NamedTuple):
    """The queries of one shard that a reader has; at: (n,) their positions among all, None where they are all."""

    reader: Reader
    at: np.ndarray | None

    def named(self, each: list[Queries]) -> list[Queries]:
        """The same with the positions among all queries."""
        return each if self.at is None else [replace(one, query=self.at[one.query]) for one in each]


class Work:
    """A run under a contrast, shard by shard: its pairs on both splits, and the deals of signs.

    shards: the prompts are taken as if they lay in so many; as many as the run has, or others.
    """

    def __init__(self, run: Run, contrast: Contrast, nulls: int, seed: int, shards: int):
        built, judged = build_split(run), judge_split(run)
        self.run, self.nulls, self.seed, self.shards = run, nulls, seed, shards
        self.train, self.chooser = Reader(Rows.of(run, contrast, built)), Chooser(run, contrast, built)
        self.test = self.train if judged == built else Reader(Rows.of(run, contrast, judged))
        self.choosing = self.train if self.chooser.rows.contrast is contrast else Reader(self.chooser.rows)
        self.null = contrast.null(self.train.rows.local, nulls, seed)
        self._parts: dict[tuple[int, int], Part | None] = {}
        self._held: dict[tuple[int, int, int], Units] = {}

    def scored(self, task: Task) -> Scored:
        """The first pass over some heads on one shard."""
        judged, chosen, sums = Scored([], [], [])
        train, test, choosing = (self._part(r, task.shard) for r in (self.train, self.test, self.choosing))
        there = [part.reader for part in (train, test, choosing) if part]
        read = {reader: Block(reader, task.layer, task.heads).groups for reader in there}
        for each in zip(*read.values(), strict=True):
            group = dict(zip(read, each, strict=True))
            judged += test.named(group[test.reader].by_query) if test else []
            chosen += choosing.named(group[choosing.reader].by_query) if choosing else []
            sums += [self._hold(group[train.reader], task).sums] if train else []
        return Scored(judged, chosen, sums)

    def dealt(self, task: Task) -> list[Dealt]:
        """The second pass over some heads on one shard, a group after another; nothing where it has no queries."""
        part = self._part(self.train, task.shard)
        groups = Block(part.reader, task.layer, task.heads).groups if part else []
        return [self._dealt(part, task, group) for group in groups]

    def _dealt(self, part: Part, task: Task, group: Group) -> Dealt:
        units = self._held.pop((task.layer, group.heads.start, task.shard), None) or group.units
        if part.at is None:
            return Dealt(self.null.norms(units.x, units.c))
        x, c = (np.pad(values, ((0, 0), (0, 1)), constant_values=1) for values in (units.x, units.c))
        deals = Deals.of(self.nulls, self.null.n_q, self.seed, part.at)
        totals = [each.totals(x, c).reshape(-1, x.shape[1], c.shape[1]) for each in deals]
        return Dealt(None, len(x), units.sums.q_mean, units.sums.c_mean, np.concatenate(totals))

    def _hold(self, group: Group, task: Task) -> Units:
        units = group.units
        if self.nulls and sum(held.size for held in self._held.values()) + units.size <= HELD:
            self._held[task.layer, group.heads.start, task.shard] = units
        return units

    def _part(self, reader: Reader, shard: int) -> Part | None:
        """The reader's queries of a shard; None where it has none."""
        if self.shards == 1:
            return Part(reader, None)
        key = id(reader), shard
        if key not in self._parts:
            kept = self._shard_of(reader) == shard
            self._parts[key] = Part(reader.part(kept), np.flatnonzero(kept)) if kept.any() else None
        return self._parts[key]

    def _shard_of(self, reader: Reader) -> np.ndarray:
        """(n,) the shard of each of a reader's queries."""
        rows = reader.rows.query
        if self.shards == self.run.n_shards:
            return self.run.shard_of("query", rows)
        return self.run.query_places[0][rows] % self.shards


def joined(parts: Sequence[list[Queries]]) -> list[Queries]:
    """What each head does on the queries of all shards together."""
    return [Queries.joined(each) for each in zip(*filter(None, parts), strict=True)]


def merged(parts: Sequence[list[Sums]]) -> list[Sums]:
    """The sums of each group over all shards, in their order."""
    out = []
    for first, *others in zip(*filter(None, parts), strict=True):
        for other in others:
            first = first.merge(other)
        out.append(first)
    return out


def totals(parts: Sequence[Dealt]) -> np.ndarray:
    """(deals, heads, d, d) float64: Σ ± (q − q̄)(c − c̄)ᵀ of a group over all shards, in their order."""
    n = sum(part.n for part in parts)
    q_mean, c_mean = (sum(part.n / n * getattr(part, side) for part in parts) for side in ("q_mean", "c_mean"))
    out = 0.0
    for part in parts:
        q, c = (part.q_mean - q_mean).reshape(-1, 1), part.c_mean - c_mean
        each = part.totals.astype(np.float64)
        x_sum, c_sum, sign_sum = each[:, :-1, -1:], each[:, -1:, :-1], each[:, -1:, -1:]
        out = out + each[:, :-1, :-1] + x_sum * c + q * c_sum + sign_sum * q * c
    return out.reshape(len(out), *q_mean.shape, -1)
