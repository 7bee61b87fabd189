"""A catalogue: contrasts with all their versions, kept results, notes and people. Who writes needs the role for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from qkstore.contrast import Contrast
from qkstore.contrast.name import MOST_NAME, check, skeleton
from qkstore.errors import ContrastError, StoreError, near
from qkstore.store.catalog import names, rows
from qkstore.store.catalog.changes import Change, changes
from qkstore.store.catalog.database import Database, Writing
from qkstore.store.catalog.embedded import Embedded
from qkstore.store.catalog.mark import marked
from qkstore.store.catalog.migrations import now
from qkstore.store.catalog.notes import Notes
from qkstore.store.catalog.people import People
from qkstore.store.catalog.person import Person, Role
from qkstore.store.catalog.rows import COUNTED, CREATED, Version, full_name
from qkstore.store.catalog.runs import Runs

CONTRAST = f"""
    {names.CALLED} AS name, c.version, "where", positive, negative, pairs, weighting, centring, description, c.author,
    space
"""
FROM = f"FROM contrast c {names.NOW}"
ARCHIVED = f"""
    EXISTS (SELECT 1 FROM mark m WHERE m.kind = 'contrast' AND m.subject = c.name AND m.state = 'archived'
        AND m.version = (SELECT max(version) FROM mark o WHERE o.kind = m.kind AND o.subject = m.subject AND {COUNTED}))
"""
NEWEST = f"c.version = (SELECT max(version) FROM contrast o WHERE o.name = c.name AND {COUNTED})"
NAMED = re.compile(r"(?P<name>.+)@(?P<version>[1-9][0-9]{0,8})")

ALREADY = {"archived": "archived already", "restored": "not archived"}

# Scores of a model with 1,000 heads take half a MB, those of a toy head 1 kB: room for the runs of years, in a file
# that is copied in an instant where another program holds it.
MOST_RESULTS, MOST_BYTES = 20_000, 64 << 20
PART, PART_LASTS = "part", timedelta(days=7)
GONE = "DELETE FROM result WHERE starts_with(key, ?) OR (kind = ? AND created < ?) RETURNING key"
FULL = "SELECT count(*) > ? OR sum(length(payload)) > ? AS yes FROM result"  # JSON is ASCII: its length is its bytes


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
    def runs(self) -> Runs:
        """What became of the runs, and what is kept of each."""
        return Runs(self)

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
    def write(self, act: str, word: str = "", least: Role = "editor") -> Iterator[Writing]:
        """A transaction of somebody whose role allows it; raises RoleError, which names the act, for others.

        Where somebody else than the database's user acts, the database runs it with that person's role alone.
        """
        person = self.person
        person.must(least, act)
        with self.database.transaction(word, self._acting and self._acting.role) as execute:
            yield Writing(execute, person.name)

    def mark(self, kind: str, subject: str, state: str, act: str) -> None:
        """Keep what was done to a note or a run."""
        with self.write(act, f"{kind} {subject}") as execute:
            marked(execute, kind, subject, state)

    # -- contrasts -----------------------------------------------------------------------------------------------

    def save(self, contrast: Contrast, checked: dict | None = None, forked: Contrast | None = None) -> Contrast:
        """Save as the next version of its name, and return it with that version; nothing is overwritten.

        checked: how it did on a run (qkstore.contrast.check.told). forked: the saved version that it was taken from.
        An empty author becomes who acts. A name that was archived is there again. Raises ContrastError for a name that
        is taken, or may be taken for another, and for texts that are too long; GuardError for predicates that cannot be
        parsed; RoleError for viewers.
        """
        check(contrast)
        contrast.sentence()  # what cannot be read back would be in the way of every list of contrasts
        with self.write("save a contrast", skeleton(contrast.name)) as execute:  # names that look alike wait too
            first = names.first(names.held(execute), contrast)
            (newest,) = execute(
                f"SELECT coalesce(max(version), 0) AS version FROM contrast WHERE name = ? AND {COUNTED}", [first]
            )
            saved = contrast.replace(version=newest["version"] + 1, author=contrast.author or execute.author)
            more = {"checked": checked and json.dumps(checked), "forked": forked and full_name(forked)}
            fields = saved.to_dict() | {"name": first, "created": now()} | more
            columns = ", ".join(f'"{name}"' for name in fields)
            execute(
                f"INSERT INTO contrast ({columns}) VALUES ({', '.join('?' for _ in fields)})", list(fields.values())
            )
            if _archived(execute, first):
                marked(execute, "contrast", first, "restored")
        return saved

    def contrasts(self) -> list[Contrast]:
        """The newest version of every saved contrast that is not archived, by name."""
        found = self.rows(f"SELECT {CONTRAST} {FROM} WHERE {NEWEST} AND NOT {ARCHIVED} ORDER BY 1")
        return [made for row in found if (made := rows.contrast(row))]

    def archived(self) -> list[Contrast]:
        """The newest versions of those that were put away: in no list, and still found by name."""
        found = self.rows(f"SELECT {CONTRAST} {FROM} WHERE {NEWEST} AND {ARCHIVED} ORDER BY 1")
        return [made for row in found if (made := rows.contrast(row))]

    def versions(self, name: str) -> list[Contrast]:
        """Every version of one contrast, oldest first."""
        return [version.contrast for version in self.history(name)]

    def history(self, name: str) -> list[Version]:
        """Every version with what is known of its saving, oldest first; by any name that the contrast has or had."""
        return [version for _, version in self._history(name)]

    def names(self, name: str) -> list[str]:
        """The names that a contrast had before the one that it has now, by any of its names."""
        asked = f"SELECT first FROM {names.EVER} AS e WHERE name = ?"
        found = self.rows(f"{names.HELD} WHERE e.first IN ({asked}) ORDER BY e.name", [name])
        return [row["name"] for row in found if row["name"] != row["now"]]

    def _history(self, *asked: str) -> list[tuple[str, Version]]:
        """The same of several names, each version with the name that it was asked by, in one reading."""
        found = self.rows(
            f"SELECT e.name AS asked, {CONTRAST}, {CREATED}, checked, forked, writer {FROM} "
            f"JOIN {names.EVER} AS e ON e.first = c.name "
            f"WHERE e.name IN ({', '.join('?' for _ in asked)}) AND {COUNTED} ORDER BY c.version",
            list(asked),
        )
        by = [(row.pop("asked"), rows.version(row)) for row in found]
        return [(name, made) for name, made in by if made]

    def contrast(self, name: str, version: int | None = None) -> Contrast:
        """A saved contrast by name, its newest version unless one is given, as a number or as 'name@2'.

        A name that it had before leads to it too. Raises ContrastError.
        """
        numbered = NAMED.fullmatch(name) if version is None else None
        there = self._history(*{name, numbered["name"] if numbered else name})
        saved = [v.contrast for asked, v in there if asked == name]
        if not saved and numbered:
            saved, name, version = [v.contrast for _, v in there], numbered["name"], int(numbered["version"])
        if not saved:
            known = near(name[:MOST_NAME], [c.name for c in (*self.contrasts(), *self.archived())])
            raise ContrastError(f"no saved contrast {name[:MOST_NAME]!r}; {known}")
        asked = [c for c in saved if version in (None, c.version)]
        if not asked:
            numbers = ", ".join(str(c.version) for c in saved[-8:])
            raise ContrastError(f"no saved contrast {name!r} of version {version}; its versions: {numbers}")
        return asked[-1]

    def rename(self, name: str, new: str) -> str:
        """Call a contrast something else, with all its versions; returns the new name. Links to the old one go on.

        Raises ContrastError for a name that is taken, or may be taken for another; RoleError for viewers.
        """
        contrast = self.contrast(name)
        with self.write("rename a contrast", skeleton(new)) as execute:
            first = names.renamed(names.held(execute), contrast, new)
            marked(execute, names.KIND, first, new)
        return new

    def archive(self, name: str) -> str:
        """Put a contrast away, with all its versions; returns its name. `restore` brings it back.

        It is in no list any more; links to it go on.
        """
        return self._put(name, "archived", "archive a contrast")

    def restore(self, name: str) -> str:
        """Bring an archived contrast back; returns its name."""
        return self._put(name, "restored", "restore a contrast")

    def _put(self, name: str, state: str, act: str) -> str:
        name = self.contrast(name).name
        with self.write(act, skeleton(name)) as execute:
            first = next((h.first for h in names.held(execute) if h.name == h.now == name), name)
            if _archived(execute, first) == (state == "archived"):
                raise ContrastError(f"contrast {name!r} is {ALREADY[state]}")
            marked(execute, "contrast", first, state)
        return name

    # -- results -------------------------------------------------------------------------------------------------

    def result(self, key: str) -> object | None:
        """A cached result; None where there is none, or while the catalogue cannot be read, as `held` then tells."""
        return next(iter(self._payloads("key = ?", key)), None)

    def parts(self, key: str) -> list[object | None]:
        """The parts that are kept of a result which is not whole yet."""
        return self._payloads("starts_with(key, ?)", f"{key}.")

    def _payloads(self, condition: str, value: str) -> list[object | None]:
        try:
            found = self.rows(f"SELECT payload FROM result WHERE {condition}", [value])
        except StoreError:
            if self.held:
                return []
            raise
        return [rows.payload(row["payload"]) for row in found]

    def made(self, key: str) -> dict | None:
        """What a kept result was made of, and by whom: kind, run, contrast, content, version, code, author, created."""
        columns = f"kind, run, contrast, content, version, code, author, {CREATED}"
        found = self.rows(f"SELECT {columns} FROM result WHERE key = ?", [key])
        return found[0] if found else None

    def results(self, kind: str, run: str) -> list[dict]:
        """The results of one kind that are kept of a run, newest first: key, contrast, payload, created."""
        found = self.rows(
            f"SELECT key, contrast, payload, {CREATED} FROM result r WHERE kind = ? AND run = ? "
            "ORDER BY r.created DESC, key",
            [kind, run],
        )
        return [row | {"payload": rows.payload(row["payload"])} for row in found]

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
        part: str = "",
    ) -> None:
        """Cache a result under a key that names everything it depends on; the first one kept stays.

        content, version, code: the digest of the run, the version of the contrast and the key of the code that made it.
        part: names a part of a result that is not whole; the parts go when the whole is kept, or are a week old. Where
        there are more than MOST_RESULTS, or their payloads have more than MOST_BYTES, the oldest ones go, until a
        quarter of that is free. Raises RoleError for viewers.
        """
        moment = now()
        key, kind, gone = (f"{key}.{part}", PART, ()) if part else (key, kind, (f"{key}.", PART, moment - PART_LASTS))
        with self.write("keep a result") as execute:
            execute(
                "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [key, kind, run, contrast, json.dumps(payload), moment, content, version, code, execute.author],
            )
            share = 3 / 4 if execute(FULL, [MOST_RESULTS, MOST_BYTES])[0]["yes"] else 1
            if share < 1 or (gone and execute(GONE, [*gone])):
                self.database.evict(execute, int(MOST_RESULTS * share), int(MOST_BYTES * share))


def _archived(execute: Writing, name: str) -> bool:
    return bool(execute(f"SELECT 1 AS one FROM contrast c WHERE c.name = ? AND {ARCHIVED} LIMIT 1", [name]))
