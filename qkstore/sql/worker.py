"""Guarded SQL, read and run in warm processes that can be killed.

DuckDB's own interrupt does not stop every function, its parser has no limit, and a fork of a threaded server is not
safe: so a few child processes (child.py) wait, each does one thing at a time, and one that passes its limit ends and is
replaced. Whoever asks gets turns that are fair (turns.py).
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from qkstore.errors import GuardError
from qkstore.sql.child import FRAME
from qkstore.sql.trust import ENDS
from qkstore.sql.turns import POLL_S, Asker, Turns

WORKERS = 4  # kept while nobody asks
MOST = 12  # at once; those of one asker are 4, or 2 while others ask
WAIT_S = 20.0  # for a turn
SLOW_S, NICE = 0.5, 15  # a query that takes longer gives way to shorter ones
READ_S, READ_BYTES = 10.0, "500MB"  # for a text to be parsed, checked and printed
LOOK_S = 5.0  # for a file, and one more for each other
LOOKER = Asker("a look at a file")

asker: Callable[[], Asker] = Asker  # who asks in this thread; the dashboard puts its sessions here


def query(
    path: str | Path, sql: str, limit_s: float = 10.0, max_rows: int | None = None, memory: str = "2GB"
) -> pa.Table:
    """Return the answer of one guarded SELECT on the run file at `path`.

    limit_s: seconds; max_rows: cut the answer there (`truncated` tells), None for no cut; memory: as DuckDB reads it.
    Raises GuardError where the query fails, runs longer than `limit_s`, or needs more than `memory`, and where no
    process is free for WAIT_S seconds. Safe in threads.
    """
    file = str(Path(path).absolute())
    with _queries.take(who := asker()) as worker:
        tables, cut = worker.ask(
            {"path": file, "sql": sql, "limit_s": limit_s, "max_rows": max_rows, "memory": memory}, who
        )
    return pa.concat_tables(tables).replace_schema_metadata({"truncated": cut})


def read(how: str, text: str, columns: dict[str, tuple[str, ...]]) -> str:
    """Return what child.READINGS[how] makes of a text; raises GuardError for what it refuses."""
    request = {"how": how, "text": text, "columns": columns, "limit_s": READ_S, "memory": READ_BYTES}
    pool = _readings if _readings.spare else _queries  # a command has one process for both
    with pool.take(who := asker()) as worker:
        return json.loads(worker.ask(request, who)[1])


def look(paths: Sequence[Path]) -> dict[Path, str]:
    """{file: what is wrong with it as another process reads it, '' where nothing is} of run files and shards.

    ENDS of a file that ends that process: made-up bytes can end DuckDB itself. Read are labels and what else is not
    vectors. The process is not one of those that queries wait for; where it ends, each half is looked at.
    """
    request = {"paths": [str(path.resolve()) for path in paths], "limit_s": LOOK_S + len(paths), "memory": READ_BYTES}
    try:
        with _readings.take(LOOKER) as worker:
            return dict(zip(paths, json.loads(worker.ask(request, LOOKER)[1]), strict=True))
    except GuardError as error:
        if len(paths) == 1:
            return {paths[0]: ENDS if isinstance(error, Ended) else str(error)}
    half = len(paths) // 2
    return look(paths[:half]) | look(paths[half:])


def truncated(table: pa.Table) -> bool:
    """Return whether `query` cut this answer at its max_rows."""
    return (table.schema.metadata or {}).get(b"truncated") == b"true"


def ready() -> None:
    """From now on have a process of each kind that waits, so that no query waits for its start; for a server."""
    for pool in (_readings, _queries):
        pool.spare = True
        pool.warm()


class Ended(GuardError):
    """A query whose process ended before its limit of time."""


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
            bufsize=0,  # what waits in a buffer of ours, no poll would see
        )
        requests, answers = self.process.stdin, self.process.stdout
        assert isinstance(requests, io.FileIO), "a pipe without a buffer"
        assert isinstance(answers, io.FileIO), "a pipe without a buffer"
        self.requests, self.answers = requests, answers
        self.answered = select.poll()  # select() knows no descriptor above 1,023
        self.answered.register(answers, select.POLLIN)
        self.usable, self.slow, self.begun = True, False, float("inf")  # nothing is asked yet
        try:
            self._frame(Asker())  # it is up: from here on only the query's own time counts
        except EOFError:
            self.close()
            raise RuntimeError("the SQL worker did not start") from None

    def alive(self) -> bool:
        """Whether it can take another request."""
        return self.usable and self.process.poll() is None

    def ask(self, request: dict, who: Asker) -> tuple[list[pa.Table], str]:
        """Send a request and read its answer: the parts of a table, and what the last frame says.

        Only a whole answer or a plain error leaves the worker usable.
        """
        self.usable, self.begun = False, time.monotonic()
        parts: list[pa.Table] = []
        try:
            body = json.dumps(request).encode()
            self._send(FRAME.pack(b"q", len(body)) + body)
            while (frame := self._frame(who))[0] == b"p":
                parts.append(pa.ipc.open_stream(frame[1]).read_all())
        except (EOFError, OSError):
            if time.monotonic() - self.begun >= (limit_s := request["limit_s"]):
                raise GuardError(f"stopped after {limit_s:g} s: {_remedy(request)}") from None
            raise Ended(f"the query ended its process; it may need more than {request['memory']}") from None
        kind, body = frame
        self.usable = kind != b"f" and not self.slow
        if kind != b"d":
            raise GuardError(body.decode())
        return parts, body.decode()

    def close(self) -> None:
        """End the process and reap it."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with contextlib.suppress(OSError):  # unsent bytes of a request
            self.requests.close()

    def _give_way(self) -> None:
        """Let others go first; what gave way once cannot be made quick again, and is replaced after its answer."""
        self.slow = True
        with contextlib.suppress(OSError):  # it has ended; or this system has no /proc
            for task in os.listdir(f"/proc/{self.process.pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(task), NICE)

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self.requests.write(left) :]

    def _frame(self, who: Asker) -> tuple[bytes, bytes]:
        """Read (kind, body); raises EOFError where the process ended, GuardError where nobody waits any more."""
        kind, length = FRAME.unpack(self._exactly(FRAME.size, who))
        return kind, bytes(self._exactly(length, who))

    def _exactly(self, n: int, who: Asker) -> bytearray:
        got = bytearray(n)
        left = memoryview(got)
        while left:
            while not self.answered.poll(1000 * POLL_S):
                if who.gone():
                    raise GuardError("the query was stopped: nobody waits for it")
                if not self.slow and time.monotonic() - self.begun > SLOW_S:
                    self._give_way()
            read = self.answers.readinto(left)
            if not read:
                raise EOFError
            left = left[read:]
        return got


def _remedy(request: dict) -> str:
    return "narrow the query with WHERE or LIMIT" if "sql" in request else "the text takes too long to be read"


class _Pool:
    """Child processes, started when needed; WORKERS of them are kept."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.idle: deque[_Worker] = deque()
        self.workers: set[_Worker] = set()
        self.warming = threading.Lock()
        self.spare = False  # whether one waits at any time

    @contextlib.contextmanager
    def take(self, who: Asker) -> Iterator[_Worker]:
        """A worker of one's own; it goes back into the pool, or is replaced where it cannot go on.

        The last one that waits is for who has none at work: whoever has waits for the start of another.
        """
        with self.turns.turn(who):
            left = 1 if self.spare and self.turns.running[who.name] > 1 else 0
            worker = self._idle(left) or self._new()
            self._warm_soon()
            try:
                yield worker
            finally:
                self._give(worker)

    def warm(self) -> None:
        """Have an idle process before somebody waits for it."""
        with self.warming:
            if not self.idle:
                self.idle.append(self._new())

    def _new(self) -> _Worker:
        worker = _Worker()
        self.workers.add(worker)
        return worker

    def _idle(self, left: int = 0) -> _Worker | None:
        """One that waits, if there are more than `left`."""
        while len(self.idle) > left:
            with contextlib.suppress(IndexError):  # another thread was faster
                worker = self.idle.pop()
                if worker.alive():
                    return worker
                self._drop(worker)
        return None

    def _give(self, worker: _Worker) -> None:
        if worker.alive() and len(self.idle) < WORKERS:
            self.idle.append(worker)
            return
        self._drop(worker)
        self._warm_soon()

    def _warm_soon(self) -> None:
        if self.spare and not self.idle and not sys.is_finalizing():
            threading.Thread(target=self.warm, daemon=True).start()

    def _drop(self, worker: _Worker) -> None:
        self.workers.discard(worker)
        worker.close()

    def close(self) -> None:
        for worker in list(self.workers):
            worker.process.kill()
            worker.process.wait()


_queries = _Pool(Turns(MOST, alone=WORKERS, each=2, wait_s=WAIT_S))
_readings = _Pool(Turns(MOST, alone=2, each=2, wait_s=WAIT_S))
atexit.register(_queries.close)
atexit.register(_readings.close)
