"""Behind: work in a thread of its own while the next is prepared, so that a model does not wait for a disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Behind:
    """Call it as `work`: it returns at once, and waits first where what it was called for before is not done.

    Context manager: leaving it waits for what is at work. An error of the work is raised by the next call or by `wait`.
    """

    def __init__(self, work: Callable[..., object]):
        self._work, self._pool = work, ThreadPoolExecutor(1)
        self._last: Future | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown()

    def __call__(self, *given: object) -> None:
        self.wait()
        self._last = self._pool.submit(self._work, *given)

    def wait(self) -> None:
        """Return when nothing is at work; raises what the last work raised, once."""
        last, self._last = self._last, None
        if last:
            last.result()
