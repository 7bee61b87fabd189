"""The catalogue: contrasts and cached results, in one small DuckDB file that is opened for one operation at a time.

Where another program holds the file, readers go on with a copy of it, and writers give up after seconds.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from qkstore.contrast import Contrast
from qkstore.contrast.builtin import taken
from qkstore.errors import ContrastError, StoreError, near
from qkstore.run.schema import NOT_WRITTEN
from qkstore.store.held import busy, copied, elsewhere, holder

READ_S, WRITE_S = 1.0, 5.0  # how long an operation waits for the file; others of qkstore hold it for milliseconds
MAKING_S = 2.0  # a file that is no catalogue, and younger than this, is one that another process is about to write
_turns: dict[str, threading.RLock] = {}  # one turn a file: a process may not open it twice with different settings
_turns_guard = threading.Lock()


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Catalog:
    """The mutable part of a store. Nothing is held open: other processes get their turn between any two calls.

    held: a line that names the program which holds the file, where the last reading was of a copy; else None.
    """

    def __init__(self, path: str | Path):
        self.path, self.held = Path(path), None
        with _turns_guard:
            self._turn = _turns.setdefault(str(self.path.resolve()), threading.RLock())

    # -- contrasts -----------------------------------------------------------------------------------------------

    def save(self, contrast: Contrast) -> Contrast:
        """Save as the next version of its name, and return it with that version; nothing is overwritten.

        Raises ContrastError for a name that is taken, GuardError for predicates that cannot be parsed.
        """
        if taken(contrast.name) or not contrast.name.strip() or not contrast.name.isprintable():
            raise ContrastError(
                f"contrast name {contrast.name!r} is taken by a built-in, empty or unprintable; choose another"
            )
        contrast.sentence()  # what cannot be read back would be in the way of every list of contrasts
        with self._open(write=True) as con:
            con.execute("BEGIN")
            (version,) = con.execute(
                "SELECT coalesce(max(version), 0) + 1 FROM contrast WHERE name = ?", [contrast.name]
            ).fetchone()
            saved = contrast.replace(version=version)
            fields = saved.to_dict() | {"created": now()}
            names = ", ".join(f'"{name}"' for name in fields)
            con.execute(
                f"INSERT INTO contrast ({names}) VALUES ({', '.join('?' for _ in fields)})", list(fields.values())
            )
            con.execute("COMMIT")
        return saved

    def contrasts(self) -> list[Contrast]:
        """The newest version of every saved contrast, by name."""
        rows = self._select(
            "SELECT * EXCLUDE (created) FROM contrast "
            "QUALIFY version = max(version) OVER (PARTITION BY name) ORDER BY name"
        )
        return [Contrast(**row) for row in rows]

    def versions(self, name: str) -> list[Contrast]:
        """Every version of one contrast, oldest first."""
        return [
            Contrast(**row)
            for row in self._select("SELECT * EXCLUDE (created) FROM contrast WHERE name = ? ORDER BY version", [name])
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
        """A cached result, or None."""
        rows = self._select("SELECT payload FROM result WHERE key = ?", [key])
        return json.loads(rows[0]["payload"]) if rows else None

    def results(self, kind: str, run: str) -> list[dict]:
        """The results of one kind that are kept of a run, newest first: key, contrast, payload, created."""
        rows = self._select(
            "SELECT key, contrast, payload, created FROM result WHERE kind = ? AND run = ? ORDER BY created DESC, key",
            [kind, run],
        )
        return [row | {"payload": json.loads(row["payload"])} for row in rows]

    def keep_result(self, key: str, kind: str, run: str, contrast: str, payload: object) -> None:
        """Cache a result under a key that names everything it depends on; the first one kept stays."""
        with self._open(write=True) as con:
            con.execute(
                "INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?, ?, ?)",
                [key, kind, run, contrast, json.dumps(payload), now()],
            )

    # -- the file ------------------------------------------------------------------------------------------------

    def version(self) -> int:
        """How many migrations the file has had; 0 where there is no file yet."""
        return (
            self._select("SELECT coalesce(max(version), 0) AS version FROM migration")[0]["version"]
            if self.path.exists()
            else 0
        )

    def copy(self, target: Path) -> bool:
        """Copy the file while nobody can change it; False where there is none yet."""
        if not self.path.exists():
            return False
        with self._open(write=True) as con:
            con.execute("CHECKPOINT")
            shutil.copyfile(self.path, target)
        return True

    def _select(self, sql: str, parameters: list | None = None) -> list[dict]:
        if not self.path.exists():
            return []
        with self._open(write=False) as con:
            cursor = con.execute(sql, parameters or [])
            names = [d[0] for d in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def _open(self, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with self._taken(write) as con:
                if write:
                    _migrate(con, self.path)
                if _version(con, self.path) == len(MIGRATIONS):
                    yield con
                    return
            with self._taken(write=True) as con:  # an older catalogue is brought up to date before it is read
                _migrate(con, self.path)
                yield con
        except NOT_WRITTEN as error:
            raise StoreError(
                f"catalogue {self.path.name} was not {'written' if write else 'read'}: {str(error).splitlines()[0]}"
            ) from None

    @contextmanager
    def _taken(self, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """The file, waited for while another process has it; a copy of it where a reader has waited long enough.

        No one waits with the turn in hand, so waiters do not add up. The waits grow and are random, so that no process
        waits for ever; a reader who has waited once does not wait again until the file is free.
        """
        until, wait = time.monotonic() + (WRITE_S if write else 0 if self.held else READ_S), 0.005
        while True:
            with self._turn:
                con, error = self._connect(write)
                if con:
                    self.held = None
                    with con:
                        yield con
                    return
                if busy(error) and time.monotonic() > until:
                    with self._copied(error, write) as con:
                        yield con
                    return
            time.sleep(random.uniform(0, wait))
            wait = min(wait * 1.5, 0.25)

    def _connect(self, write: bool) -> tuple[duckdb.DuckDBPyConnection | None, Exception | None]:
        """A connection, or why there is none yet; raises StoreError where waiting would not help."""
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            return duckdb.connect(str(self.path), read_only=not write, config={"threads": "1"}), None
        except (duckdb.IOException, duckdb.ConnectionException, OSError) as error:
            if busy(error) or self._being_made(error):
                return None, error
            raise StoreError(f"catalogue {self.path.name} cannot be opened: {str(error).splitlines()[0]}") from None

    @contextmanager
    def _copied(self, error: Exception, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A copy to read from; raises StoreError for writers, and where this process itself holds the file."""
        who = holder(error)
        if write or not elsewhere(error):
            raise StoreError(f"catalogue {self.path.name} is held open by {who}; close it there, then try again")
        with copied(self.path) as con:
            _migrate(con, self.path)
            self.held = (
                f"catalogue {self.path.name} is held open by {who}: "
                "what was last written to it is shown, and nothing can be saved until it is closed there"
            )
            yield con

    def _being_made(self, error: Exception) -> bool:
        """Whether another process has made the file and not yet written its first blocks."""
        if "not a valid DuckDB" not in str(error):
            return False
        try:
            return time.time() - self.path.stat().st_mtime < MAKING_S
        except FileNotFoundError:  # it was put away since: the next look makes or finds another
            return True


def _version(con, path: Path) -> int:
    """How many migrations the file has had; raises StoreError where a newer qkstore wrote it."""
    exists = con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migration'").fetchone()[0]
    version = con.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()[0] if exists else 0
    if version > len(MIGRATIONS):
        raise StoreError(
            f"catalogue {path.name} is of version {version}, "
            f"this qkstore reads up to {len(MIGRATIONS)}: upgrade qkstore"
        )
    return version


def _migrate(con, path: Path) -> None:
    """Apply the migrations that the file has not had, each with its record in one transaction."""
    done = _version(con, path)
    for number, statement in enumerate(MIGRATIONS[done:], start=done + 1):
        con.execute("BEGIN")
        con.execute("CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied TIMESTAMP NOT NULL)")
        con.execute(statement)
        con.execute("INSERT INTO migration VALUES (?, ?)", [number, now()])
        con.execute("COMMIT")


# The catalogue. A migration is never edited once released: the next change is the next entry.
# Nothing reads or writes notes; their table stays, since dropping it would lose what older code may have kept there.
MIGRATIONS = [
    """
    CREATE TABLE contrast (
        name VARCHAR NOT NULL, version INTEGER NOT NULL, "where" VARCHAR, positive VARCHAR, negative VARCHAR, \
pairs VARCHAR,
        weighting VARCHAR NOT NULL, centring VARCHAR NOT NULL, description VARCHAR NOT NULL, author VARCHAR NOT NULL,
        created TIMESTAMP NOT NULL, PRIMARY KEY (name, version));
    CREATE TABLE note (
        note_id VARCHAR PRIMARY KEY, run VARCHAR NOT NULL, subject VARCHAR NOT NULL, text VARCHAR NOT NULL, \
author VARCHAR NOT NULL,
        created TIMESTAMP NOT NULL);
    CREATE TABLE result (
        key VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, run VARCHAR NOT NULL, contrast VARCHAR NOT NULL, \
payload VARCHAR NOT NULL,
        created TIMESTAMP NOT NULL)
    """,
]
