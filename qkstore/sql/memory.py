"""Sizes of memory as a user and DuckDB write them: 8GB, 512 MiB."""

from __future__ import annotations

import re

from qkstore.errors import QKStoreError

UNITS = "KMGT"


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
