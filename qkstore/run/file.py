"""A run file, opened: its connection and its manifest, or one line that says why not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import duckdb

from qkstore.errors import RunError, StoreError
from qkstore.run import schema, shape, trust
from qkstore.run.manifest import Manifest, check_version
from qkstore.text import visible


class Opened(NamedTuple):
    """A run file as it was found: attached to `connection` as `file`, read-only."""

    connection: duckdb.DuckDBPyConnection
    manifest: Manifest
    tables: dict[str, dict[str, str]]  # {table: {column: its DuckDB type}}


def opened(path: Path) -> Opened:
    """A run file, of which is known: it holds a run's tables alone, as many rows as it says, and possible numbers.

    Raises RunError where there is no such file, StoreError where it is damaged, unfinished, of a newer version, or
    holds anything else. The connection is then closed: a file that takes this one's place would be read through it.
    """
    if not path.is_file():
        raise RunError(f"no run file {path.name}, but a folder or a device" if path.exists() else f"no run file {path}")
    connection = None
    try:
        connection = trust.attached(path)
        return _checked(connection, path)
    except (duckdb.Error, OSError, ValueError, OverflowError, StoreError) as error:
        if connection:
            connection.close()
        if isinstance(error, StoreError):
            raise
        raise StoreError(_why(path.name, str(error))) from None


def cursor(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor for which the file's tables need no further name."""
    own = connection.cursor()
    own.execute(f"USE {trust.ALIAS}")
    return own


def _checked(connection: duckdb.DuckDBPyConnection, path: Path) -> Opened:
    what = f"run file {path.name}"
    tables = trust.tables(connection, what)  # first: only then may a table or a function be named
    if "run" not in tables:
        raise StoreError(f"{what} is damaged or unfinished: it has no manifest (table run)")
    own = cursor(connection)
    _check_version(own, tables["run"], what)
    shape.check_manifest_types(tables["run"], what)
    manifest = Manifest.of(_row(own, tables["run"], what), path.name)
    shape.check_numbers(manifest, what)
    shape.check_tables(tables, manifest, what)
    shape.check_rows(own, tables, manifest, path)
    return Opened(connection, manifest, tables)


def _why(file: str, said: str) -> str:
    """One line for a run file that DuckDB does not open."""
    if "Could not set lock" in said:
        holder = re.search(r"PID (\d+)", said)
        who = f"process {holder[1]}" if holder else "another process"
        return f"run file {file} is open for writing by {who}; close it there (a run is opened with -readonly)"
    if "Unique file handle conflict" in said:
        return f"run file {file} is open for writing by this process; close that connection (a run is opened read-only)"
    return f"run file {file} is damaged or unfinished: {first_line(said) or 'it cannot be read'}"


def first_line(said: str, most: int = 300) -> str:
    """The first line of what DuckDB says of a file: cut, printable though it names what is in it, without folders."""
    return visible(re.sub(r'"[^"]*/([^"/]*)"', r'"\1"', said.partition("\n")[0])[:most])


def _check_version(own: duckdb.DuckDBPyConnection, columns: dict[str, str], what: str) -> None:
    """Raise StoreError for a newer version, whose other columns may be of other types, and where there is none."""
    known = columns.get("schema_version") == "INTEGER"
    rows = own.execute("SELECT schema_version FROM run LIMIT 2").fetchall() if known else [(None,)]
    if not rows:
        raise duckdb.Error("the manifest is empty")
    if len(rows) > 1:
        raise StoreError(f"{what} is damaged: its manifest has more than one row")
    check_version(rows[0][0], what)


def _row(own: duckdb.DuckDBPyConnection, columns: dict[str, str], what: str) -> dict:
    """The manifest's one row, {column: value}, of the columns that are known here.

    Lengths and the date are looked at before Python has the values: it knows no year 290000.
    """
    names = [name for name in columns if name in schema.MANIFEST]
    texts = [name for name in names if "VARCHAR" in columns[name]]
    # greatest() takes NULL for less than any number
    longest = f"greatest(0, {', '.join(map(_length, texts))})" if texts else "0"
    dated = "coalesce(created BETWEEN ? AND ?, true)" if "created" in names else "? < ?"
    sql = f"SELECT {longest} > {shape.MOST_TEXT}, {dated} FROM run"
    [(long, possible)] = own.execute(sql, [shape.FIRST, shape.LAST]).fetchall()
    if long:
        raise StoreError(f"{what} is damaged: its manifest holds a text of more than {shape.MOST_TEXT:,} bytes")
    if not possible:
        raise StoreError(f"{what} is damaged: its manifest has a date outside {shape.FIRST.year} to {shape.LAST.year}")
    [row] = own.execute(f"SELECT {', '.join(map(schema.quoted, names))} FROM run").fetchall()
    return dict(zip(names, row, strict=True))


def _length(name: str) -> str:
    """The SQL of a text's or a list's length in bytes; a plan may be as many times as long as other texts."""
    length = f"strlen({schema.quoted(name)})" if schema.MANIFEST[name] == "VARCHAR" else f"strlen({name}::VARCHAR)"
    return f"{length} // {shape.MOST_PLAN // shape.MOST_TEXT}" if name == "plan" else length
