"""A catalogue in one small DuckDB file, opened for one operation at a time: other processes get their turn between.

Where another program holds the file, readers go on with a copy of it, and writers give up after seconds.
"""

from __future__ import annotations

import getpass
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from qkstore.errors import StoreError
from qkstore.run.file import first_line
from qkstore.run.schema import NOT_WRITTEN
from qkstore.sql import trust
from qkstore.store.catalog.database import Execute
from qkstore.store.catalog.held import busy, copied, elsewhere, holder
from qkstore.store.catalog.migrations import MIGRATION, MIGRATIONS, now
from qkstore.store.catalog.person import Person, Role

READ_S, WRITE_S = 1.0, 10.0  # how long an operation waits for the file; others of qkstore hold it for milliseconds
# Each commit is a checkpoint, and whole without a log beside the file: DuckDB cannot read back a log in which a default
# is set and a column added, which a killed migration would leave.
CONFIG = {**trust.LOCKED, "checkpoint_threshold": "0KB"}
MAKING_S = 2.0  # a file that is no catalogue, and younger than this, is one that another process is about to write
_turns: dict[str, threading.RLock] = {}  # one turn a file: a process may not open it twice with different settings
_turns_guard = threading.Lock()


# A new table instead of a DELETE, after which DuckDB would not use the place of the rows again: the file would grow.
EVICT = (
    """
    CREATE TABLE newest (
        key VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, run VARCHAR NOT NULL, contrast VARCHAR NOT NULL,
        payload VARCHAR NOT NULL, created TIMESTAMP NOT NULL,
        content VARCHAR, version INTEGER, code VARCHAR, author VARCHAR)
    """,
    """
    INSERT INTO newest SELECT key, kind, run, contrast, payload, created, content, version, code, author FROM (
        SELECT *, row_number() OVER younger AS place, sum(length(payload)) OVER younger AS size
        FROM result WINDOW younger AS (ORDER BY created DESC, key)) AS r
    WHERE place <= ? AND size <= ?
    """,
    "DROP TABLE result",
    "ALTER TABLE newest RENAME TO result",
)


class Embedded:
    """The file at `path`; it is made when something is written.

    held: a line that names the program which holds the file, where the last reading was of a copy; else None.
    """

    def __init__(self, path: str | Path):
        self.path, self.held = Path(path), None
        self._known: tuple | None = None  # the state of the file in which it was found to be a catalogue
        with _turns_guard:
            self._turn = _turns.setdefault(str(self.path.resolve()), threading.RLock())

    def rows(self, sql: str, parameters: list | None = None) -> list[dict]:
        """The rows of a SELECT; none where there is no file yet."""
        if not self.path.exists():
            return []
        with self._open(write=False) as con:
            return _rows(con, sql, parameters)

    @contextmanager
    def transaction(self, word: str = "", role: Role | None = None) -> Iterator[Execute]:
        """Statements that happen together or not at all, one transaction of the file at a time; a file has no roles."""
        with self._open(write=True) as con:
            con.execute("BEGIN")
            yield lambda sql, parameters=None: _rows(con, sql, parameters)
            con.execute("COMMIT")

    def person(self) -> Person:
        """The user of this program, who may do everything with a file: the folder's own rights say who may write it."""
        try:
            return Person(getpass.getuser(), "admin")
        except (KeyError, OSError, ImportError):  # a container's number without a name
            return Person("", "admin")

    def evict(self, execute: Execute, most: int, size: int) -> None:
        """Let the oldest results go until `most` are left, of `size` bytes together; within a transaction."""
        for statement in EVICT:
            execute(statement, [most, size] if "?" in statement else [])

    def version(self) -> int:
        """How many migrations the file has had; 0 where there is no file yet."""
        return (
            self.rows("SELECT coalesce(max(version), 0) AS version FROM migration")[0]["version"]
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

    @contextmanager
    def _open(self, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with self._taken(write) as con:
                if write:
                    _migrate(con, self.path)
                if _version(con, self.path) == len(MIGRATIONS):
                    yield con
                    return
            if not write and not os.access(self.path, os.W_OK):  # who may not write it reads a copy that is up to date
                with copied(self.path) as con:
                    self._check(con)
                    _migrate(con, self.path)
                    yield con
                    return
            with self._taken(write=True) as con:  # an older catalogue is brought up to date before it is read
                _migrate(con, self.path)
                yield con
        except (*NOT_WRITTEN, duckdb.Error) as error:
            raise StoreError(
                f"catalogue {self.path.name} was not {'written' if write else 'read'}: {first_line(str(error))}"
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
            for path in (self.path, self.path.with_name(self.path.name + ".wal")):
                if path.exists() and not path.is_file():  # a pipe would be waited for
                    raise StoreError(f"catalogue {self.path.name} cannot be opened: {path.name} is no file")
            con = duckdb.connect(str(self.path), read_only=not write, config=dict(CONFIG))
        except (duckdb.IOException, duckdb.ConnectionException, OSError) as error:
            if busy(error) or self._being_made(error):
                return None, error
            raise StoreError(f"catalogue {self.path.name} cannot be opened: {first_line(str(error))}") from None
        self._check(con)
        return con, None

    def _check(self, con: duckdb.DuckDBPyConnection) -> None:
        """Close the connection and raise StoreError where the file holds what no catalogue of ours does."""
        stat, what = self.path.stat(), f"catalogue {self.path.name}"
        state = stat.st_ino, stat.st_mtime_ns, stat.st_size
        if state == self._known:
            return
        try:
            trust.check_plain(con, what)  # first: no macro can then pose as a function
            _version(con, self.path)  # a newer one is told as such
            trust.check_made_by(con, what, [MIGRATION, *MIGRATIONS])
        except BaseException:
            con.close()
            raise
        self._known = state

    @contextmanager
    def _copied(self, error: Exception, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A copy to read from; raises StoreError for writers, and where this process itself holds the file."""
        who = holder(error)
        if write or not elsewhere(error):
            raise StoreError(f"catalogue {self.path.name} is held open by {who}; close it there, then try again")
        with copied(self.path) as con:
            self._check(con)
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
    exists = ("migration",) in con.execute("SELECT table_name FROM system.main.duckdb_tables()").fetchall()
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
        con.execute(MIGRATION)
        con.execute(statement)
        con.execute("INSERT INTO migration VALUES (?, ?)", [number, now()])
        con.execute("COMMIT")


def _rows(con, sql: str, parameters: list | None) -> list[dict]:
    cursor = con.execute(sql, parameters or [])
    names = [d[0] for d in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
