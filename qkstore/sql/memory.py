"""Sizes of memory as a user and DuckDB write them: 8GB, 512 MiB."""

from __future__ import annotations

import os
import re

from qkstore.errors import QKStoreError, StoreError

UNITS = "KMGT"
VARIABLE, DEFAULT_BYTES, SHARE = "QKSTORE_MEMORY", 256 << 20, 4  # or a fourth of the machine's, if that is less
LEAST_BYTES = 16 << 20
_limit: int | None = None


def bytes_of(text: str) -> int:
    """How many bytes '8GB' (8 · 1000³) or '512 MiB' (512 · 1024²) are, as DuckDB reads its `memory_limit`.

    A number, whole or with decimals, then KB, MB, GB or TB, or the same with an i for powers of 1024; in letters of
    either size, with or without a space. Raises QKStoreError for anything else, and for 0.
    """
    size = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*([{UNITS}])(i?)B", text.strip(), re.IGNORECASE)
    if not size or float(size[1]) == 0:
        raise QKStoreError(f"memory {text!r}: write a number with {', '.join(f'{u}B' for u in UNITS)}, such as 8GB")
    number, unit, binary = size.groups()
    return int(float(number) * (1024 if binary else 1000) ** (1 + UNITS.index(unit.upper())))


def set_limit(size: str | None) -> None:
    """Let DuckDB take this much memory, such as '2GB', to read the runs of a folder in this process.

    None: what $QKSTORE_MEMORY says, or else 256 MiB, or a fourth of the machine's memory. What was read is held outside
    it. Raises StoreError where it is no size, or below 16 MiB.
    """
    global _limit
    _limit = None if size is None else _large_enough(size, "memory")


def limit() -> int:
    """How many bytes DuckDB may take to read the runs of a folder; raises StoreError where $QKSTORE_MEMORY is wrong."""
    if _limit is not None:
        return _limit
    if said := os.environ.get(VARIABLE):
        return _large_enough(said, VARIABLE)
    return min(DEFAULT_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE)


def _large_enough(size: str, what: str) -> int:
    try:
        found = bytes_of(size)
    except QKStoreError:
        found = 0
    if found < LEAST_BYTES:
        raise StoreError(f"{what} {size!r} is no size that runs can be read with: write 512MB, 2GB, or 16MiB or more")
    return found
