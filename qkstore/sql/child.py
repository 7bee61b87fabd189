"""The process in which typed SQL is read and run (worker.py starts it): one request at a time, answered in parts.

It reads run files and nothing else: no other file, no extension, no setting; it writes nothing, no spilled sort either.
It ends at a query's limit and with its parent, however that ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import itertools
import json
import os
import queue
import signal
import struct
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa

from qkstore.errors import GuardError
from qkstore.sql import rules, syntax, trust
from qkstore.sql.memory import bytes_of

OPEN_FILES = 4  # runs kept open
KEPT_BYTES = 64 << 20  # a file with more in its cache is let go when another is asked for
BATCH = 8192  # rows; a large value makes DuckDB reserve its size at once
PART_BYTES = 16 << 20  # of an answer, sent as one frame
LARGEST = 4_000_000  # characters of what is read from a text
SLACK_BYTES = 512 << 20  # for an answer's parts and the threads' stacks
FRAME = struct.Struct("<cQ")  # kind, length: (p)art of the answer, (d)one, (e)rror, (f)atal: the process must go

# Errors of a value, of Arrow and of the system, which are met while rows come, are the query's as much as DuckDB's.
QUERYS_OWN = (duckdb.Error, pa.ArrowException, GuardError, OSError, ValueError, ArithmeticError, RuntimeError)

Config = dict[str, str | bool | int | float | list[str]]  # as DuckDB declares it
SETTINGS: Config = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
    "threads": "2",
    "temp_directory": "",  # else a large sort would spill into a folder beside the run
    "disabled_optimizers": "common_subplan",  # which in 1.5.1 to 1.5.5 gives wrong rows of some UNION ALL
}
UNLOCKED: Config = {"enable_external_access": "true", "lock_configuration": "false"}  # until it is known what for
LABELS = ("run", "layer", "prompt", "token", "query_row", "key_row", "q", "k", "weight", "measure", "shard")
VECTORS = ("query_vector", "key_vector", "row_stat")
THERE = "SELECT table_name FROM system.main.duckdb_tables() WHERE database_name = 'looked'"


def serve() -> None:
    """Answer requests from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else may write into the answers
    nowhere = open(os.devnull, "w")  # noqa: SIM115 as long as the process lives
    runs = _Runs()
    requests: queue.SimpleQueue[dict] = queue.SimpleQueue()
    # Loads what the first answer would wait for.
    duckdb.connect(config=SETTINGS).execute("SELECT 1").to_arrow_reader(BATCH).read_all()
    syntax.parse("SELECT 1")
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _send(out, b"d", b"")
    while True:
        request = requests.get()
        # Ends the process at the limit from a thread of its own, whatever DuckDB or the interpreter hold.
        faulthandler.dump_traceback_later(request.pop("limit_s"), exit=True, file=nowhere)
        try:
            if "how" in request:
                answer: str | bool | list[str] = _read(**request)
            else:
                answer = _look(**request) if "paths" in request else _answer(out, runs, **request)
            kind, text = b"d", json.dumps(answer)
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            kind, text = b"f", f"the query needs more than {request['memory']}: {_first(error)}"
        except QUERYS_OWN as error:
            broken = isinstance(error, (duckdb.FatalException, duckdb.InternalException))
            kind, text = b"f" if broken else b"e", _first(error)
        faulthandler.cancel_dump_traceback_later()  # first, or it could end a worker that has answered
        _send(out, kind, text.encode())


def _listen(requests: queue.SimpleQueue[dict]) -> None:
    """Pass requests on; end the process with its parent, even in the midst of a query."""
    while header := sys.stdin.buffer.read(FRAME.size):
        requests.put(json.loads(sys.stdin.buffer.read(FRAME.unpack(header)[1])))
    os._exit(0)


READINGS: dict[str, Callable[[str, dict], str]] = {  # how a text is read: what is made of it, with a run's columns
    "select": rules.select,
    "stable": functools.partial(rules.select, stable=True),
    "predicate": rules.predicate,
    "condition": lambda text, columns: json.dumps(syntax.condition(text)),
}


def _read(how: str, text: str, columns: dict[str, list[str]], memory: str) -> str:
    """What is made of a text; raises GuardError where it may not run, or grows too large."""
    _limit_memory(bytes_of(memory))
    made = READINGS[how](text, columns)
    if len(made) > LARGEST:
        raise GuardError(f"the SQL grows to {len(made):,} characters when it is read; {LARGEST:,} are allowed")
    return made


def _answer(out: BinaryIO, runs: _Runs, path: str, sql: str, max_rows: int | None, memory: str) -> bool:
    """Send the answer in parts of some MB; return whether it was cut at `max_rows`."""
    _limit_memory(most_bytes := bytes_of(memory))
    with runs.open(path, memory).cursor() as cursor:
        statements = cursor.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise GuardError("only one SELECT is possible here")
        reader = cursor.execute(statements[0]).to_arrow_reader(BATCH)
        schema = _told_apart(reader.schema)
        part, rows, size, sent = list[pa.RecordBatch](), 0, 0, 0
        for batch in reader:
            batch.validate(full=True)  # a text of a spoilt file may be no UTF-8
            rows += batch.num_rows
            cut = max_rows is not None and rows > max_rows
            part.append(batch.slice(0, max_rows - rows + batch.num_rows) if cut else batch)
            size += batch.nbytes
            if sent + size > most_bytes:
                raise GuardError(f"the answer is larger than {memory}: narrow the query with WHERE or LIMIT")
            if cut:
                break
            if size > PART_BYTES:
                _send_part(out, schema, part)
                part, sent, size = [], sent + size, 0
        _send_part(out, schema, part)
    return max_rows is not None and rows > max_rows


def _look(paths: list[str], memory: str) -> list[str]:
    """Read the labels of run files and what shards say of themselves; what is wrong with each, '' where nothing is."""
    _limit_memory(bytes_of(memory))
    connection, found = None, []
    for path in paths:
        connection = connection or _reaching(paths, memory)
        try:
            trust.with_log(Path(path))
            connection.execute(f"ATTACH {trust.text(path)} AS looked (READ_ONLY, TYPE duckdb)")
            there = {name for (name,) in connection.execute(THERE).fetchall()}
            for sql in _looks(there):
                connection.execute(sql).fetchall()
            connection.execute("DETACH looked")
            found.append("")
        except QUERYS_OWN as error:
            connection = None  # it may answer nothing more
            found.append(_first(error))
    return found


def _looks(there: set[str]) -> Iterator[str]:
    """What a file of these tables is asked, so that DuckDB meets what it would meet later.

    A hash reads each value, where a count is answered from what the file says of itself. Of vectors, which may be many
    gigabytes, a plan is made and, of a shard, the places are read: what a file says of a column can end DuckDB there.
    """
    for table in (table for table in LABELS if table in there):
        yield f"SELECT max(hash(COLUMNS(*))) FROM looked.main.{table}"
    for table in (table for table in VECTORS if table in there):
        yield f"EXPLAIN SELECT max(hash(COLUMNS(*))) FROM looked.main.{table}"
        if "run" not in there:
            yield f"SELECT max(hash(COLUMNS(*))) FROM pragma_storage_info('looked.main.{table}')"


def _reaching(paths: list[str], memory: str) -> duckdb.DuckDBPyConnection:
    """A connection that reaches these files and their logs alone."""
    connection = duckdb.connect(config={**SETTINGS, **UNLOCKED, "memory_limit": memory})
    connection.execute("SET allowed_paths = ?", [[file for path in paths for file in (path, f"{path}.wal")]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _told_apart(schema: pa.Schema) -> pa.Schema:
    """The schema with columns of one name numbered: x, x_1; raises GuardError for a struct whose fields share one."""
    names: list[str] = []
    for f in schema:
        _check_fields(f.type, f.name)
        number = next(n for n in itertools.count() if (f"{f.name}_{n}" if n else f.name) not in names)
        names.append(f"{f.name}_{number}" if number else f.name)
    return pa.schema([f.with_name(name) for f, name in zip(schema, names, strict=True)])


def _check_fields(kind: pa.DataType, column: str) -> None:
    parts = [kind.field(i) for i in range(kind.num_fields)]
    for part in parts:
        _check_fields(part.type, column)
    if pa.types.is_struct(kind) and len({part.name for part in parts}) < len(parts):
        raise GuardError(f"column {column!r} has fields of one name: write {{'a': …, 'b': …}} in place of row(…)")


def _send(out: BinaryIO, kind: bytes, body: bytes) -> None:
    """Write one frame."""
    out.write(FRAME.pack(kind, len(body)))
    out.write(body)
    out.flush()


def _send_part(out: BinaryIO, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
    """Write a part of an answer, as an Arrow stream of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    _send(out, b"p", sink.getvalue())


class _Runs:
    """Open run files, the least recently used closed first; a file that was replaced or removed is let go."""

    def __init__(self) -> None:
        self.connections: OrderedDict[str, tuple[tuple, duckdb.DuckDBPyConnection]] = OrderedDict()

    def open(self, path: str, memory: str) -> duckdb.DuckDBPyConnection:
        """The connection of a run file, with a limit of memory; raises GuardError where there is no such file."""
        switched = next(reversed(self.connections), path) != path
        for other, (stamp, connection) in list(self.connections.items()):
            now = _stamp(other, memory if other == path else stamp[-1])
            if stamp != now or (switched and _cached(connection) > KEPT_BYTES):
                self.connections.pop(other)[1].close()
        if path not in self.connections:
            if (opened := _stamp(path, memory)) is None:
                raise GuardError(f"there is no run file {path}")
            while len(self.connections) >= OPEN_FILES:
                self.connections.popitem(last=False)[1][1].close()
            connection = duckdb.connect(path, read_only=True, config={**SETTINGS, "memory_limit": memory})
            self.connections[path] = opened, connection
        self.connections.move_to_end(path)
        return self.connections[path][1]


def _cached(connection: duckdb.DuckDBPyConnection) -> int:
    """The bytes that a connection holds in memory."""
    row = connection.execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchone()
    assert row, "a sum has one row"
    return row[0]


def _stamp(path: str, memory: str) -> tuple | None:
    """What changes when another file takes the path, or another limit is asked for; None where there is no file."""
    try:
        file = os.stat(path)
    except OSError:
        return None
    return file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size, memory


@functools.cache
def _own_bytes() -> int:
    """The bytes that the process has reserved before its first query; on Linux."""
    return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[5])


def _limit_memory(most_bytes: int) -> None:
    """Set the operating system's limit, where it has one: texts in flight are outside DuckDB's own limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = _own_bytes() + SLACK_BYTES + most_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (max(limit, wanted), hard))  # never lowered; unlimited is -1


def _first(error: BaseException) -> str:
    """The first line of DuckDB's message, with the names it proposes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join([lines[0], *(line for line in lines[1:2] if line.startswith(("Candidate", "Did you mean")))])


if __name__ == "__main__":
    serve()
