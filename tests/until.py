"""Waiting for what another thread or process does, for as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable


def becomes(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Whether a condition holds within some seconds; asked again and again, and once more at the end."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())
