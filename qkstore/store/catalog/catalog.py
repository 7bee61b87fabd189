"""The catalogue: the part of a store that changes, its contrasts and kept results, in a file or on a server."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from qkstore.contrast import Contrast
from qkstore.contrast.name import check
from qkstore.errors import ContrastError, StoreError, near
from qkstore.store.catalog.embedded import Embedded, Execute
from qkstore.store.catalog.migrations import now

CONTRAST = 'name, version, "where", positive, negative, pairs, weighting, centring, description, author'

# Scores of a model with 1,000 heads take half a MB, those of a toy head 1 kB: room for the runs of years, in a file
# that is copied in an instant where another program holds it.
MOST_RESULTS, MOST_BYTES = 20_000, 64 << 20
FULL = "SELECT count(*) > ? OR sum(length(payload)) > ? AS yes FROM result"  # JSON is ASCII: its length is its bytes


class Database(Protocol):
    """Where a catalogue is kept: Embedded or Postgres.

    held: a line that says why it cannot be written now; else None. rows: of a SELECT, whose parameters are ?.
    transaction: statements that happen together or not at all; of one word, one at a time. copy: into a new file that
    Embedded opens; False where there is nothing yet. evict: in a transaction, let the oldest results go until `most`
    are left, of `size` bytes together.
    """

    held: str | None

    def rows(self, sql: str, parameters: list | None = None) -> list[dict]: ...
    def transaction(self, word: str = "") -> AbstractContextManager[Execute]: ...
    def version(self) -> int: ...
    def copy(self, target: Path) -> bool: ...
    def evict(self, execute: Execute, most: int, size: int) -> None: ...


class Catalog:
    """The mutable part of a store, at the path of a DuckDB file or in another Database."""

    def __init__(self, where: str | Path | Database):
        self.database = Embedded(where) if isinstance(where, (str, Path)) else where

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

    # -- contrasts -----------------------------------------------------------------------------------------------

    def save(self, contrast: Contrast) -> Contrast:
        """Save as the next version of its name, and return it with that version; nothing is overwritten.

        Raises ContrastError for a name that is taken, or may be taken for another, and for texts that are too long;
        GuardError for predicates that cannot be parsed.
        """
        check(contrast)
        contrast.sentence()  # what cannot be read back would be in the way of every list of contrasts
        with self.database.transaction(contrast.name) as execute:
            check(contrast, [row["name"] for row in execute("SELECT DISTINCT name FROM contrast")])
            (newest,) = execute(
                "SELECT coalesce(max(version), 0) AS version FROM contrast WHERE name = ?", [contrast.name]
            )
            saved = contrast.replace(version=newest["version"] + 1)
            fields = saved.to_dict() | {"created": now()}
            names = ", ".join(f'"{name}"' for name in fields)
            execute(f"INSERT INTO contrast ({names}) VALUES ({', '.join('?' for _ in fields)})", list(fields.values()))
        return saved

    def contrasts(self) -> list[Contrast]:
        """The newest version of every saved contrast, by name."""
        rows = self.database.rows(
            f"SELECT {CONTRAST} FROM contrast c "
            "WHERE version = (SELECT max(version) FROM contrast o WHERE o.name = c.name) ORDER BY name"
        )
        return [Contrast(**row) for row in rows]

    def versions(self, name: str) -> list[Contrast]:
        """Every version of one contrast, oldest first."""
        return [
            Contrast(**row)
            for row in self.database.rows(f"SELECT {CONTRAST} FROM contrast WHERE name = ? ORDER BY version", [name])
        ]

    def contrast(self, name: str, version: int | None = None) -> Contrast:
        """A saved contrast by name, its newest version unless one is given; raises ContrastError."""
        saved = [c for c in self.versions(name) if version in (None, c.version)]
        if not saved:
            raise ContrastError(
                f"no saved contrast {name!r}{f' of version {version}' if version else ''}; "
                f"{near(name, [c.name for c in self.contrasts()])}"
            )
        return saved[-1]

    # -- results -------------------------------------------------------------------------------------------------

    def result(self, key: str) -> object | None:
        """A cached result; None where there is none, or while the catalogue cannot be read, as `held` then tells."""
        try:
            rows = self.database.rows("SELECT payload FROM result WHERE key = ?", [key])
        except StoreError:
            if self.held:
                return None
            raise
        return json.loads(rows[0]["payload"]) if rows else None

    def results(self, kind: str, run: str) -> list[dict]:
        """The results of one kind that are kept of a run, newest first: key, contrast, payload, created."""
        rows = self.database.rows(
            "SELECT key, contrast, payload, created FROM result WHERE kind = ? AND run = ? ORDER BY created DESC, key",
            [kind, run],
        )
        return [row | {"payload": json.loads(row["payload"])} for row in rows]

    def keep_result(self, key: str, kind: str, run: str, contrast: str, payload: object) -> None:
        """Cache a result under a key that names everything it depends on; the first one kept stays.

        Where there are more than MOST_RESULTS, or their payloads have more than MOST_BYTES, the oldest ones go, until
        a quarter of that is free.
        """
        with self.database.transaction() as execute:
            execute(
                "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [key, kind, run, contrast, json.dumps(payload), now()],
            )
            if execute(FULL, [MOST_RESULTS, MOST_BYTES])[0]["yes"]:
                self.database.evict(execute, MOST_RESULTS * 3 // 4, MOST_BYTES * 3 // 4)
