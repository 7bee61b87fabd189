"""docs/scale.md: which tables it has, and how they come there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.page import write

PARTS = ("constants", "assumptions", "passes", "cases", "limits", "labels", "users", "foretold", "less", "sampling")
PAGE = "scale.md"


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown; its first row is the header."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *rest]


def put(docs: Path, tables: dict[str, Sequence[Sequence[str]]]) -> None:
    """Each table between its two markers of the page."""
    for name, rows in tables.items():
        write(docs / PAGE, f"scale {name}", lines(rows))
