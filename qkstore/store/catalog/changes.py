"""Who changed what, and when: read from what is kept of every change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qkstore.store.catalog import names
from qkstore.store.catalog.rows import CREATED, who

if TYPE_CHECKING:
    from qkstore.store.catalog.catalog import Catalog

CHANGES = f"""
    SELECT {CREATED}, author, writer, act, subject FROM (
        SELECT c.created, c.author, c.writer,
            CASE WHEN forked IS NULL THEN 'saved' ELSE 'forked from ' || forked END AS act,
            'contrast ' || {names.CALLED} || '@' || c.version AS subject
        FROM contrast c {names.NOW}
        UNION ALL
        SELECT created, author, writer, 'noted' AS act,
            CASE WHEN run = '' THEN subject ELSE trim('run ' || run || ' ' || subject) END AS subject
        FROM note
        UNION ALL
        SELECT c.created, c.author, c.writer, c.state AS act,
            c.kind || ' ' || CASE WHEN c.kind = 'contrast' THEN coalesce(r.state, c.subject) ELSE c.subject END
        FROM mark c LEFT JOIN ({names.NEWEST}) AS r ON r.subject = c.subject WHERE c.kind <> '{names.KIND}'
        UNION ALL
        SELECT created, author, writer, 'renamed to ' || state AS act,
            'contrast ' || coalesce(lag(state) OVER (PARTITION BY subject ORDER BY version), subject) AS subject
        FROM mark WHERE kind = '{names.KIND}'
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
