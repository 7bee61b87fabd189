"""Behind: work in a thread of its own while the next is prepared, so that a model does not wait for a disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Behind:
    """Call it as `work`: it returns at once, and waits first where `most` calls of before are not done.

    Calls are done one after another. Context manager: leaving it waits for what is at work. An error of the work is
    raised by the next call that waits for it, or by `wait`.
    """

    def __init__(self, work: Callable[..., object], most: int = 1):
        self._work, self._most, self._pool = work, most, ThreadPoolExecutor(1)
        self._left: deque[Future] = deque()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *exc: object) -> None:
        failed = any(left.done() and left.exception() for left in self._left)
        self._pool.shutdown(cancel_futures=failed)

    def __call__(self, *given: object) -> None:
        while len(self._left) >= self._most or (self._left and self._left[0].done()):
            self._left.popleft().result()
        self._left.append(self._pool.submit(self._work, *given))

    def wait(self) -> None:
        """Return when nothing is at work; raises what the first work that failed raised, once."""
        while self._left:
            self._left.popleft().result()
