"""All heads of a run: how many components each one has, or why it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from qkstore.analysis.decomposition.across.counted import HeadCount
from qkstore.analysis.decomposition.found import REPAIRS, of_head, sights
from qkstore.analysis.decomposition.names import names
from qkstore.analysis.decomposition.scored import Scored
from qkstore.analysis.decomposition.sight import default_where
from qkstore.analysis.head import Head
from qkstore.analysis.tasks import Place, by_layer
from qkstore.components import naming
from qkstore.errors import ContrastError, StoreError
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

KIND = "components of all heads"
DEALS = 19  # of labels, for a name's p: the fewest that can tell 5 %, as a study of one head deals more
ROUGH = (
    f"Names rest on {DEALS} deals of the labels here, where one head is shown on {naming.DEALS}: where the two differ, "
    "believe the latter."
)
Table = Mapping[int, Sequence[HeadCount]]  # by layer
Progress = Callable[[int, int], None]  # called with (heads done, heads in all)


def counts(
    run: Run,
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    progress: Progress | None = None,
    named: bool = True,
    pool: Pool | None = None,
) -> list[HeadCount]:
    """How many components each head of a run has: `components` of all heads, in one pass over the vectors.

    A head that has nothing to choose has a row which says why. Vectors are read once a KV head, so memory is that of
    its keys and of one head's choices. progress: called with (heads done, heads in all). named: whether labels are
    tried too, which takes about as long again. pool: who does it (qkstore.pool), by default this process. Raises
    GuardError for SQL that is not allowed, ContrastError where no query fits.
    """
    layers = Sweep(run, where, repairs, seed, named, pool).layers({}, progress)
    return sorted((row for layer in layers for row in layer), key=_at)


def _at(row: HeadCount) -> tuple[int, int]:
    return row.layer, row.head


@dataclass(frozen=True)
class Asked:
    """What a sweep is of."""

    place: Place
    where: str | None
    repairs: int
    seed: int
    named: bool


@dataclass(frozen=True)
class Task:
    """One head."""

    asked: Asked
    layer: int
    head: int


def counted(task: Task) -> HeadCount:
    """In a worker: how many components the head has."""
    return _sweep(task.asked).count(task)


@lru_cache(maxsize=1)  # what a worker has at hand: the tasks of a sweep come together
def _sweep(asked: Asked) -> Sweep:
    return Sweep(asked.place.run(), asked.where, asked.repairs, asked.seed, asked.named)


class Sweep:
    """The components of all heads of a run on the same queries."""

    def __init__(
        self, run: Run, where: str | None, repairs: int, seed: int, named: bool = True, pool: Pool | None = None
    ):
        self.run, self.where, self.repairs, self.seed, self.named = run, where, repairs, seed, named
        self.built, self.judged = sights(run, where)
        self.pool, self.asked = pool or Pool(), Asked(Place.of(run), where, repairs, seed, named)
        self._k: tuple[tuple[int, int], np.ndarray] | None = None  # the keys that were read last

    def layers(self, known: Table, progress: Progress | None = None) -> Iterator[list[HeadCount]]:
        """The heads of one layer after another; known: layers that were done before, which come first."""
        from threadpoolctl import threadpool_limits

        yield from (list(rows) for rows in known.values())
        n, done, of = self.run.n_heads, self.run.n_heads * len(known), self.run.n_heads * len(self.run.layers)
        left = [layer for layer in self.run.layers if layer not in known]

        def told(_: Task) -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, of)

        tasks = (Task(self.asked, *at) for at in product(left, range(n)))
        work = self.count if self.pool.here else counted
        with threadpool_limits(1, "blas"):  # several threads for matrices as small mostly wait for each other
            for _, rows in by_layer(self.pool, work, tasks, n, self._keys_of, told):
                yield sorted(rows.values(), key=_at)

    def _keys_of(self, task: Task) -> tuple[int, int]:
        """Which keys a task reads, of which a worker has the last ones."""
        return task.layer, self.run.kv_head(task.head)

    def count(self, task: Task) -> HeadCount:
        """How many components a head has."""
        at = self._keys_of(task)
        if self._k is None or self._k[0] != at:
            self._k = at, self.run.keys(task.layer, task.head, np.arange(self.run.n_keys))
        return self._head(Head(self.run, task.layer, task.head), self._k[1])

    def _head(self, head: Head, k: np.ndarray) -> HeadCount:
        try:
            found = of_head(head, self.built, self.judged, self.where, None, self.repairs, self.seed, k)
        except ContrastError as error:
            return HeadCount(head.layer, head.head, why=str(error))
        told = names(Scored.of_head(found, k), DEALS, self.seed).names if len(found) and self.named else []
        return HeadCount.of(found, told)


def kept_counts(
    store: Store,
    run: Run,
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    progress: Progress | None = None,
    named: bool = True,
    pool: Pool | None = None,
) -> list[HeadCount]:
    """The same as `counts`, computed once for all who use a store: its catalogue keeps it, and layers as they are done.

    Work that was interrupted or killed is gone on with by whoever asks next. Who asks for no names gets them where they
    are kept.
    """
    if found := known_counts(store, run, where, repairs, seed, named):
        return found
    asked = key(run, where, repairs, seed, named)
    parts = (built(_rows, part) for part in store.catalog.parts(asked))
    known = {rows[0].layer: rows for rows in filter(None, parts) if len(rows) == run.n_heads}
    every, may = [], True
    for rows in Sweep(run, where, repairs, seed, named, pool).layers(known, progress):
        every += rows
        may = may and (rows[0].layer in known or _keep(store, run, asked, rows, str(rows[0].layer)))
    every.sort(key=_at)
    if may:
        _keep(store, run, asked, every)
    return every


def known_counts(
    store: Store, run: Run, where: str | None = None, repairs: int = REPAIRS, seed: int = 0, named: bool = True
) -> list[HeadCount] | None:
    """What a catalogue keeps of `counts`; None where it was not computed to its end."""
    keys = [key(run, where, repairs, seed, True), *([] if named else [key(run, where, repairs, seed, False)])]
    return next(filter(None, (built(_rows, store.catalog.result(asked)) for asked in keys)), None)


def key(run: Run, where: str | None = None, repairs: int = REPAIRS, seed: int = 0, named: bool = True) -> str:
    """What the counts are kept under: a hash of all that decides them."""
    decided = (KIND, run.identity, where or default_where(run), repairs, seed, named, code_key())
    return hashlib.sha256(repr(decided).encode()).hexdigest()


def _keep(store: Store, run: Run, asked: str, rows: Sequence[HeadCount], part: str = "") -> bool:
    """Keep rows, the whole or a part; whether that worked. A store that one may only read is not asked again."""
    made = {"content": run.digest, "code": code_key()[:16], "part": part}
    with suppress(StoreError):
        store.catalog.keep_result(asked, KIND, run.name, "", [row.to_dict() for row in rows], **made)
        return True
    return False


def _rows(rows: Sequence[dict]) -> list[HeadCount]:
    return [HeadCount.from_dict(row) for row in rows]
