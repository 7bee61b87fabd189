"""One pass over the vectors of all heads, for every match: ΔC against its null, and the logit gap on judged prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from qkstore.analysis.discovery.aligned import agreement, p_aligned
from qkstore.analysis.discovery.label import tried
from qkstore.analysis.discovery.prepared import Sides, prepared
from qkstore.analysis.discovery.tail import p_norm
from qkstore.analysis.heads.group import Block, Group, Reader, blocks
from qkstore.analysis.tasks import Place, by_layer
from qkstore.interval import p_above
from qkstore.pool import Pool
from qkstore.run import Run

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Test:
    """One head under one match, the index of which is `match`.

    norm: ‖ΔC‖ of centred queries, and p_delta its p-value on the built split. gap: what a judged query adds to the
    logits of its positive keys beyond those of its negative ones, less what the mean query adds, as a head may favour
    late keys whatever is asked; p_gap: that it is 0 or less, where queries that look for one value, or stand in one
    prompt, count as one. p_aligned: that it is no larger than random weights make it.
    """

    layer: int
    head: int
    match: int
    norm: float
    p_delta: float
    gap: float
    p_gap: float
    p_aligned: float

    @property
    def p(self) -> float:
        """Of any being absent: the largest one."""
        return max(self.p_delta, self.p_gap, self.p_aligned)

    def to_list(self) -> list:
        return list(asdict(self).values())


class Vectors(NamedTuple):
    """Of some heads of a layer, q: (heads, n, d) and k: (KV heads, m, d)."""

    layer: int
    heads: range
    q: np.ndarray
    k: np.ndarray


class Union:
    """The rows of several readers, read once for a group of heads."""

    def __init__(self, readers: Sequence[Reader]):
        self.readers, self.run = readers, readers[0].rows.run
        self.query, self.key = (
            np.unique(np.concatenate([getattr(r.rows, side) for r in readers])) for side in ("query", "key")
        )
        self.places = [
            (np.searchsorted(self.query, r.rows.query), np.searchsorted(self.key, r.rows.key)) for r in readers
        ]

    def read(self, layer: int, heads: range) -> Vectors:
        """The vectors of all rows of some heads."""
        read = self.run.reader
        return Vectors(layer, heads, read.queries(layer, heads, self.query), read.keys(layer, heads, self.key))

    def groups(self, i: int, read: Vectors) -> list[Group]:
        """What the i-th reader would read."""
        block, (query, key) = Block(self.readers[i], read.layer, read.heads), self.places[i]
        block.q, block.k = _taken(read.q, query), _taken(read.k, key)
        return block.groups


def _taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those rows of (heads, n, d); without a copy where they are all of them."""
    return values if len(rows) == values.shape[1] else values.take(rows, 1)


@dataclass(frozen=True)
class Asked:
    """What a sweep is of; see `discover`."""

    place: Place
    labels: tuple[str, ...]
    most: int
    seed: int


@dataclass(frozen=True)
class Task:
    """Some heads of one layer, whole groups. asked: None where they are tested in this process."""

    asked: Asked | None
    layer: int
    heads: range


def tested(task: Task) -> list[Test]:
    """In a worker: the tests of some heads."""
    assert task.asked, "a worker is told what is asked"
    return _sweep(task.asked).tests(task)


@lru_cache(maxsize=1)  # what a worker has at hand: the tasks of a sweep come together
def _sweep(asked: Asked) -> Sweep:
    run = asked.place.run()
    return Sweep(run, prepared(run, tried(run, asked.labels, asked.most), asked.seed)[0], asked.seed)


class Sweep:
    """All heads of a run under several matches. asked: what they are, for a pool whose workers find them anew."""

    def __init__(
        self,
        run: Run,
        sides: Sequence[Sides],
        seed: int = 0,
        asked: Asked | None = None,
        pool: Pool | None = None,
    ):
        self.run, self.sides, self.seed, self.asked, self.pool = run, sides, seed, asked, pool or Pool()
        self.train, self.test = Union([s.train for s in sides]), Union([s.test for s in sides])

    def table(
        self,
        known: dict[int, list[Test]],
        progress: Progress | None = None,
        finished: Callable[[int, list[Test]], object] = lambda layer, tests: None,
    ) -> list[Test]:
        """Every head's tests, by layer.

        known: layers that were tested before. progress: called with (heads done, heads in all); what it raises ends the
        work. finished: called after each layer with its tests.
        """
        from threadpoolctl import threadpool_limits

        found, n = dict(known), self.run.n_heads
        done, of = n * len(known), n * len(self.run.layers)

        def told(task: Task) -> None:
            nonlocal done
            done += len(task.heads)
            if progress:
                progress(done, of)

        each = self._blocks
        tasks = (Task(self.asked, layer, heads) for layer in self.run.layers if layer not in known for heads in each)
        work = self.tests if self.pool.here else tested
        with threadpool_limits(1, "blas"):
            for layer, made in by_layer(self.pool, work, tasks, len(each), lambda task: task.layer, told):
                found[layer] = [test for heads in each for test in made[Task(self.asked, layer, heads)]]
                finished(layer, found[layer])
        return [test for layer in sorted(found) for test in found[layer]]

    @cached_property
    def _blocks(self) -> list[range]:
        queries, keys = (len(getattr(self.train, side)) + len(getattr(self.test, side)) for side in ("query", "key"))
        return blocks(self.run, queries, keys)

    def tests(self, task: Task) -> list[Test]:
        """The tests of some heads, head by head."""
        built, judged = (union.read(task.layer, task.heads) for union in (self.train, self.test))
        found = [
            test
            for i in range(len(self.sides))
            for both in zip(self.train.groups(i, built), self.test.groups(i, judged), strict=True)
            for test in self._group(i, *both)
        ]
        return sorted(found, key=lambda test: (test.head, test.match))

    def _group(self, i: int, first: Group, second: Group) -> Iterator[Test]:
        """The tests of heads that share keys under one match."""
        layer, heads, units = first.block.layer, first.heads, first.units
        gaps = self.run.layers[layer].scaling * _gaps(second)
        d, sides = first.q.shape[2], self.sides[i]
        aligned = p_aligned(*agreement(second.units.x.reshape(-1, len(heads), d), second.units.c))
        for j, head in enumerate(heads):
            x = units.x[:, j * d : (j + 1) * d]
            p = p_norm(first.q[j], x, units.c, sides.prompts, self.seed)
            size, gap = float(np.linalg.norm(units.centred[j])), gaps[j]
            yield Test(layer, head, i, size, p, float(gap.mean()), p_gap(gap, sides.groups), float(aligned[j]))


def _gaps(group: Group) -> np.ndarray:
    """(heads, n) (q − q̄) · (c − c̄) of each query, with c its mean positive key less its mean negative one."""
    units = group.units
    n, d = units.c.shape
    return np.einsum("nhd,nd->hn", units.x.reshape(n, -1, d), units.c, dtype=np.float64, optimize=True)


def p_gap(values: np.ndarray, by: Sequence[np.ndarray]) -> float:
    """The largest p-value of a mean of 0 or less: of single queries, and of those that count together."""
    found = [p_above(values), *(p_above(values, group) for group in by)]
    return max((p for p in found if p is not None), default=1.0)
