"""Work that takes longer than a look: done once for all who wait for it, with a count, and ended when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from dashboard.text import plain

Progress = Callable[[int, int], None]

LOOK_S = 0.1  # between two looks at how far it is; each lets the session end, where another choice was made


class Left(BaseException):
    """Nobody waits any more. Raised in the work by its own call of `progress`; no handler of errors sees it."""


class Job:
    """One piece of work in a thread of its own. `at`: (done, of how many), or None before the first count."""

    def __init__(self, work: Callable[[Progress], Any]):
        self.at: tuple[int, int] | None = None
        self.waiting = 0
        self._work, self._ended = work, threading.Event()
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

    def _progress(self, done: int, of: int) -> None:
        self.at = done, of
        if not self.waiting:
            raise Left

    def ended(self, within_s: float = 0) -> bool:
        return self._ended.wait(within_s)

    def result(self) -> Any:
        """What the work gave; raises what it raised."""
        if self._error:
            raise self._error
        return self._value


class Jobs:
    """The work in progress, by what names it."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, Job] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def waiting(self, key: Hashable, work: Callable[[Progress], Any]) -> Iterator[Job]:
        """The work of this name, begun if nobody has; for as long as this block waits for it, it goes on."""
        with self._lock:
            job = self._jobs.get(key) or Job(work)
            self._jobs[key] = job
            job.waiting += 1
            if job.waiting == 1:
                job.start()
        try:
            yield job
        finally:
            with self._lock:
                job.waiting -= 1
                if not job.waiting and self._jobs.get(key) is job:
                    del self._jobs[key]


@st.cache_resource(max_entries=1)
def _jobs() -> Jobs:
    return Jobs()


def done(key: Hashable, work: Callable[[Progress], Any], title: str, counted: str, cancelled: str) -> Any:
    """The value of `work(progress)`, from one thread for all sessions that ask for `key` at the same time.

    Meanwhile a bar says `title`, then `counted` with {done} and {of}; a button ends the wait, and `cancelled` is said.
    Raises what the work raised.
    """
    place = st.empty()
    with place.container():
        bar = st.progress(0.0, plain(title))
        if st.button("Cancel", key=f"cancel-{title}"):
            place.info(cancelled)
            st.stop()
    with _jobs().waiting(key, work) as job:
        while not job.ended(LOOK_S):
            share, text = (job.at[0] / max(job.at[1], 1), _counted(counted, *job.at)) if job.at else (0.0, title)
            bar.progress(min(share, 1.0), plain(text))
    place.empty()  # nothing is in progress any more; a cancel leaves its own line in this place
    return job.result()


def _counted(text: str, done: int, of: int) -> str:
    return text.format(done=f"{done:,}", of=f"{of:,}")
