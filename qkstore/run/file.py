"""A run file, opened: its connection and its manifest, or one line that says why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, TypeVar

import duckdb
import pyarrow as pa

from qkstore.errors import QKStoreError, RunError, StoreError
from qkstore.run import schema, shape, shard
from qkstore.run.layer import Layer
from qkstore.run.manifest import Manifest, check_version
from qkstore.run.shape import Tables
from qkstore.run.shard import Shard
from qkstore.sql import memory, trust
from qkstore.sql.instance import RAISED, Attachment, Instance
from qkstore.sql.trust import Listing
from qkstore.text import visible

T = TypeVar("T")
DAMAGED = (duckdb.Error, UnicodeDecodeError, pa.ArrowInvalid)
OURS = (  # of a mistake in our own SQL, of a Run that was closed, of Ctrl-C
    *(duckdb.ParserException, duckdb.SyntaxException, duckdb.BinderException, duckdb.CatalogException),
    *(duckdb.ConnectionException, duckdb.InterruptException),
)
TOGETHER, LOOKERS = 32, 4  # files that are looked at in one question, and threads that look
FAILS = (duckdb.Error, pa.ArrowInvalid, OSError, ValueError, OverflowError)


class Opened(NamedTuple):
    """A run file as it was found."""

    attachment: Attachment
    manifest: Manifest
    tables: Tables  # {table: {column: its DuckDB type}}
    layers: list[Layer]
    shards: list[Shard]  # none where the run file itself has the vectors


def opened(path: Path) -> Opened:
    """A run file, of which is known: it holds a run's tables alone, as many rows as it says, and possible numbers.

    Raises RunError where there is no such file, StoreError where it is damaged, unfinished, of a newer version, or
    holds anything else. It is then let go: a file that takes this one's place would be read through it.
    """
    [found] = opened_each([path])
    if isinstance(found, Opened):
        return found
    raise found


def opened_each(paths: Sequence[Path]) -> list[Opened | QKStoreError]:
    """Of each path what `opened` gives, or the error that it raises; of at most TOGETHER, which are asked as one.

    Raises StoreError where QKSTORE_MEMORY is no size.
    """
    memory.limit()
    with ThreadPoolExecutor(LOOKERS) if len(paths) > 1 else nullcontext() as pool:
        each = pool.map if pool else map
        found = list(each(_held, paths))
        held = [one for one in found if isinstance(one, Attachment)]
        try:
            listings = _listed(held)
        finally:
            for attachment in held:
                attachment.release()
        return list(each(lambda one: _opened(one, listings[one]) if isinstance(one, Attachment) else one, found))


def _held(path: Path) -> Attachment | QKStoreError:
    if not path.is_file():
        there = path.exists()
        return RunError(f"no run file {path.name}, but a folder or a device" if there else f"no run file {path}")
    try:
        attachment = Attachment(path)
        attachment.hold()
        return attachment
    except FAILS as error:
        return why(f"run file {path.name}", str(error))
    except StoreError as error:
        return error.with_traceback(None)


def _listed(files: Sequence[Attachment]) -> dict[Attachment, Listing | Exception]:
    """What each file, which has to be held, holds: asked once for all of an instance; an error of its own instead."""
    several: dict[Instance, list[Attachment]] = {}
    for one in files:
        several.setdefault(one.place.instance, []).append(one)
    return {one: what for instance, own in several.items() for one, what in _listed_in(instance, own).items()}


def _listed_in(instance: Instance, files: list[Attachment]) -> dict[Attachment, Listing | Exception]:
    try:
        found = trust.listings(instance.cursor())
    except RAISED:
        return {one: _listed_alone(one.path) for one in files}  # whichever it was
    return {one: found.get(one.place.name, Listing(None, [])) for one in files}


def _listed_alone(path: Path) -> Listing | Exception:
    try:
        one = Attachment(path, alone=True)
        found = one.read(lambda _: trust.listings(one.place.instance.cursor()))
        return found.get(one.place.name, Listing(None, []))
    except (*RAISED, StoreError) as error:
        return error


def _opened(attachment: Attachment, listing: Listing | Exception) -> Opened | StoreError:
    path = attachment.path
    try:
        if isinstance(listing, Exception):
            raise listing
        tables = trust.tables(listing, f"run file {path.name}")  # first: only then may a table or a function be named
        return Opened(attachment, *attachment.read(lambda cursor: _checked(cursor, tables, path)))
    except (*FAILS, StoreError) as error:
        attachment.close()
        return error.with_traceback(None) if isinstance(error, StoreError) else why(attachment.what, str(error))


def _checked(cursor: duckdb.DuckDBPyConnection, tables: Tables, path: Path) -> tuple:
    what = f"run file {path.name}"
    if "run" not in tables:
        raise StoreError(f"{what} is damaged or unfinished: it has no manifest (table run)")
    _check_version(cursor, tables["run"], what)
    shape.check_manifest_types(tables["run"], what)
    manifest = Manifest.of(_row(cursor, tables["run"], what), path.name)
    shape.check_numbers(manifest, what)
    shape.check_tables(tables, manifest, what)
    layers = shape.check_rows(cursor, tables, manifest, path)
    return manifest, tables, layers, shard.read(cursor, manifest, what) if "shard" in tables else []


def why(what: str, said: str) -> StoreError:
    """One line for a run file, or a shard, that DuckDB does not open."""
    if "Could not set lock" in said:
        holder = re.search(r"PID (\d+)", said)
        who = f"process {holder[1]}" if holder else "another process"
        return StoreError(f"{what} is open for writing by {who}; close it there (a run is opened with -readonly)")
    if "Unique file handle conflict" in said:
        return StoreError(
            f"{what} is open for writing by this process; close that connection (a run is opened read-only)"
        )
    return StoreError(f"{what} is damaged or unfinished: {first_line(said) or 'it cannot be read'}")


def read(attachment: Attachment, ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
    """What `ask` makes with a cursor. A block that went bad on disk, or was made so, is met only when it is read.

    Raises StoreError for one, for a file that was replaced since, and where reading takes more memory than there is.
    """
    try:
        return attachment.read(ask)
    except OURS:
        raise
    except DAMAGED as error:
        raise _unread(attachment.what, str(error)) from None


def _unread(what: str, said: str) -> StoreError:
    if said.startswith("Out of Memory Error"):
        limit = f"{memory.limit() / (1 << 20):,.0f} MiB"
        more = f"set {memory.VARIABLE} to more, such as 2GB"
        return StoreError(f"reading {what} takes more than the limit of memory, {limit}: {more}")
    return StoreError(f"{what} is damaged: {first_line(said)}; run `check`")


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
    short = f"greatest(0, {', '.join(map(_length, texts))}) <= {shape.MOST_TEXT}" if texts else "true"
    dated, dates = (
        "coalesce(created BETWEEN ? AND ?, true)" if "created" in names else "? < ?",
        [shape.FIRST, shape.LAST],
    )
    sql = f"SELECT {', '.join(map(schema.quoted, names))} FROM run WHERE {short} AND {dated}"
    for row in own.execute(sql, dates).fetchall():
        return dict(zip(names, row, strict=True))
    [(possible,)] = own.execute(f"SELECT {dated} FROM run", dates).fetchall()
    if possible:
        raise StoreError(f"{what} is damaged: its manifest holds a text of more than {shape.MOST_TEXT:,} bytes")
    raise StoreError(f"{what} is damaged: its manifest has a date outside {shape.FIRST.year} to {shape.LAST.year}")


def _length(name: str) -> str:
    """The SQL of a text's or a list's length in bytes; a plan may be as many times as long as other texts."""
    length = f"strlen({schema.quoted(name)})" if schema.MANIFEST[name] == "VARCHAR" else f"strlen({name}::VARCHAR)"
    return f"{length} // {shape.MOST_PLAN // shape.MOST_TEXT}" if name == "plan" else length
