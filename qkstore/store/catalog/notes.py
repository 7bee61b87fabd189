"""Notes that people leave on a run, a head or a contrast. None is changed; one can be withdrawn."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from qkstore.errors import StoreError
from qkstore.store.catalog.migrations import now
from qkstore.store.catalog.names import EVER
from qkstore.store.catalog.rows import CREATED
from qkstore.text import unseen

if TYPE_CHECKING:
    from qkstore.store.catalog.catalog import Catalog

MOST_TEXT = 4000  # characters
COLUMNS = "note_id, run, subject, text, author, created"
MOST = 50  # shown beside a page
# Joiners and variation selectors, of which emoji and some scripts are made.
JOINS = re.compile("[\u200c\u200d\ufe00-\ufe0f]")
STANDING = """
    FROM note n WHERE NOT EXISTS (SELECT 1 FROM mark m WHERE m.kind = 'note' AND m.subject = n.note_id)
"""
# On a contrast, by any name that it has or had.
ON = f"""
    (subject = ? OR subject IN (
        SELECT 'contrast ' || b.name FROM {EVER} AS a JOIN {EVER} AS b ON a.first = b.first
        WHERE 'contrast ' || a.name = ?))
"""
SHOWN = f"SELECT note_id, run, subject, text, author, {CREATED}"
NEWEST = "ORDER BY n.created DESC, note_id"
Kind = Literal["run", "head", "contrast"]  # of what a note is on
KINDS = {"run": "run <> '' AND subject = ''", "head": "run <> '' AND subject <> ''", "contrast": "run = ''"}
SEARCHED = "lower('run ' || run || ' ' || subject || ' ' || author || ' ' || text)"
MOST_WORDS = 10  # of a search
HEAD = re.compile(r"L(\d{1,6}) H(\d{1,6})")
WHOLE = ""  # the subject of a note on a whole run


def on_head(layer: int, head: int) -> str:
    """The subject of a note on one head of a run."""
    return f"L{layer} H{head}"


def on_contrast(name: str) -> str:
    """The subject of a note on a contrast, which belongs to no run."""
    return f"contrast {name}"


@dataclass(frozen=True)
class Note:
    """What somebody wrote on a subject: of a run, '' for all of it or 'L2 H3'; without a run, 'contrast NAME'."""

    note_id: str
    run: str
    subject: str
    text: str
    author: str
    created: datetime

    @property
    def head(self) -> tuple[int, int] | None:
        """(layer, head) of a note on one."""
        found = HEAD.fullmatch(self.subject) if self.run else None
        return (int(found[1]), int(found[2])) if found else None

    @property
    def contrast(self) -> str | None:
        """The name of the contrast that a note is on."""
        return None if self.run else self.subject.removeprefix("contrast ")

    @property
    def about(self) -> str:
        """What the note is on, in words."""
        return f"run {self.run} {self.subject}".strip() if self.run else self.subject


class Notes:
    """The notes of a catalogue."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog

    def on(self, run: str | None = None, subject: str | None = None) -> list[Note]:
        """The notes that stand, newest first: of a run ('' for those of contrasts), of a subject, or all."""
        asked = [("run = ?", [run])] if run is not None else []
        asked += [(ON, [subject, subject])] if subject is not None else []
        more = "".join(f" AND {condition}" for condition, _ in asked)
        values = [value for _, some in asked for value in some]
        rows = self.catalog.rows(f"{SHOWN} {STANDING}{more} {NEWEST}", values)
        return [Note(**row) for row in rows]

    def beside(self, subjects: Collection[tuple[str, str]], most: int = MOST) -> tuple[list[Note], int]:
        """The newest notes on any of these (run, subject), at most `most`, and how many there are, in one reading."""
        any_of = " OR ".join(f"(run = ? AND {ON})" for _ in subjects)
        rows = self.catalog.rows(
            f"{SHOWN}, count(*) OVER () AS total {STANDING} AND ({any_of}) {NEWEST} LIMIT {most:d}",
            [text for run, subject in subjects for text in (run, subject, subject)],
        )
        total = rows[0]["total"] if rows else 0
        return [Note(**{name: row[name] for name in row if name != "total"}) for row in rows], total

    def search(
        self,
        text: str = "",
        kind: Kind | None = None,
        run: str | None = None,
        subject: str | None = None,
        most: int = MOST,
        after: int = 0,
    ) -> tuple[list[Note], int]:
        """The newest notes that hold every word of a text, at most `most` after the first ones, and how many there are.

        A word is looked for in the note, in what it is on and in its author's name, in capitals or not. kind: of those
        on whole runs, on heads or on contrasts alone; run, subject: as in `on`.
        """
        words = text.lower().split()[:MOST_WORDS]
        asked = {name: value for name, value in (("run", run), ("subject", subject)) if value is not None}
        more = "".join(f" AND strpos({SEARCHED}, ?) > 0" for _ in words) + "".join(f" AND {name} = ?" for name in asked)
        rows = self.catalog.rows(
            f"{SHOWN}, count(*) OVER () AS total {STANDING}{more}{f' AND {KINDS[kind]}' if kind else ''} "
            f"{NEWEST} LIMIT {most:d} OFFSET {after:d}",
            [*words, *asked.values()],
        )
        total = rows[0]["total"] if rows else 0
        return [Note(**{name: row[name] for name in row if name != "total"}) for row in rows], total

    def counts(self) -> dict[Kind, int]:
        """How many stand of each kind."""
        kind = "CASE WHEN run = '' THEN 'contrast' WHEN subject = '' THEN 'run' ELSE 'head' END"
        rows = self.catalog.rows(f"SELECT {kind} AS kind, count(*) AS n {STANDING} GROUP BY 1")
        found = {row["kind"]: row["n"] for row in rows}
        return {kind: found.get(kind, 0) for kind in KINDS}

    def count(self) -> int:
        """How many stand."""
        found = self.catalog.rows(f"SELECT count(*) AS n {STANDING}")
        return found[0]["n"] if found else 0

    def add(self, text: str, run: str = "", subject: str = WHOLE) -> Note:
        """Leave a note. Raises RoleError for viewers, StoreError for a text that is empty, too long or unseen."""
        text = text.replace("\r\n", "\n").strip()
        _check(text)
        if not run and not subject.startswith("contrast "):
            raise StoreError("a note is on a run, a head of one, or a contrast; name one")
        with self.catalog.write("leave a note") as execute:
            note = Note(uuid.uuid4().hex[:12], run, subject, text, execute.author, now())
            execute(f"INSERT INTO note ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", list(vars(note).values()))
        return note

    def withdraw(self, note_id: str) -> None:
        """Take a note back: one's own, or as an admin anyone's. It is kept, and shown no more."""
        person, found = self.catalog.person, self.catalog.rows(f"{SHOWN} {STANDING} AND note_id = ?", [note_id])
        if not found:
            raise StoreError(f"no note {note_id[:40]!r}: `qkstore notes` lists them with their numbers")
        if found[0]["author"] != person.name:
            person.must("admin", "withdraw the note of somebody else")
        self.catalog.mark("note", note_id, "withdrawn", "withdraw a note")


def _check(text: str) -> None:
    if not text:
        raise StoreError("the note is empty")
    if len(text) > MOST_TEXT:
        raise StoreError(f"the note has {len(text):,} characters; {MOST_TEXT:,} are possible")
    if text.encode(errors="replace").decode() != text:
        raise StoreError("the note holds half of a character (a lone surrogate); take it out")
    if hidden := unseen(JOINS.sub("", text).replace("\n", "").replace("\t", "")):
        raise StoreError(f"the note holds {hidden}, which cannot be seen; take it out")
