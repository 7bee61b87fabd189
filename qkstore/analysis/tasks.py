"""What sweeps over all heads have in common where others do the work: where the run is, and layers as they are done."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from qkstore.errors import StoreError
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store.source import code_key

R = TypeVar("R")


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
