"""How large the bench's work is, and where it may write."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Scale(NamedTuple):
    """full: the real shapes, of hours; else what fits into minutes. folder: the group's own, gone at the end."""

    full: bool
    folder: Path
