"""Guarded SQL, run on a run file in a warm process that can be killed.

DuckDB's own interrupt does not stop every function, and a fork of a threaded server is not safe: so a few child
processes (child.py) wait, each runs one query at a time, and one that passes its limit ends and is replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from qkstore.errors import GuardError
from qkstore.sql.child import FRAME

WORKERS = 4


def query(
    path: str | Path, sql: str, limit_s: float = 10.0, max_rows: int | None = None, memory: str = "2GB"
) -> pa.Table:
    """Return the answer of one guarded SELECT on the run file at `path`.

    limit_s: seconds; max_rows: cut the answer there (`truncated` tells), None for no cut; memory: as DuckDB reads it.
    Raises GuardError where the query fails, runs longer than `limit_s`, or needs more than `memory`. Safe in threads:
    WORKERS queries run at once, further ones wait.
    """
    file = str(Path(path).absolute())
    with _pool.take() as worker:
        return worker.ask({"path": file, "sql": sql, "limit_s": limit_s, "max_rows": max_rows, "memory": memory})


def truncated(table: pa.Table) -> bool:
    """Return whether `query` cut this answer at its max_rows."""
    return (table.schema.metadata or {}).get(b"truncated") == b"true"


class _Worker:
    """One child process: it starts with the object, answers one request at a time, and is closed by hand."""

    def __init__(self) -> None:
        root = str(Path(__file__).parent.parent.parent)
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "qkstore.sql.child"],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin, "a pipe"
        assert self.process.stdout, "a pipe"
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.usable = True
        try:
            self._frame()  # it is up: from here on only the query's own time counts
        except EOFError:
            self.close()
            raise RuntimeError("the SQL worker did not start") from None

    def alive(self) -> bool:
        """Whether it can take another request."""
        return self.usable and self.process.poll() is None

    def ask(self, request: dict) -> pa.Table:
        """Send a request and read its answer. Only a whole answer or a plain error leaves the worker usable."""
        self.usable, start = False, time.monotonic()
        parts: list[pa.Table] = []
        try:
            body = json.dumps(request).encode()
            self.requests.write(FRAME.pack(b"q", len(body)) + body)
            self.requests.flush()
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
        """End the process and reap it."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with contextlib.suppress(OSError):  # unsent bytes of a request
            self.requests.close()

    def _frame(self) -> tuple[bytes, bytes]:
        """Read (kind, body); raises EOFError where the process ended."""
        kind, length = FRAME.unpack(self._exactly(FRAME.size))
        return kind, self._exactly(length)

    def _exactly(self, n: int) -> bytes:
        got = self.answers.read(n)
        if len(got) < n:
            raise EOFError
        return got


class _Pool:
    """WORKERS child processes at most, started when needed and kept."""

    def __init__(self) -> None:
        self.slots = threading.BoundedSemaphore(WORKERS)
        self.idle: deque[_Worker] = deque()
        self.workers: set[_Worker] = set()

    @contextlib.contextmanager
    def take(self) -> Iterator[_Worker]:
        """A worker of one's own; it goes back into the pool, or is replaced where it cannot go on."""
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


_pool = _Pool()
atexit.register(_pool.close)
