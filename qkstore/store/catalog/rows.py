"""Rows of a catalogue as values. Whoever may write the file or the tables can put anything there: nothing of it ends a
list, and what is no such value is left out or told.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from qkstore.contrast import Contrast
from qkstore.contrast.difference import told
from qkstore.errors import ContrastError

T = TypeVar("T")
MOST_VERSION = 1_000_000_000  # a larger one is of nobody's counting
COUNTED = f"version < {MOST_VERSION}"
# Python has no date outside the years 1 to 9999, and PostgreSQL has infinity.
CREATED = """
    CASE WHEN created BETWEEN TIMESTAMP '1970-01-01 00:00:00' AND TIMESTAMP '2200-01-01 00:00:00'
    THEN created ELSE TIMESTAMP '1970-01-01 00:00:00' END AS created
"""
NOBODY = ("duckdb", None)  # the writer where the database has no users


@dataclass(frozen=True)
class Version:
    """A saved contrast, and what is known of its saving.

    checked: how it did on a run then, {run, content, split, counts, findings}; None where it was not tried on one.
    forked: 'name@2', the version of another contrast that it was taken from. writer: see Change.
    """

    contrast: Contrast
    created: datetime
    checked: dict | None
    forked: str | None
    writer: str | None = None

    @property
    def who(self) -> str:
        """The author, and through whom it was written where that is another."""
        return who(self.contrast.author, self.writer)

    def since(self, before: Version | None) -> str:
        """What changed since the version before it, or what it was forked from; '' of a first one of its own."""
        if before:
            return told(before.contrast, self.contrast)
        return f"forked from {self.forked}" if self.forked else ""

    @property
    def told(self) -> str:
        """How it did on a run when it was saved, in one line; '' where it was not tried."""
        if not self.checked:
            return ""
        c, counts = self.checked, self.checked["counts"]
        found = "; ".join(c["findings"]) or "nothing found"
        return (
            f"checked on run {c['run']} ({c['content'][:8]}), {c['split'] or 'all'} prompts: "
            f"{counts['n_pos']:,} positive and {counts['n_neg']:,} negative pairs; {found}"
        )


def who(author: str, writer: str | None) -> str:
    """An author, and where it is another name the user of the database through whom it was written."""
    through = writer not in (*NOBODY, author)
    return f"{author or 'somebody'} (through {writer})" if through else author or "somebody"


def full_name(contrast: Contrast) -> str:
    """A contrast with its version, as links and --contrast take it: 'mine@2'; of a built-in one the name."""
    return contrast.name if contrast.version is None else f"{contrast.name}@{contrast.version}"


def contrast(row: dict) -> Contrast | None:
    """The contrast of a row; None where it makes none."""
    try:
        return Contrast(**row)
    except (ContrastError, TypeError, AttributeError):
        return None


def version(row: dict) -> Version | None:
    """A version with what is known of it; None where the row makes no contrast."""
    known = {name: row.pop(name) for name in ("created", "checked", "forked", "writer")}
    made = contrast(row)
    return made and Version(made, **known | {"checked": _checked(known["checked"])})


def payload(text: str) -> object | None:
    """What a result holds; None where that is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def built(make: Callable[[Any], T], found: object | None) -> T | None:
    """What `make` makes of what a result holds; None where it is something else than this code keeps."""
    try:
        return None if found is None else make(found)
    except (TypeError, KeyError, AttributeError, ValueError, zlib.error):
        return None


def _checked(text: str | None) -> dict | None:
    """What a check found, as qkstore.contrast.check.told makes it; None for anything else."""
    found = payload(text) if text else None
    kinds = {"run": str, "content": str, "split": (str, type(None)), "counts": dict, "findings": list}
    if not isinstance(found, dict) or not all(isinstance(found.get(name, 0), kind) for name, kind in kinds.items()):
        return None
    numbers = all(isinstance(found["counts"].get(name), int) for name in ("n_pos", "n_neg"))
    return found if numbers and all(isinstance(text, str) for text in found["findings"]) else None
