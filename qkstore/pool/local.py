"""Workers that are processes of this machine, one a slot: what a task read stays at hand for the next one there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from qkstore.pool.pool import Lost

_starting = threading.Lock()


class Local:
    """`slots` processes, each started when it has its first task, and anew where it ended."""

    def __init__(self, slots: int):
        self.slots = slots
        self._worker: list[ProcessPoolExecutor | None] = [None] * slots
        self._pid: dict[int, Future[int]] = {}

    def submit(self, slot: int, work: Callable[[Any], Any], task: Any) -> Future[Any]:
        try:
            return self._started(slot).submit(work, task)
        except BrokenProcessPool:
            self._worker[slot] = None
            return self._started(slot).submit(work, task)

    def wait(self, handles: Iterable[Future[Any]]) -> list[Future[Any]]:
        return list(wait(handles, return_when=FIRST_COMPLETED).done)

    def result(self, handle: Future[Any]) -> Any:
        try:
            return handle.result()
        except BrokenProcessPool:
            raise Lost("a worker process ended") from None

    def cancel(self, handles: Iterable[Future[Any]]) -> None:
        """End the processes that would otherwise work on, for tasks that nobody waits for."""
        if any(not handle.done() for handle in handles):
            self._end()

    def close(self) -> None:
        self._end()

    def _started(self, slot: int) -> ProcessPoolExecutor:
        worker = self._worker[slot]
        if worker is None:
            context = multiprocessing.get_context("spawn")  # a fork would have DuckDB's threads stopped halfway
            worker = self._worker[slot] = ProcessPoolExecutor(1, context, _prepared)
            with _no_script():
                self._pid[slot] = worker.submit(os.getpid)  # which starts it
        return worker

    def _end(self) -> None:
        for slot, worker in enumerate(self._worker):
            if worker is None:
                continue
            self._worker[slot] = None
            with suppress(BrokenProcessPool, OSError):  # it ended by itself
                os.kill(self._pid[slot].result(), signal.SIGTERM)
            worker.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_script() -> Iterator[None]:
    """A new worker would run the script of its caller once more: a page's, or one that has no guard for it.

    What workers are asked are functions of modules, so that they need none.
    """
    with _starting:
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _prepared() -> None:
    """In a new worker: one thread a worker; Ctrl-C is for the process that waits, and the worker ends with it."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_ended_with_parent, daemon=True).start()
    threadpool_limits(1, "blas")


def _ended_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
