"""A run file, opened: its connection and its manifest, or one line that says why not."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from qkstore.errors import RunError, StoreError
from qkstore.run.manifest import Manifest


def opened(path: Path) -> tuple[duckdb.DuckDBPyConnection, Manifest]:
    """A read-only connection to a run file, and its manifest.

    Raises RunError where there is no such file, StoreError where it is damaged, unfinished, of a newer version, or
    holds more than tables. The connection is then closed: a file that takes this one's place would be read through it.
    """
    if not path.is_file():
        raise RunError(f"no run file {path}")
    connection = None
    try:
        connection = duckdb.connect(str(path), read_only=True)
        # One thread reads a head fastest. Set after connecting: with a config, a notebook could not open the file
        # beside us.
        connection.execute("SET threads = 1")
        _check_plain(connection, path.name)
        return connection, Manifest.of(_row(connection), path.name)
    except (duckdb.Error, StoreError) as error:
        if connection:
            connection.close()
        if isinstance(error, StoreError):
            raise
        raise StoreError(_why(path.name, str(error))) from None


def _why(file: str, said: str) -> str:
    """One line for a run file that DuckDB does not open."""
    if "Could not set lock" in said:
        holder = re.search(r"PID (\d+)", said)
        who = f"process {holder[1]}" if holder else "another process"
        return f"run file {file} is open for writing by {who}; close it there (a run is opened with -readonly)"
    return f"run file {file} is damaged or unfinished: {said.splitlines()[0]}"


def _check_plain(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    """Raise StoreError unless the file holds tables alone, as a run does.

    A view or macro in a file from elsewhere would run its own SQL when we read the table it poses as.
    """
    sql = (
        "SELECT view_name FROM duckdb_views() WHERE NOT internal UNION ALL "
        "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
    )
    row = connection.execute(sql).fetchone()
    if row:
        raise StoreError(
            f"run file {file} holds a view or macro, {row[0]!r}; a run is tables alone, so it is not opened"
        )


def _row(connection: duckdb.DuckDBPyConnection) -> dict:
    """The manifest's one row, {column: value}."""
    cursor = connection.cursor().execute("SELECT * FROM run")
    row = cursor.fetchone()
    if row is None:
        raise duckdb.Error("the manifest is empty")
    return dict(zip([d[0] for d in cursor.description], row, strict=True))
