"""Space: whether a run fits on its disk, asked before its first batch."""

from __future__ import annotations

import shutil
from pathlib import Path

from qkstore.errors import StoreError

UNITS = ("bytes", "kB", "MB", "GB", "TB")
MORE = 0.3  # of the run, at most: what was captured is removed piece by piece as the run file comes to hold it


def check(folder: Path, run: str, size: int, spooled: int) -> str:
    """What a run of about `size` bytes takes and what is free, in one line; raises StoreError where it cannot fit.

    folder: where its batches, of `spooled` bytes, are kept until the run file has them; what lies there already is
    counted as made.
    """
    more = max(spooled - size, 0) + int(MORE * size)
    there = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if size + more - there > free:
        raise StoreError(
            f"run {run!r} takes about {told(size)} and {told(more)} more while it is made, {told(free)} are free in "
            f"{folder.parent.parent}: free some, or store fewer --layers or prompts"
        )
    return f"run file about {told(size)}, {told(free)} free"


def told(size: float) -> str:
    """Bytes in a unit that suits them: '3.2 GB'."""
    power = 0
    while size >= 1000 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.{min(power, 1)}f} {UNITS[power]}"
