"""Who changed what, and when: read from what is kept of every change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qkstore.store.catalog.rows import CREATED, who

if TYPE_CHECKING:
    from qkstore.store.catalog.catalog import Catalog

CHANGES = f"""
    SELECT {CREATED}, author, writer, act, subject FROM (
        SELECT created, author, writer,
            CASE WHEN forked IS NULL THEN 'saved' ELSE 'forked from ' || forked END AS act,
            'contrast ' || name || '@' || version AS subject
        FROM contrast
        UNION ALL
        SELECT created, author, writer, 'noted' AS act,
            CASE WHEN run = '' THEN subject ELSE trim('run ' || run || ' ' || subject) END AS subject
        FROM note
        UNION ALL
        SELECT created, author, writer, state AS act, kind || ' ' || subject AS subject FROM mark
        UNION ALL
        SELECT created, author, writer,
            CASE WHEN role = 'none' THEN 'took the role of' ELSE 'gave the role ' || role || ' to' END AS act,
            email AS subject
        FROM person
    ) AS c ORDER BY c.created DESC, subject, act LIMIT ?
"""


@dataclass(frozen=True)
class Change:
    """author: as the program said. writer: the database's user who wrote it; None where it has none."""

    created: datetime
    author: str
    writer: str | None
    act: str
    subject: str

    @property
    def who(self) -> str:
        """The author, and where it is another name the user of the database through whom it was written."""
        return who(self.author, self.writer)


def changes(catalog: Catalog, most: int = 100) -> list[Change]:
    """The last changes of contrasts, notes, runs and roles, newest first."""
    return [Change(**row) for row in catalog.rows(CHANGES, [most])]
