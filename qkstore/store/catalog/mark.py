"""Marks: what was done to a contrast, a note or a run. Each act is the next version of its subject: none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkstore.store.catalog.migrations import now
from qkstore.store.catalog.rows import COUNTED

if TYPE_CHECKING:
    from qkstore.store.catalog.database import Writing


def marked(execute: Writing, kind: str, subject: str, state: str) -> None:
    """Keep that something was done, in a transaction of who did it."""
    (newest,) = execute(
        f"SELECT coalesce(max(version), 0) AS version FROM mark WHERE kind = ? AND subject = ? AND {COUNTED}",
        [kind, subject],
    )
    execute(
        "INSERT INTO mark (kind, subject, version, state, author, created) VALUES (?, ?, ?, ?, ?, ?)",
        [kind, subject, newest["version"] + 1, state, execute.author, now()],
    )
