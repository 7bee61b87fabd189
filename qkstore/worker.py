"""Guarded SQL, run on a run file in a warm process that can be killed.

DuckDB's own interrupt does not stop every function, and a fork of a threaded server is not safe: so a few child
processes wait, each runs one query at a time, and one that passes its limit ends and is replaced. A child reads run
files and nothing else: no other file, no extension, no setting. It ends with its parent, however the parent ends.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import json
import os
import queue
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from qkstore.errors import GuardError

WORKERS = 4
OPEN_FILES = 4
KEPT_BYTES = 64 << 20  # a file with more in its cache is let go when another is asked for
BATCH = 8192  # rows; a large value makes DuckDB reserve its size at once
PART_BYTES = 16 << 20
FRAME = struct.Struct("<cQ")  # kind, length: (p)art of the answer, (d)one, (e)rror, (f)atal: the process must go

SETTINGS = {
    "enable_external_access": "false", "autoload_known_extensions": "false", "autoinstall_known_extensions": "false",
    "allow_persistent_secrets": "false", "python_enable_replacements": "false", "temp_directory": "", "threads": "2",
    "lock_configuration": "true",
}


def query(
    path: str | Path, sql: str, limit_s: float = 10.0, max_rows: int | None = None, memory: str = "2GB"
) -> pa.Table:
    """The answer of one guarded SELECT on the run file at `path`; `truncated(table)` says whether `max_rows` cut it.

    Raises GuardError when the query fails, runs longer than `limit_s`, or needs more than `memory`. Safe in threads:
    four queries run at once, further ones wait.
    """
    file = str(Path(path).absolute())
    with _pool.take() as worker:
        return worker.ask({"path": file, "sql": sql, "limit_s": limit_s, "max_rows": max_rows, "memory": memory})


def truncated(table: pa.Table) -> bool:
    return (table.schema.metadata or {}).get(b"truncated") == b"true"


# ---- the parent's side


class _Worker:
    def __init__(self):
        root = str(Path(__file__).parent.parent)
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "qkstore.worker"], env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.usable = True
        try:
            self._frame()  # it is up: from here on only the query's own time counts
        except BaseException as error:
            self.close()
            raise RuntimeError("the SQL worker did not start") if isinstance(error, EOFError) else error from None

    def alive(self) -> bool:
        return self.usable and self.process.poll() is None

    def ask(self, request: dict) -> pa.Table:
        """Sends a request and reads its answer. Only a whole answer or a plain error leaves the worker usable."""
        self.usable, parts, start = False, [], time.monotonic()
        try:
            body = json.dumps(request).encode()
            self.process.stdin.write(FRAME.pack(b"q", len(body)) + body)
            self.process.stdin.flush()
            while (frame := self._frame())[0] == b"p":
                parts.append(pa.ipc.open_stream(frame[1]).read_all())
        except (EOFError, OSError):
            if time.monotonic() - start >= (limit_s := request["limit_s"]):
                raise GuardError(f"stopped after {limit_s:g} s: narrow the query with WHERE or LIMIT") from None
            raise GuardError(f"the query ended its process; it may need more than {request['memory']}") from None
        kind, body = frame
        self.usable = kind != b"f"
        if kind != b"d":
            raise GuardError(body.decode())
        return pa.concat_tables(parts).replace_schema_metadata({"truncated": body.decode()})

    def close(self) -> None:
        """Ends and reaps the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(OSError):  # unsent bytes of a request
            self.process.stdin.close()

    def _frame(self) -> tuple[bytes, bytes]:
        kind, length = FRAME.unpack(self._exactly(FRAME.size))
        return kind, self._exactly(length)

    def _exactly(self, n: int) -> bytes:
        got = self.process.stdout.read(n)
        if len(got) < n:
            raise EOFError
        return got


class _Pool:
    def __init__(self):
        self.slots = threading.BoundedSemaphore(WORKERS)
        self.idle: deque[_Worker] = deque()
        self.workers: set[_Worker] = set()

    @contextlib.contextmanager
    def take(self) -> Iterator[_Worker]:
        with self.slots:
            worker = self._idle() or _Worker()
            self.workers.add(worker)
            try:
                yield worker
            finally:
                self._give(worker)

    def _idle(self) -> _Worker | None:
        while self.idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                worker = self.idle.pop()
                if worker.alive():
                    return worker
                self._drop(worker)
        return None

    def _give(self, worker: _Worker) -> None:
        if worker.alive():
            self.idle.append(worker)
        else:
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        self.workers.discard(worker)
        worker.close()

    def close(self) -> None:
        for worker in list(self.workers):
            worker.process.kill()
            worker.process.wait()


def _renew() -> None:
    """A forked process leaves its parent's workers alone and starts its own."""
    global _pool
    _pool = _Pool()


_pool = _Pool()
atexit.register(lambda: _pool.close())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


# ---- the child's side


def serve() -> None:
    """Answers requests from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else may write into the answers
    nowhere, runs, requests = open(os.devnull, "w"), _Runs(), queue.SimpleQueue()
    duckdb.connect().execute("SELECT 1").to_arrow_reader(BATCH).read_all()  # loads what the first answer would wait for
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _send(out, b"d", b"")
    while True:
        request = requests.get()
        # Ends the process at the limit from a thread of its own, whatever DuckDB or the interpreter hold.
        faulthandler.dump_traceback_later(request.pop("limit_s"), exit=True, file=nowhere)
        try:
            _send(out, b"d", json.dumps(_answer(out, runs, **request)).encode())
        except (duckdb.FatalException, duckdb.InternalException, duckdb.OutOfMemoryException, MemoryError) as error:
            _send(out, b"f", f"the query needs more than {request['memory']}: {_first(error)}".encode())
        except (duckdb.Error, pa.ArrowException, GuardError) as error:
            _send(out, b"e", _first(error).encode())
        finally:
            faulthandler.cancel_dump_traceback_later()


def _listen(requests: queue.SimpleQueue) -> None:
    """Passes requests on; ends the process with its parent, even in the midst of a query."""
    while header := sys.stdin.buffer.read(FRAME.size):
        requests.put(json.loads(sys.stdin.buffer.read(FRAME.unpack(header)[1])))
    os._exit(0)


def _answer(out, runs: _Runs, path: str, sql: str, max_rows: int | None, memory: str) -> bool:
    """Sends the answer in parts of some MB; returns whether it was cut at `max_rows`."""
    _limit_memory(most_bytes := _bytes(memory))
    with runs.open(path, memory).cursor() as cursor:
        statements = cursor.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise GuardError("only one SELECT is possible here")
        reader = cursor.execute(statements[0]).to_arrow_reader(BATCH)
        part, rows, size, sent = [], 0, 0, 0
        for batch in reader:
            rows += batch.num_rows
            cut = max_rows is not None and rows > max_rows
            part.append(batch.slice(0, max_rows - rows + batch.num_rows) if cut else batch)
            size += batch.nbytes
            if sent + size > most_bytes:
                raise GuardError(f"the answer is larger than {memory}: narrow the query with WHERE or LIMIT")
            if cut:
                break
            if size > PART_BYTES:
                _send_part(out, reader.schema, part)
                part, sent, size = [], sent + size, 0
        _send_part(out, reader.schema, part)
    return max_rows is not None and rows > max_rows


def _send(out, kind: bytes, body: bytes) -> None:
    out.write(FRAME.pack(kind, len(body)))
    out.write(body)
    out.flush()


def _send_part(out, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    _send(out, b"p", sink.getvalue())


class _Runs:
    """Open run files, the least recently used closed first; a file that was replaced or removed is let go."""

    def __init__(self):
        self.connections: OrderedDict[str, tuple[tuple, duckdb.DuckDBPyConnection]] = OrderedDict()

    def open(self, path: str, memory: str) -> duckdb.DuckDBPyConnection:
        switched = next(reversed(self.connections), path) != path
        for other, (stamp, connection) in list(self.connections.items()):
            now = _stamp(other, memory if other == path else stamp[-1])
            if stamp != now or (switched and _cached(connection) > KEPT_BYTES):
                self.connections.pop(other)[1].close()
        if path not in self.connections:
            if (stamp := _stamp(path, memory)) is None:
                raise GuardError(f"there is no run file {path}")
            while len(self.connections) >= OPEN_FILES:
                self.connections.popitem(last=False)[1][1].close()
            connection = duckdb.connect(path, read_only=True, config=SETTINGS | {"memory_limit": memory})
            self.connections[path] = stamp, connection
        self.connections.move_to_end(path)
        return self.connections[path][1]


def _cached(connection: duckdb.DuckDBPyConnection) -> int:
    return connection.execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchone()[0]


def _stamp(path: str, memory: str) -> tuple | None:
    """What changes when another file takes the path, or another limit is asked for."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, memory


def _limit_memory(most_bytes: int) -> None:
    """A ceiling of the operating system, where it has one: texts and lists in flight are outside DuckDB's own limit."""
    with contextlib.suppress(ImportError, ValueError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes + (1 << 30), hard))


def _bytes(memory: str) -> int:
    """`2GB`, `512 MiB`, … in bytes, as DuckDB reads them."""
    number, unit, binary = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)(i?)B\s*", memory, re.IGNORECASE).groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))


def _first(error: BaseException) -> str:
    """The first line of DuckDB's message, with the names it proposes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join([lines[0], *(line for line in lines[1:2] if line.startswith(("Candidate", "Did you mean")))])


if __name__ == "__main__":
    serve()
