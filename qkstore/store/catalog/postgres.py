"""A catalogue on PostgreSQL, for a team: the same statements as of the embedded one, with the server's own roles."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qkstore.errors import StoreError
from qkstore.store.catalog.database import Execute
from qkstore.store.catalog.embedded import Embedded
from qkstore.store.catalog.migrations import MIGRATION, MIGRATIONS, now
from qkstore.store.catalog.person import ROLES, Person, Role
from qkstore.store.catalog.rows import CREATED

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 5  # for a server to answer
KEPT = 4  # connections that wait for their next use
SCHEMA = "qkstore"
# What editors add to, and the columns that they fill in; `writer` is the server's. Migrations are the owner's alone.
APPENDED = {
    "contrast": 'name, version, "where", positive, negative, pairs, weighting, centring, description, author, created, '
    "checked, forked, space",
    "note": "note_id, run, subject, text, author, created",
    "result": "key, kind, run, contrast, payload, created, content, version, code, author",
    "mark": "kind, subject, version, state, author, created",
}
GIVEN = {"person": "email, version, role, author, created"}  # what admins add to
TABLES = APPENDED | GIVEN
OURS = dict.fromkeys(TABLES, "true") | {"mark": "kind <> 'run'"}  # which rows say that a catalogue is in use
MOST_RIGHTS = """
    SELECT session_user AS name, CASE
        WHEN has_any_column_privilege(session_user, 'person', 'INSERT') THEN 'admin'
        WHEN has_any_column_privilege(session_user, 'contrast', 'INSERT') THEN 'editor'
        WHEN has_table_privilege(session_user, 'contrast', 'SELECT') THEN 'viewer' END AS role
"""
EVICT = """
    DELETE FROM result WHERE key IN (
        SELECT key FROM (
            SELECT key, row_number() OVER younger AS place, sum(length(payload)) OVER younger AS size
            FROM result WINDOW younger AS (ORDER BY created DESC, key)) AS r
        WHERE place > ? OR size > ?)
"""


class Postgres:
    """The catalogue at a URL such as postgresql://alice@db.example.org/qkstore.

    The password comes from PGPASSWORD or ~/.pgpass, as with every program of PostgreSQL. Safe in threads. Raises
    StoreError, in one line, where the server is away, refuses the user, or holds a newer catalogue or none.
    """

    def __init__(self, url: str):
        self.url, self.told = url, _told(url)
        self.held: str | None = None  # why the server could not be reached when it was last asked
        self._idle: deque[psycopg.Connection] = deque()
        self._checked = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Postgres({self.told!r})"

    def rows(self, sql: str, parameters: list | None = None) -> list[dict]:
        """The rows of a SELECT."""
        with self.transaction() as execute:
            return execute(sql, parameters)

    @contextmanager
    def transaction(self, word: str = "", role: Role | None = None) -> Iterator[Execute]:
        """Statements that happen together or not at all; of one `word`, one transaction at a time.

        role: run them with the rights of this role, instead of the user's.
        """
        import psycopg

        with self._connection() as connection:
            try:
                with connection.transaction(), connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                    self._check_version(cursor)
                    if role:
                        cursor.execute(f"SET LOCAL ROLE qkstore_{role}")
                    if word:
                        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [word])

                    def execute(sql: str, parameters: list | None = None) -> list[dict]:
                        cursor.execute(sql.replace("?", "%s"), parameters or [])
                        return cursor.fetchall() if cursor.description else []

                    yield execute
            except psycopg.errors.InsufficientPrivilege:
                raise StoreError(
                    f"catalogue {self.told}: this user may read it and not do this; "
                    "ask for the role qkstore_editor (to save) or qkstore_admin"
                ) from None
            except psycopg.OperationalError as error:
                raise StoreError(f"catalogue {self.told} went away: {_first(error)}; try again") from None
            except psycopg.Error as error:
                raise StoreError(f"catalogue {self.told} refused it: {_first(error)}") from None

    def person(self) -> Person:
        """The user of the server, as whom this program logged in, with the highest role whose rights it has."""
        (row,) = self.rows(MOST_RIGHTS)
        return Person(row["name"], row["role"])

    def version(self) -> int:
        """How many migrations the catalogue has had."""
        return self.rows("SELECT coalesce(max(version), 0) AS version FROM migration")[0]["version"]

    def migrate(self) -> int:
        """Make the catalogue, or bring it up to date, with the three roles; returns its version. For its owner."""
        import psycopg

        with self._connection() as connection:
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
                    cursor.execute(MIGRATION)
                    cursor.execute("LOCK TABLE migration IN EXCLUSIVE MODE")  # two at once
                    done = self._done(cursor)
                    for number, statement in enumerate(MIGRATIONS[done:], start=done + 1):
                        cursor.execute(statement)
                        cursor.execute("INSERT INTO migration VALUES (%s, %s)", [number, now()])
                    _grant(cursor)
                    return self._done(cursor)
            except psycopg.Error as error:
                raise StoreError(f"catalogue {self.told} was not set up: {_first(error)}") from None

    def evict(self, execute: Execute, most: int, size: int) -> None:
        """Let the oldest results go until `most` are left, of `size` bytes together; within a transaction."""
        execute(EVICT, [most, size])

    def copy(self, target: Path) -> bool:
        """Copy what is in it, as of one moment, into a new file that Embedded opens."""
        self.version()  # asked before: a transaction of one moment begins with saying so
        with self.transaction() as read, Embedded(target).transaction() as write:
            read("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for table in TABLES:
                _insert(write, table, read(f"SELECT {columns_of(table)} FROM {table}"))
        return True

    def load(self, source: Path) -> None:
        """Take all that a catalogue's file holds into this one, which must be empty but for runs that were added.

        For the owner, who may say whom a row is from. Raises StoreError where there is something.
        """
        held = Embedded(source)
        with self.transaction("load") as write:
            self._check_empty(write)
            for run in held.rows("SELECT DISTINCT subject FROM mark WHERE kind = 'run'"):
                write("DELETE FROM mark WHERE kind = 'run' AND subject = ?", [run["subject"]])  # of its coming back
            for table in TABLES:
                _insert(write, table, held.rows(f"SELECT * FROM {table}"))

    def check_empty(self) -> None:
        """Raise StoreError where there is more in it than that runs were added."""
        with self.transaction() as read:
            self._check_empty(read)

    def _check_empty(self, read: Execute) -> None:
        if not read("SELECT has_table_privilege(session_user, 'migration', 'INSERT') AS owner")[0]["owner"]:
            raise StoreError(f"catalogue {self.told}: only its owner, who ran `qkstore init`, can restore into it")
        if there := [table for table in TABLES if read(f"SELECT 1 AS one FROM {table} WHERE {OURS[table]} LIMIT 1")]:
            raise StoreError(f"catalogue {self.told} is not empty: it holds rows of {', '.join(there)}")

    def close(self) -> None:
        """Let the connections go."""
        while self._idle:
            self._idle.pop().close()

    def _check_version(self, cursor) -> None:
        """Once a process; raises StoreError for a catalogue that this code does not know."""
        import psycopg

        if self._checked:
            return
        try:
            done = self._done(cursor)
        except psycopg.errors.UndefinedTable:  # PostgreSQL says the same of a schema that is not to be seen
            raise StoreError(
                f"catalogue {self.told} is not set up yet: its owner runs `qkstore init`; "
                "or this user has no role in it: GRANT qkstore_viewer TO …"
            ) from None
        if done < len(MIGRATIONS):
            raise StoreError(
                f"catalogue {self.told} is of version {done}, this qkstore needs {len(MIGRATIONS)}: "
                "its owner runs `qkstore init`"
            )
        self._checked = True

    def _done(self, cursor) -> int:
        row = cursor.execute("SELECT coalesce(max(version), 0) AS version FROM migration").fetchone()
        done = row["version"] if isinstance(row, dict) else row[0]
        if done > len(MIGRATIONS):
            raise StoreError(
                f"catalogue {self.told} is of version {done}, "
                f"this qkstore reads up to {len(MIGRATIONS)}: upgrade qkstore"
            )
        return done

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        connection = self._taken() or self._connected()
        try:
            yield connection
        finally:
            if connection.closed or len(self._idle) >= KEPT:
                connection.close()
            else:
                self._idle.append(connection)

    def _taken(self) -> psycopg.Connection | None:
        """A connection that waited, and that the server still knows."""
        import psycopg

        while self._idle:
            try:
                connection = self._idle.pop()
                connection.execute("SELECT 1")
                return connection
            except (IndexError, psycopg.Error):  # another thread was faster; the server was started anew
                continue
        return None

    def _connected(self) -> psycopg.Connection:
        try:
            import psycopg
        except ImportError:
            raise StoreError("a catalogue on PostgreSQL needs psycopg: pip install 'qkstore[team]'") from None
        try:
            connection = psycopg.connect(
                self.url,
                autocommit=True,
                connect_timeout=CONNECT_S,
                application_name="qkstore",
                options=f"-c search_path={SCHEMA} -c default_transaction_isolation=read\\ committed",
            )
        except psycopg.Error as error:
            self.held = f"catalogue {self.told} cannot be reached: {_first(error)}"
            raise StoreError(self.held) from None
        self.held = None
        return connection


def _grant(cursor) -> None:
    """Make the roles and give them their rights; a role that is there is left as it is."""
    for role in ROLES:
        cursor.execute(
            f"DO $$ BEGIN CREATE ROLE qkstore_{role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        cursor.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO qkstore_{role}")
    cursor.execute("GRANT qkstore_viewer TO qkstore_editor")
    cursor.execute("GRANT qkstore_editor TO qkstore_admin")
    cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO qkstore_viewer")
    for role, tables in (("editor", APPENDED), ("admin", GIVEN)):
        for table, columns in tables.items():
            cursor.execute(f"REVOKE INSERT ON {table} FROM qkstore_editor")  # of all columns, as before version 2
            cursor.execute(f"GRANT INSERT ({columns}) ON {table} TO qkstore_{role}")
            cursor.execute(f"REVOKE UPDATE ON {table} FROM qkstore_admin")
            cursor.execute(f"GRANT UPDATE ({columns}), DELETE ON {table} TO qkstore_admin")
    cursor.execute("GRANT DELETE ON result TO qkstore_editor")  # the least used make room


def columns_of(table: str) -> str:
    """The columns of a table as they are copied, with times that every program can hold."""
    return (TABLES[table] + (", writer" if table != "result" else "")).replace("created", CREATED)


def _insert(write: Execute, table: str, rows: list[dict]) -> None:
    """Write rows as they are."""
    for row in rows:
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join("?" for _ in row)
        write(f"INSERT INTO {table} ({names}) VALUES ({values})", list(row.values()))


def _told(url: str) -> str:
    """How the catalogue is called: its database and host."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.path.strip('/') or 'postgres'} on {parts.hostname or 'this machine'}"


def _first(error: Exception) -> str:
    """The server's words in one line, without the address that it was reached at."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return said.split("failed: ")[-1].removeprefix("FATAL:").strip()
