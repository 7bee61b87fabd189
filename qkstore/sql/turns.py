"""Turns: who may run a query now. Nobody waits for another person's slow queries while there is a process left."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qkstore.errors import GuardError

POLL_S = 0.1  # how often somebody who waits is asked whether they still do


@dataclass(frozen=True)
class Asker:
    """Who asks: a name (of a session, say), and whether nobody waits for the answer any more."""

    name: str = ""
    gone: Callable[[], bool] = lambda: False


class Turns:
    """At most `most` queries at once, of one asker `alone` while nobody else asks and `each` while others do.

    The next turn is that of the asker with the fewest queries at work, of equal ones the one that waited longest.
    """

    def __init__(self, most: int, alone: int, each: int, wait_s: float):
        self.most, self.alone, self.each, self.wait_s = most, alone, each, wait_s
        self.changed = threading.Condition()
        self.waiting: list[tuple[str, object]] = []  # in the order of their coming
        self.running: Counter[str] = Counter()

    @contextlib.contextmanager
    def turn(self, asker: Asker) -> Iterator[None]:
        """Wait for a turn and have it. Raises GuardError after `wait_s` seconds, or where the asker is gone."""
        ticket = (asker.name, object())
        with self.changed:
            self.waiting.append(ticket)
            try:
                self._wait(ticket, asker)
            finally:
                self.waiting.remove(ticket)
                self.changed.notify_all()
            self.running[asker.name] += 1
        try:
            yield
        finally:
            with self.changed:
                self.running[asker.name] -= 1
                self.running += Counter()  # forgets those at zero
                self.changed.notify_all()

    def _wait(self, ticket: tuple[str, object], asker: Asker) -> None:
        until = time.monotonic() + self.wait_s
        while self._next() is not ticket:
            self.changed.wait(POLL_S)
            if asker.gone():
                raise GuardError("the query was not begun: nobody waits for it")
            if time.monotonic() > until:
                raise GuardError(f"waited {self.wait_s:.0f} s for a turn: {self._told(asker.name)}; try again later")

    def _next(self) -> tuple[str, object] | None:
        """The ticket whose turn it is, None while all must wait."""
        if self.running.total() >= self.most:
            return None
        askers = self.running.keys() | {name for name, _ in self.waiting}
        bound = self.alone if len(askers) == 1 else self.each
        free = [ticket for ticket in self.waiting if self.running[ticket[0]] < bound]
        return min(free, key=lambda ticket: self.running[ticket[0]], default=None)

    def _told(self, name: str) -> str:
        own, others = self.running[name], self.running.total() - self.running[name]
        return f"{own} queries of yours and {others} of others are at work"
