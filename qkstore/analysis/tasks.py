"""What sweeps over all heads have in common: where the run is, layers as they are done, and what is kept of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, Self, TypeVar

from qkstore.errors import StoreError
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store.source import code_key

R = TypeVar("R")
EVERY_S = 4.0  # between two writings of what is finished: one takes 40 ms


@dataclass(frozen=True)
class Place:
    """Where a worker finds a run. digest: of what is in it; code: of whoever asks (`code_key`)."""

    path: str
    digest: str
    code: str

    @classmethod
    def of(cls, run: Run) -> Place:
        return cls(str(run.path.absolute()), run.digest, code_key())

    def run(self) -> Run:
        """The run, which is opened once. Raises StoreError where it is another one, or this is other code."""
        if self.code != code_key():
            raise StoreError("a worker has another version of qkstore than the process that asks it: install the same")
        run = _run(self.path)
        if run.digest != self.digest:
            _run.cache_clear()
            raise StoreError(f"run {run.name!r} is another one where a worker reads it, at {self.path}")
        return run


@lru_cache(maxsize=2)
def _run(path: str) -> Run:
    return Run(path)


class OfLayer(Hashable, Protocol):
    """A task of one layer."""

    @property
    def layer(self) -> int: ...


T = TypeVar("T", bound=OfLayer)


def by_layer(
    pool: Pool,
    work: Callable[[T], R],
    tasks: Iterable[T],
    many: int,
    place: Callable[[T], Hashable],
    told: Callable[[T], object] = lambda task: None,
) -> Iterator[tuple[int, dict[T, R]]]:
    """Each layer with what its tasks made, when all are done, of which there are so `many`; see Pool.map.

    told: called with each task that is done.
    """
    there: dict[int, dict[T, R]] = {}
    for task, made in pool.map(work, tasks, place):
        told(task)
        of_layer = there.setdefault(task.layer, {})
        of_layer[task] = made
        if len(of_layer) == many:
            yield task.layer, there.pop(task.layer)


class Parts(Generic[R]):
    """What is finished of work that may be left, written every EVERY_S seconds.

    write: keeps in a catalogue what was finished since it was last called; where it raises StoreError, as one that may
    only be read does, it is not called again. Where the block is left by an exception (of somebody who waits no longer,
    Ctrl-C), what is finished is written.
    """

    def __init__(self, write: Callable[[list[R]], object]):
        self._write, self._may = write, True
        self._left: list[R] = []
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.write()

    def add(self, made: R) -> None:
        """One is finished; it is written, with others, EVERY_S after the last ones."""
        self._left.append(made)
        if time.monotonic() - self._written >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Write what is left to be written."""
        if not self._left or not self._may:
            return
        try:
            self._write(self._left)
        except StoreError:
            self._may = False
        self._left, self._written = [], time.monotonic()
