"""One pass over the vectors of all heads, for every match: ΔC against its null, and the logit gap on judged prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from qkstore.analysis.discovery.aligned import agreement, p_aligned
from qkstore.analysis.discovery.label import tried
from qkstore.analysis.discovery.prepared import Sides, prepared
from qkstore.analysis.discovery.tail import p_norm
from qkstore.analysis.heads.group import Group, Reader, groups
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

    def read(self, layer: int, heads: range) -> tuple[np.ndarray, np.ndarray]:
        """q: (heads, n, d) and k: (m, d) of all rows."""
        q = np.stack([self.run.queries(layer, head, self.query) for head in heads])
        return q, self.run.keys(layer, heads[0], self.key)

    def group(self, i: int, layer: int, heads: range, q: np.ndarray, k: np.ndarray) -> Group:
        """What the i-th reader would read."""
        group, (query, key) = Group(self.readers[i], layer, heads), self.places[i]
        group.q, group.k = _taken(q, query, 1), _taken(k, key, 0)
        return group


def _taken(values: np.ndarray, rows: np.ndarray, axis: int) -> np.ndarray:
    """Those rows; without a copy where they are all of them."""
    return values if len(rows) == values.shape[axis] else values.take(rows, axis)


@dataclass(frozen=True)
class Asked:
    """What a sweep is of; see `discover`."""

    place: Place
    labels: tuple[str, ...]
    most: int
    seed: int


@dataclass(frozen=True)
class Task:
    """Heads of one layer that share keys. asked: None where they are tested in this process."""

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

        each = list(groups(self.run))
        tasks = (Task(self.asked, layer, heads) for layer in self.run.layers if layer not in known for heads in each)
        work = self.tests if self.pool.here else tested
        with threadpool_limits(1, "blas"):
            for layer, made in by_layer(self.pool, work, tasks, len(each), lambda task: task.layer, told):
                found[layer] = [test for heads in each for test in made[Task(self.asked, layer, heads)]]
                finished(layer, found[layer])
        return [test for layer in sorted(found) for test in found[layer]]

    def tests(self, task: Task) -> list[Test]:
        """The tests of heads that share keys."""
        return self._group(task.layer, task.heads)

    def _group(self, layer: int, heads: range) -> list[Test]:
        built, judged = self.train.read(layer, heads), self.test.read(layer, heads)
        scaling = self.run.layers[layer].scaling
        out = []
        for i, sides in enumerate(self.sides):
            first, second = (u.group(i, layer, heads, *v) for u, v in ((self.train, built), (self.test, judged)))
            units, gaps = first.units, scaling * _gaps(second)
            d = first.q.shape[2]
            aligned = p_aligned(*agreement(second.units.x.reshape(-1, len(heads), d), second.units.c))
            for j, head in enumerate(heads):
                x = units.x[:, j * d : (j + 1) * d]
                p = p_norm(first.q[j], x, units.c, sides.prompts, self.seed)
                out.append(
                    Test(
                        layer,
                        head,
                        i,
                        float(np.linalg.norm(units.centred[j])),
                        p,
                        float(gaps[j].mean()),
                        p_gap(gaps[j], sides.groups),
                        float(aligned[j]),
                    )
                )
        return out


def _gaps(group: Group) -> np.ndarray:
    """(heads, n) (q − q̄) · (c − c̄) of each query, with c its mean positive key less its mean negative one."""
    units = group.units
    n, d = units.c.shape
    return np.einsum("nhd,nd->hn", units.x.reshape(n, -1, d), units.c, dtype=np.float64, optimize=True)


def p_gap(values: np.ndarray, by: Sequence[np.ndarray]) -> float:
    """The largest p-value of a mean of 0 or less: of single queries, and of those that count together."""
    found = [p_above(values), *(p_above(values, group) for group in by)]
    return max((p for p in found if p is not None), default=1.0)
