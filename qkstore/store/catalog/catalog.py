"""A catalogue: contrasts with all their versions, kept results, notes and people. Who writes needs the role for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from qkstore.contrast import Contrast
from qkstore.contrast.name import check
from qkstore.errors import ContrastError, StoreError, near
from qkstore.store.catalog.changes import Change, changes
from qkstore.store.catalog.database import Database, Execute
from qkstore.store.catalog.embedded import Embedded
from qkstore.store.catalog.migrations import now
from qkstore.store.catalog.notes import Notes
from qkstore.store.catalog.people import People
from qkstore.store.catalog.person import Person, Role

CONTRAST = 'name, version, "where", positive, negative, pairs, weighting, centring, description, author'
ARCHIVED = """
    EXISTS (SELECT 1 FROM mark m WHERE m.kind = 'contrast' AND m.subject = c.name AND m.state = 'archived'
        AND m.version = (SELECT max(version) FROM mark o WHERE o.kind = m.kind AND o.subject = m.subject))
"""
NEWEST = "c.version = (SELECT max(version) FROM contrast o WHERE o.name = c.name)"
VERSION = re.compile(r"(?P<name>.+)@(?P<version>[1-9][0-9]{0,8})")

# Scores of a model with 1,000 heads take half a MB, those of a toy head 1 kB: room for the runs of years, in a file
# that is copied in an instant where another program holds it.
MOST_RESULTS, MOST_BYTES = 20_000, 64 << 20
FULL = "SELECT count(*) > ? OR sum(length(payload)) > ? AS yes FROM result"  # JSON is ASCII: its length is its bytes


@dataclass(frozen=True)
class Version:
    """A saved contrast, and what is known of its saving.

    checked: how it did on a run then, {run, content, split, counts, findings}; None where it was not tried on one.
    forked: 'name@2', the version of another contrast that it was taken from.
    """

    contrast: Contrast
    created: datetime
    checked: dict | None
    forked: str | None


class Catalog:
    """The mutable part of a store, at the path of a DuckDB file or in another Database.

    person: who acts; by default the user of the program or of the database, with the role that the database gives.
    """

    def __init__(self, where: str | Path | Database, person: Person | None = None):
        self.database = Embedded(where) if isinstance(where, (str, Path)) else where
        self._acting = person

    def acting(self, person: Person) -> Catalog:
        """The same catalogue for somebody else: a person who logged in to a server."""
        return Catalog(self.database, person)

    @property
    def person(self) -> Person:
        """Who acts on it. Raises StoreError where the database cannot be asked."""
        return self._acting or self.database.person()

    @property
    def notes(self) -> Notes:
        """What people wrote on runs, heads and contrasts."""
        return Notes(self)

    @property
    def people(self) -> People:
        """Who may do what."""
        return People(self)

    @property
    def held(self) -> str | None:
        """A line that names the program which holds the catalogue, where the last reading was of a copy; else None."""
        return self.database.held

    def version(self) -> int:
        """How many migrations the catalogue has had; 0 where there is none yet."""
        return self.database.version()

    def copy(self, target: Path) -> bool:
        """Copy the catalogue into a file of its own while nobody changes it; False where there is none yet."""
        return self.database.copy(target)

    def changes(self, most: int = 100) -> list[Change]:
        """Who changed what, newest first: contrasts, notes, runs and roles."""
        return changes(self, most)

    def rows(self, sql: str, parameters: list | None = None) -> list[dict]:
        """The rows of a SELECT of qkstore's own, with ? for parameters."""
        return self.database.rows(sql, parameters)

    @contextmanager
    def write(self, act: str, word: str = "", least: Role = "editor") -> Iterator[Execute]:
        """A transaction of somebody whose role allows it; raises RoleError, which names the act, for others.

        Where somebody else than the database's user acts, the database runs it with that person's role alone.
        """
        self.person.must(least, act)
        with self.database.transaction(word, self._acting and self._acting.role) as execute:
            yield execute

    def mark(self, kind: str, subject: str, state: str, act: str) -> None:
        """Keep what was done to a contrast, a note or a run."""
        with self.write(act, subject if kind == "contrast" else f"{kind} {subject}") as execute:
            self._marked(execute, kind, subject, state)

    def _marked(self, execute: Execute, kind: str, subject: str, state: str) -> None:
        (newest,) = execute(
            "SELECT coalesce(max(version), 0) AS version FROM mark WHERE kind = ? AND subject = ?", [kind, subject]
        )
        execute(
            "INSERT INTO mark (kind, subject, version, state, author, created) VALUES (?, ?, ?, ?, ?, ?)",
            [kind, subject, newest["version"] + 1, state, self.person.name, now()],
        )

    # -- contrasts -----------------------------------------------------------------------------------------------

    def save(self, contrast: Contrast, checked: dict | None = None, forked: Contrast | None = None) -> Contrast:
        """Save as the next version of its name, and return it with that version; nothing is overwritten.

        checked: how it did on a run (qkstore.contrast.check.told). forked: the saved version that it was taken from.
        An empty author becomes who acts. A name that was archived is there again. Raises ContrastError for a name that
        is taken, or may be taken for another, and for texts that are too long; GuardError for predicates that cannot be
        parsed; RoleError for viewers.
        """
        contrast = contrast.replace(author=contrast.author or self.person.name)
        check(contrast)
        contrast.sentence()  # what cannot be read back would be in the way of every list of contrasts
        with self.write("save a contrast", contrast.name) as execute:
            check(contrast, [row["name"] for row in execute("SELECT DISTINCT name FROM contrast")])
            (newest,) = execute(
                "SELECT coalesce(max(version), 0) AS version FROM contrast WHERE name = ?", [contrast.name]
            )
            saved = contrast.replace(version=newest["version"] + 1)
            more = {"checked": checked and json.dumps(checked), "forked": forked and full_name(forked)}
            fields = saved.to_dict() | {"created": now()} | more
            names = ", ".join(f'"{name}"' for name in fields)
            execute(f"INSERT INTO contrast ({names}) VALUES ({', '.join('?' for _ in fields)})", list(fields.values()))
            if execute(f"SELECT 1 AS one FROM contrast c WHERE c.name = ? AND {ARCHIVED}", [contrast.name]):
                self._marked(execute, "contrast", contrast.name, "restored")
        return saved

    def contrasts(self) -> list[Contrast]:
        """The newest version of every saved contrast that is not archived, by name."""
        rows = self.rows(f"SELECT {CONTRAST} FROM contrast c WHERE {NEWEST} AND NOT {ARCHIVED} ORDER BY name")
        return [Contrast(**row) for row in rows]

    def archived(self) -> list[str]:
        """The names that were put away: in no list, and still found by name."""
        return [
            r["name"] for r in self.rows(f"SELECT name FROM contrast c WHERE {NEWEST} AND {ARCHIVED} ORDER BY name")
        ]

    def versions(self, name: str) -> list[Contrast]:
        """Every version of one contrast, oldest first."""
        return [version.contrast for version in self.history(name)]

    def history(self, name: str) -> list[Version]:
        """Every version with what is known of its saving, oldest first."""
        rows = self.rows(
            f"SELECT {CONTRAST}, created, checked, forked FROM contrast WHERE name = ? ORDER BY version", [name]
        )
        return [_version(row) for row in rows]

    def contrast(self, name: str, version: int | None = None) -> Contrast:
        """A saved contrast by name, its newest version unless one is given, as a number or as 'name@2'.

        Raises ContrastError.
        """
        saved = [c for c in self.versions(name) if version in (None, c.version)]
        if saved:
            return saved[-1]
        if version is None and (found := VERSION.fullmatch(name)):
            return self.contrast(found["name"], int(found["version"]))
        near_names = near(name, [*(c.name for c in self.contrasts()), *self.archived()])
        raise ContrastError(f"no saved contrast {name!r}{f' of version {version}' if version else ''}; {near_names}")

    def archive(self, name: str) -> None:
        """Put a contrast away: it is in no list any more, and links to it go on. `restore` brings it back."""
        if self.contrast(name).name in self.archived():
            raise ContrastError(f"contrast {name!r} is archived already")
        self.mark("contrast", name, "archived", "archive a contrast")

    def restore(self, name: str) -> None:
        """Bring an archived contrast back."""
        if self.contrast(name).name not in self.archived():
            raise ContrastError(f"contrast {name!r} is not archived")
        self.mark("contrast", name, "restored", "restore a contrast")

    # -- results -------------------------------------------------------------------------------------------------

    def result(self, key: str) -> object | None:
        """A cached result; None where there is none, or while the catalogue cannot be read, as `held` then tells."""
        try:
            rows = self.rows("SELECT payload FROM result WHERE key = ?", [key])
        except StoreError:
            if self.held:
                return None
            raise
        return json.loads(rows[0]["payload"]) if rows else None

    def made(self, key: str) -> dict | None:
        """What a kept result was made of, and by whom: kind, run, contrast, content, version, code, author, created."""
        columns = "kind, run, contrast, content, version, code, author, created"
        rows = self.rows(f"SELECT {columns} FROM result WHERE key = ?", [key])
        return rows[0] if rows else None

    def results(self, kind: str, run: str) -> list[dict]:
        """The results of one kind that are kept of a run, newest first: key, contrast, payload, created."""
        rows = self.rows(
            "SELECT key, contrast, payload, created FROM result WHERE kind = ? AND run = ? ORDER BY created DESC, key",
            [kind, run],
        )
        return [row | {"payload": json.loads(row["payload"])} for row in rows]

    def keep_result(
        self,
        key: str,
        kind: str,
        run: str,
        contrast: str,
        payload: object,
        content: str | None = None,
        version: int | None = None,
        code: str | None = None,
    ) -> None:
        """Cache a result under a key that names everything it depends on; the first one kept stays.

        content, version, code: the digest of the run, the version of the contrast and the key of the code that made it.
        Where there are more than MOST_RESULTS, or their payloads have more than MOST_BYTES, the oldest ones go, until
        a quarter of that is free. Raises RoleError for viewers.
        """
        with self.write("keep a result") as execute:
            execute(
                "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [key, kind, run, contrast, json.dumps(payload), now(), content, version, code, self.person.name],
            )
            if execute(FULL, [MOST_RESULTS, MOST_BYTES])[0]["yes"]:
                self.database.evict(execute, MOST_RESULTS * 3 // 4, MOST_BYTES * 3 // 4)


def full_name(contrast: Contrast) -> str:
    """A contrast with its version, as links and --contrast take it: 'mine@2'; of a built-in one the name."""
    return contrast.name if contrast.version is None else f"{contrast.name}@{contrast.version}"


def _version(row: dict) -> Version:
    known = {name: row.pop(name) for name in ("created", "checked", "forked")}
    checked = known["checked"]
    return Version(Contrast(**row), known["created"], checked and json.loads(checked), known["forked"])
