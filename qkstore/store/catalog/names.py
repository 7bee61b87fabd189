"""What saved contrasts are called. To rename one is to add a mark: no row of it changes, and its old names lead to it.

The name in the rows of a contrast is the one that it was first saved under; the newest mark of kind `name` on that, if
there is one, is what it is called now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qkstore.contrast import Contrast
from qkstore.contrast.name import check
from qkstore.errors import ContrastError
from qkstore.store.catalog.database import Execute
from qkstore.store.catalog.rows import COUNTED

KIND = "name"  # of a mark: its subject is the first name, its state the new one
NEWEST = f"""
    SELECT m.subject, m.state FROM mark m JOIN (
        SELECT subject, max(version) AS version FROM mark WHERE kind = '{KIND}' AND {COUNTED} GROUP BY subject
    ) AS o ON o.subject = m.subject AND o.version = m.version WHERE m.kind = '{KIND}'
"""
NOW = f"LEFT JOIN ({NEWEST}) AS r ON r.subject = c.name"  # after `contrast c`
CALLED = "coalesce(r.state, c.name)"
EVER = f"""(
    SELECT name AS first, name FROM contrast
    UNION SELECT subject, state FROM mark WHERE kind = '{KIND}' AND subject IN (SELECT name FROM contrast))
"""
HELD = f"SELECT e.first, e.name, coalesce(r.state, e.first) AS now FROM {EVER} AS e LEFT JOIN ({NEWEST}) AS r \
ON r.subject = e.first"


@dataclass(frozen=True)
class Held:
    """A name that a contrast has or had: the first one of its, and the one that it has now."""

    first: str
    name: str
    now: str


def held(execute: Execute) -> list[Held]:
    """Every name that a saved contrast has or had."""
    return [Held(**row) for row in execute(HELD)]


def first(names: Iterable[Held], contrast: Contrast) -> str:
    """The name to write a contrast's rows under; raises ContrastError for one that it may not be saved with."""
    own = {h.first: h.now for h in names if h.name == contrast.name}
    check(contrast, [h.name for h in names if h.first not in own])
    for identity, now in own.items():
        if now == contrast.name:
            return identity
    for now in own.values():
        raise ContrastError(f"contrast {contrast.name!r} is called {now!r} now: save it under that name, or another")
    return contrast.name


def renamed(names: Iterable[Held], contrast: Contrast, new: str) -> str:
    """The first name of the contrast that is to be called `new`; raises ContrastError for a name that it may not have.

    It may go back to a name that it had. One that another contrast has or had is taken: addresses name it.
    """
    (identity,) = {h.first for h in names if h.name == contrast.name and h.now == contrast.name} or {contrast.name}
    if new == contrast.name:
        raise ContrastError(f"contrast {new[:60]!r} has that name already")
    others = [h for h in names if h.first != identity]
    for other in others:
        if other.name == new:
            told = "" if other.now == new else f", which is called {other.now!r} now"
            raise ContrastError(f"contrast name {new!r} is taken by another contrast{told}; choose another")
    check(contrast.replace(name=new), [h.name for h in others])
    return identity
