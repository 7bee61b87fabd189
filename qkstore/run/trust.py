"""A database file from elsewhere: opened so that it reaches no other file, and asked what it holds.

Such a file is not trusted: a view, a macro or a default in it is SQL that its maker wrote, and a name may be SQL too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import duckdb

from qkstore.errors import StoreError

ALIAS = "file"  # what the attached file is called in SQL, whatever its own name is
SETTINGS = {  # of every connection to such a file
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "threads": "1",  # one thread reads a head fastest
    "temp_directory": "",  # else a large sort would spill into a folder of the working directory
}
LOCKED = {**SETTINGS, "enable_external_access": "false", "lock_configuration": "true"}

# Every function of the catalogue is named in full, so that none in the file poses as it; no other function is called.
OBJECTS = """
SELECT 'schema', schema_name FROM system.main.duckdb_schemas() WHERE NOT internal
UNION ALL SELECT 'view', view_name FROM system.main.duckdb_views() WHERE NOT internal
UNION ALL SELECT 'sequence', sequence_name FROM system.main.duckdb_sequences()
UNION ALL SELECT 'index', index_name FROM system.main.duckdb_indexes()
UNION ALL SELECT 'type', type_name FROM system.main.duckdb_types() WHERE NOT internal
UNION ALL SELECT 'macro', function_name FROM system.main.duckdb_functions() WHERE NOT internal
"""
TABLES = "SELECT table_name, sql, column_count FROM system.main.duckdb_tables() WHERE NOT internal ORDER BY table_name"
TABLE = re.compile(r'CREATE TABLE (?:file\.)?("?)(\w+)\1\((.*)\);', re.ASCII | re.DOTALL)
COLUMN = re.compile(r'("?)([A-Za-z_][A-Za-z0-9_]{0,62})\1 ([A-Z]+(?:\[[0-9]*\])?)', re.ASCII)


def attached(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection that has the file at `path` read-only as `file`, and can reach no other file.

    It is attached to a database of its own. To open it directly would be to share a database, and its settings, with
    any other connection of this process to the same file: a notebook's would be locked with ours. Raises duckdb.Error.
    """
    place = str(path.resolve())  # a link is followed first: DuckDB allows the file by the path it really has
    before, mark, after = place.partition("?")  # DuckDB looks whether there is a log of changes, before a question mark
    log = Path(f"{before}.wal{mark}{after}")
    if log.exists() and not log.is_file():  # a pipe would be waited for, and a device be read without end
        raise duckdb.IOException(f"its log of changes, {log.name}, is no file")
    own = ", ".join(map(text, (place, str(log))))
    connection = duckdb.connect(config=dict(SETTINGS))
    try:
        connection.execute(f"SET allowed_paths = [{own}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        connection.execute(f"ATTACH {text(place)} AS {ALIAS} (READ_ONLY, TYPE duckdb)")
    except BaseException:
        connection.close()
        raise
    return connection


def text(value: str) -> str:
    """A text as SQL reads it back."""
    return "'" + value.replace("'", "''") + "'"


def tables(connection: duckdb.DuckDBPyConnection, what: str) -> dict[str, dict[str, str]]:
    """{table: {column: its DuckDB type}} of a file that holds nothing but tables of plain columns.

    Raises StoreError, which begins with `what` ('run file a.duckdb'), for anything else: a view, macro, sequence, type,
    index or further schema; a constraint, a default, a computed column; a name that is no identifier.
    """
    check_plain(connection, what)
    return {name: _columns(name, sql, count, what) for name, sql, count in connection.execute(TABLES).fetchall()}


def check_plain(connection: duckdb.DuckDBPyConnection, what: str) -> None:
    """Raise StoreError, which begins with `what`, where a file holds a view, a macro, or what else is no table."""
    row = connection.execute(OBJECTS).fetchone()
    if row:
        raise StoreError(f"{what} holds a {row[0]}, {short(row[1])}; it may hold tables alone, so it is not opened")


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
    found = {name: sql.replace(f" {ALIAS}.", " ", 1) for name, sql, _ in connection.execute(TABLES).fetchall()}
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
        return {name: sql for name, sql, _ in connection.execute(TABLES).fetchall()}
