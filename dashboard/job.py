"""Work that takes longer than a look: done once for all who wait for it, with a count, and ended when nobody does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import streamlit as st

from dashboard.text import plain
from qkstore.pool import VARIABLE, Pool, opened

Progress = Callable[[int, int], None]

LOOK_S = 0.1  # between two looks at how far it is; each lets the session end, where another choice was made
LEAVE_S = 3.0  # without anybody who waits: a page that is shown anew is back in less


class Left(BaseException):
    """Nobody waits any more. Raised in the work by its own call of `progress`; no handler of errors sees it."""


class Job:
    """One piece of work in a thread of its own. `at`: (done, of how many), or None before the first count."""

    def __init__(self, work: Callable[[Progress], Any], left: Callable[[Job], bool], over: Callable[[Job], None]):
        self.at: tuple[int, int] | None = None
        self.waiting, self.left_at = 0, 0.0
        self._work, self._left, self._over = work, left, over
        self._ended = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin, once somebody waits."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._value = self._work(self._progress)
        except BaseException as error:  # whatever it is, those who wait get it
            self._error = error
        finally:
            self._ended.set()
            self._over(self)

    def _progress(self, done: int, of: int) -> None:
        self.at = done, of
        if self._left(self):
            raise Left

    def ended(self, within_s: float = 0) -> bool:
        return self._ended.wait(within_s)

    def result(self) -> Any:
        """What the work gave; raises what it raised."""
        if self._error:
            raise self._error
        return self._value


class Jobs:
    """The work in progress, by what names it. It ends `leave_s` seconds after the last one who waited for it left."""

    def __init__(self, leave_s: float = LEAVE_S) -> None:
        self.leave_s = leave_s
        self._jobs: dict[Hashable, Job] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def waiting(self, key: Hashable, work: Callable[[Progress], Any]) -> Iterator[Job]:
        """The work of this name, begun if nobody has; for as long as this block waits for it, it goes on."""
        with self._lock:
            there = self._jobs.get(key)
            job = there or Job(work, self._left, self._over)
            self._jobs[key] = job
            job.waiting += 1
            if not there:
                job.start()
        try:
            yield job
        finally:
            with self._lock:
                job.waiting -= 1
                job.left_at = time.monotonic()
                if not job.waiting and job.ended():
                    self._forget(job)

    def _left(self, job: Job) -> bool:
        """Whether all have left for good. Then the work has no name any more, and nobody joins what is about to end."""
        with self._lock:
            left = not job.waiting and time.monotonic() - job.left_at > self.leave_s
            if left:
                self._forget(job)
            return left

    def _over(self, job: Job) -> None:
        with self._lock:
            if not job.waiting:
                self._forget(job)

    def _forget(self, job: Job) -> None:
        for key in [key for key, there in self._jobs.items() if there is job]:
            del self._jobs[key]


@st.cache_resource(max_entries=1)
def _jobs() -> Jobs:
    return Jobs()


@st.cache_resource(max_entries=1)
def pool() -> Pool:
    """Who does sweeps over all heads: the Ray cluster that `qkstore serve --ray` names, or this server."""
    return opened(ray=os.environ.get(VARIABLE) or None)


def waiting(key: Hashable, work: Callable[[Progress], Any]) -> AbstractContextManager[Job]:
    """The server's work of this name (see Jobs.waiting), for who shows by themselves how far it is."""
    return _jobs().waiting(key, work)


def done(
    key: Hashable,
    work: Callable[[Progress], Any],
    title: str,
    counted: str,
    cancelled: str,
    enough: Callable[[], Any] = lambda: None,
) -> Any:
    """The value of `work(progress)`, from one thread for all sessions that ask for `key` at the same time.

    Meanwhile a bar says `title`, then `counted` with {done} and {of}; a button ends the wait, and `cancelled` is said.
    enough: what there is already, if it will do; the wait then ends with it, before the work. Raises what the work
    raised.
    """
    place = st.empty()
    with place.container():
        bar = st.progress(0.0, plain(title))
        if st.button("Cancel", key=f"cancel-{title}"):
            place.info(cancelled)
            st.stop()
    with waiting(key, work) as job:
        while (value := enough()) is None and not job.ended(LOOK_S):
            share, text = (job.at[0] / max(job.at[1], 1), _counted(counted, *job.at)) if job.at else (0.0, title)
            bar.progress(min(share, 1.0), plain(text))
    place.empty()  # nothing is in progress any more; a cancel leaves its own line in this place
    return job.result() if value is None else value


def _counted(text: str, done: int, of: int) -> str:
    return text.format(done=f"{done:,}", of=f"{of:,}")
