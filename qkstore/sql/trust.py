"""A database file from elsewhere: opened so that it reaches no other file, and asked what it holds.

Such a file is not trusted: a view, a macro or a default in it is SQL that its maker wrote, and a name may be SQL too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import duckdb

from qkstore.errors import StoreError

ENDS = "ends the program that reads it"  # a file of bytes that DuckDB does not survive
ALIAS = "file"  # what the attached file is called in SQL, whatever its own name is
SETTINGS = {  # of every connection to such a file
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "threads": "1",  # one thread reads a head fastest
    "temp_directory": "",  # else a large sort would spill into a folder of the working directory
    "disabled_optimizers": "common_subplan",  # which in 1.5.1 to 1.5.5 gives wrong rows of some UNION ALL
}
LOCKED = {**SETTINGS, "enable_external_access": "false", "lock_configuration": "true"}

# Every function of the catalogue is named in full, so that none in a file poses as it; no other function is called.
OBJECTS = """
SELECT database_name, 'schema', schema_name FROM system.main.duckdb_schemas() WHERE NOT internal
UNION ALL SELECT database_name, 'view', view_name FROM system.main.duckdb_views() WHERE NOT internal
UNION ALL SELECT database_name, 'sequence', sequence_name FROM system.main.duckdb_sequences()
UNION ALL SELECT database_name, 'index', index_name FROM system.main.duckdb_indexes()
UNION ALL SELECT database_name, 'type', type_name FROM system.main.duckdb_types() WHERE NOT internal
UNION ALL SELECT database_name, 'macro', function_name FROM system.main.duckdb_functions() WHERE NOT internal
"""
TABLES = """
SELECT database_name, table_name, sql, column_count FROM system.main.duckdb_tables() WHERE NOT internal
ORDER BY table_name
"""
TABLE = re.compile(r'CREATE TABLE ("?)(\w+)\1\((.*)\);', re.ASCII | re.DOTALL)
COLUMN = re.compile(r'("?)([A-Za-z_][A-Za-z0-9_]{0,62})\1 ([A-Z]+(?:\[[0-9]*\])?)', re.ASCII)


class Listing(NamedTuple):
    """What one file holds: the kind and the name of something that is no table, and (name, statement, columns) of each.

    A statement is what makes the table, which shows all that is in it; the file's own name is left out.
    """

    other: tuple[str, str] | None
    tables: list[tuple[str, str, int]]


def locked(reach: Sequence[Path] | Path, **more: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, to which files can be attached: those of a folder, or the ones named, and no others.

    A file that is opened directly shares a database, and its settings, with any other connection of this process to it:
    a notebook's would be locked with ours. more: settings, beside SETTINGS.
    """
    files = "directories" if isinstance(reach, Path) else "paths"
    several = [reach] if isinstance(reach, Path) else reach
    connection = duckdb.connect(config={**SETTINGS, **more})
    try:
        quiet(connection)
        connection.execute(f"SET allowed_{files} = [{', '.join(text(str(path)) for path in several)}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def quiet(connection: duckdb.DuckDBPyConnection) -> None:
    """Switch off DuckDB's own progress, which it shows by itself in notebooks and `python -c`, among what these print.

    Where it is off it is left alone: in a notebook without ipywidgets DuckDB refuses to have it set, even to off.
    """
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar = false")


def with_log(file: Path) -> tuple[Path, Path]:
    """A file and its log of changes, which DuckDB reads where there is one; raises duckdb.IOException for a log that is
    no file: a pipe would be waited for, and a device be read without end."""
    before, mark, after = str(file).partition("?")  # DuckDB looks before a question mark
    log = Path(f"{before}.wal{mark}{after}")
    if log.exists() and not log.is_file():
        raise duckdb.IOException(f"its log of changes, {log.name}, is no file")
    return file, log


def attached(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection that has the file at `path` read-only as `file`, and reaches no other file; raises duckdb.Error."""
    place = path.resolve()  # a link is followed first: DuckDB allows the file by the path it really has
    connection = locked(with_log(place))
    try:
        connection.execute(f"ATTACH {text(str(place))} AS {ALIAS} (READ_ONLY, TYPE duckdb)")
    except BaseException:
        connection.close()
        raise
    return connection


def text(value: str) -> str:
    """A text as SQL reads it back."""
    return "'" + value.replace("'", "''") + "'"


def listings(connection: duckdb.DuckDBPyConnection) -> dict[str, Listing]:
    """{name of an attached file: what it holds}, without those that hold nothing.

    Nothing of a file may be named before this: no cursor that uses one may ask it.
    """
    found = {name: Listing((kind, other), []) for name, kind, other in connection.execute(OBJECTS).fetchall()[::-1]}
    for name, table, sql, count in connection.execute(TABLES).fetchall():
        found.setdefault(name, Listing(None, [])).tables.append((table, _without(name, sql), count))
    return found


def _without(name: str, sql: str) -> str:
    """The statement that makes a table, without the name of the database that it is in."""
    return re.sub(rf"^CREATE TABLE {re.escape(name)}\.", "CREATE TABLE ", sql)


def tables(listing: Listing, what: str) -> dict[str, dict[str, str]]:
    """{table: {column: its DuckDB type}} of a file that holds nothing but tables of plain columns.

    Raises StoreError, which begins with `what` ('run file a.duckdb'), for anything else: a view, macro, sequence, type,
    index or further schema; a constraint, a default, a computed column; a name that is no identifier.
    """
    if listing.other:
        raise _no_table(listing.other, what)
    return {name: _columns(name, sql, count, what) for name, sql, count in listing.tables}


def check_plain(connection: duckdb.DuckDBPyConnection, what: str) -> None:
    """Raise StoreError, which begins with `what`, where a file holds a view, a macro, or what else is no table."""
    row = connection.execute(OBJECTS).fetchone()
    if row:
        raise _no_table(row[1:], what)


def _no_table(other: tuple[str, str], what: str) -> StoreError:
    return StoreError(f"{what} holds a {other[0]}, {short(other[1])}; it may hold tables alone, so it is not opened")


def _columns(table: str, sql: str, count: int, what: str) -> dict[str, str]:
    """{column: type} from the statement that makes a table, which shows all that is in it."""
    made = TABLE.fullmatch(sql)
    if not made or made[2] != table:
        raise StoreError(f"{what} holds a table {short(table)}, whose name is no identifier; it is not opened")
    found = {}
    for part in made[3].split(", "):
        column = COLUMN.fullmatch(part)
        if not column:
            raise StoreError(
                f"{what} holds a column that a run cannot have, {short(part)} of table {table}; it is not opened"
            )
        found[column[2]] = column[3]
    if len(found) != count:
        raise StoreError(f"{what} holds a table {table} of {count} columns, of which {len(found)} could be read")
    return found


def short(value: str, most: int = 60) -> str:
    """A name from a file, fit for one line."""
    return repr(value if len(value) <= most else value[:most] + "…")


def check_made_by(connection: duckdb.DuckDBPyConnection, what: str, statements: Sequence[str]) -> None:
    """Raise StoreError unless the tables of a plain file are those that some first of these statements make.

    For a catalogue: what its migrations make, each one after the one before. The catalogue's own file may be attached
    or opened directly; `check_plain` is for the caller to ask first.
    """
    found = _statements(connection)
    stages = [_made(tuple(statements[:n])) for n in range(len(statements) + 1)]
    if found not in stages:
        other = sorted(name for name, sql in found.items() if sql != stages[-1].get(name))
        other = other or sorted(stages[-1].keys() - found.keys())
        raise StoreError(
            f"{what} is of another program, or of a newer qkstore: this one makes no table {short(other[0])} as it has"
        )


@lru_cache(16)  # migrations, a stage each
def _made(statements: tuple[str, ...]) -> dict[str, str]:
    """{table: the statement that DuckDB gives of it} after these statements."""
    with duckdb.connect(config=dict(LOCKED)) as connection:
        for statement in statements:
            connection.execute(statement)
        return _statements(connection)


def _statements(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {table: _without(name, sql) for name, table, sql, _ in connection.execute(TABLES).fetchall()}
