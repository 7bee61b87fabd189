"""A pool: one function over many small tasks, wherever workers are, with their results as they come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from qkstore.errors import QKStoreError

T = TypeVar("T")
R = TypeVar("R")
DEEP = 2  # tasks that a slot has: one that it works on and one that waits, so that it need not wait for this process
SEEN = 8  # tasks a slot that are looked at for one whose place it had first
TRIES = 4  # of a task whose worker ended


class Lost(Exception):
    """A worker ended before its task did: killed, out of memory, its machine gone."""


class Engine(Protocol):
    """Where tasks run. slots: how many at a time; a task is given to one of them, and is told by a handle."""

    slots: int

    def submit(self, slot: int, work: Callable[[Any], Any], task: Any) -> Hashable: ...

    def wait(self, handles: Iterable[Any]) -> list[Any]:
        """Those that are finished, one at least."""

    def result(self, handle: Any) -> Any:
        """What the work returned; raises what it raised, and Lost."""

    def cancel(self, handles: Iterable[Any]) -> None: ...

    def close(self) -> None: ...


class Pool:
    """Tasks in an engine's slots; without an engine, in this process, one after another.

    start: makes the engine, when there are tasks. A task is lost with its worker, and then given out again, TRIES times
    at most. Used as a context, it is closed at the end. Threads may share one.
    """

    def __init__(self, start: Callable[[], Engine] | None = None):
        self._start = start
        self._engine: Engine | None = None
        self._starting = threading.Lock()
        self._home: dict[Hashable, int] = {}  # the slot that had a place first

    @property
    def here(self) -> bool:
        """Whether tasks run in this process, where they need not be small or picklable."""
        return self._start is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._engine:
            self._engine.close()
            self._engine = None

    def map(
        self, work: Callable[[T], R], tasks: Iterable[T], place: Callable[[T], Hashable] = lambda task: None
    ) -> Iterator[tuple[T, R]]:
        """Each task with what `work` makes of it, as they are finished; nearly in the order of the tasks.

        work: a function of a module. A task and its result are pickled. place: what a task needs to have at hand, such
        as a file; tasks of one place go to the slot that had it first, while it has no other ones. At most DEEP
        tasks a slot are under way, and no more results wait than that. An error of the work ends it all, as does
        leaving the loop: tasks under way are cancelled.
        """
        if self._start is None:
            return ((task, work(task)) for task in tasks)
        with self._starting:
            self._engine = self._engine or self._start()
        return self._scheduled(self._engine, work, iter(tasks), place)

    def _scheduled(
        self, engine: Engine, work: Callable[[T], R], tasks: Iterator[T], place: Callable[[T], Hashable]
    ) -> Iterator[tuple[T, R]]:
        ahead: deque[T] = deque()
        running: dict[Hashable, tuple[int, T, int]] = {}  # of each handle its slot, its task and which try it is
        load = [0] * engine.slots

        def submit(slot: int, task: T, tries: int) -> None:
            running[engine.submit(slot, work, task)] = slot, task, tries
            load[slot] += 1

        try:
            while True:
                ahead.extend(islice(tasks, engine.slots * SEEN - len(ahead)))
                while ahead and min(load) < DEEP:
                    slot = load.index(min(load))
                    submit(slot, self._taken(slot, ahead, place), 1)
                    ahead.extend(islice(tasks, 1))
                if not running:
                    return
                for handle in engine.wait(running):
                    slot, task, tries = running.pop(handle)
                    load[slot] -= 1
                    try:
                        result = engine.result(handle)
                    except Lost as error:
                        if tries == TRIES:
                            raise QKStoreError(f"{error}, {TRIES} times in one task; is there memory enough?") from None
                        submit(slot, task, tries + 1)
                        continue
                    yield task, result
        finally:
            engine.cancel(running)

    def _taken(self, slot: int, ahead: deque[T], place: Callable[[T], Hashable]) -> T:
        """The next task for a slot: of a place that it had first, else of one that no slot had, else any."""
        homes = [self._home.get(place(task)) for task in ahead]
        i = homes.index(slot) if slot in homes else homes.index(None) if None in homes else 0
        task = ahead[i]
        del ahead[i]
        self._home.setdefault(place(task), slot)
        return task
