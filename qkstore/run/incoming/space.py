"""Space: whether a run fits on its disk, asked before its first batch."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from qkstore.errors import StoreError

UNITS = ("bytes", "kB", "MB", "GB", "TB")
MORE = 0.3  # of the run, at most: what was captured is removed piece by piece as the run file comes to hold it


def check(folder: Path, run: str, wanted: int, spooled: int) -> str:
    """What a run of about `wanted` bytes takes and what is free, in one line; raises StoreError where it cannot fit.

    folder: where its batches, of `spooled` bytes, are kept until the run file has them; what lies there already is
    counted as made.
    """
    more = max(spooled - wanted, 0) + int(MORE * wanted)
    there = size(folder)
    free = shutil.disk_usage(folder).free
    if wanted + more - there > free:
        raise StoreError(
            f"run {run!r} takes about {told(wanted)} and {told(more)} more while it is made, {told(free)} are free in "
            f"{folder.parent.parent}: free some, or store fewer --layers or prompts"
        )
    return f"run file about {told(wanted)}, {told(free)} free"


def size(folder: Path) -> int:
    """The bytes of all files in a folder; another rank may remove some meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def told(size: float) -> str:
    """Bytes in a unit that suits them: '3.2 GB'."""
    power = 0
    while size >= 1000 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.{min(power, 1)}f} {UNITS[power]}"
