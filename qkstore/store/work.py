"""Ingests at work: each keeps a small file beside the runs that says how far it is, which others read.

STORE/runs/.work/<run>.json, held by a lock that goes with the process, however it ends. The runs of a team's bucket are
made on one machine and sent when they are whole: there the folder is that machine's, as are the ingests in it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from qkstore.errors import RunError
from qkstore.files import inside, whole
from qkstore.run.incoming import spool
from qkstore.run.schema import RUN_NAME

if TYPE_CHECKING:
    from qkstore.store.store import Store

FOLDER, ENDING, LOCK = ".work", ".json", ".lock"
RANK = "~"  # between the name of a run, which has none, and the number of a rank
EVERY_S = 0.5  # between two writings of one file
MOST_LINES, MOST_LINE, MOST_READ = 12, 300, 1 << 16
STAGES = ("answer slots", "tokenise", "capture", "publish")  # of an ingest, in their order
TEXTS, NUMBERS = ("stage", "now", "host", "command"), ("done", "total", "pid", "begun", "heard")
Progress = Callable[..., None]  # stage, done, total; now= what else is to be said


@dataclass(frozen=True)
class Ingest:
    """An ingest that has not published its run.

    alive: whether its process lives. begun, heard: when it began and when it last said where it is, in seconds since
    1970. log: its last lines. batches: how many are kept, with which the same command goes on.
    """

    run: str
    alive: bool
    batches: int
    stage: str = ""
    done: int = 0
    total: int = 0
    now: str = ""
    host: str = ""
    pid: int = 0
    command: str = ""
    begun: float = 0
    heard: float = 0
    log: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """How much of its stage is done, 0 to 1."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    @property
    def where(self) -> str:
        """Where it is, or where it stopped and what is kept, in one line."""
        how = f"{self.stage} {self.done:,} of {self.total:,}" if self.stage else "nothing said of how far"
        who = f" (process {self.pid} on {self.host})" if self.pid else ""
        if self.alive:
            return f"ingest of {self.run!r} at work{who}: {how}{f', {self.now}' if self.now else ''}"
        kept = f"{self.batches:,} {'batch is' if self.batches == 1 else 'batches are'} kept"
        return f"ingest of {self.run!r} has stopped{who}: {how}; {kept}; repeat its command to go on"

    @property
    def sentence(self) -> str:
        """The same, with the command that goes on."""
        return self.where + (f": {self.command}" if self.command and not self.alive else "")


class Work:
    """What an ingest says of itself while it runs: a context manager, called as a Progress is.

    rank: which of several that make the run together. A folder that cannot be written, or another ingest of that run,
    stops nothing: then it says nothing.
    """

    def __init__(self, store: str | os.PathLike, run: str, rank: int | None = None):
        self.folder, self.run = Path(store) / "runs" / FOLDER, run
        self.name = run if rank is None else f"{run}{RANK}{rank:04d}"
        self._lock: IO[str] | None = None
        self._log = _Lines()
        self._said: dict = {"host": socket.gethostname(), "pid": os.getpid(), "begun": time.time()}
        self._said |= {"command": _command()}
        self._written, self._tried = 0.0, False

    def __enter__(self) -> Self:
        logging.getLogger("qkstore").addHandler(self._log)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        logging.getLogger("qkstore").removeHandler(self._log)
        if self._lock:
            if error and _spooled(self.folder.parent, self.run):
                self._log.add(str(error) or type(error).__name__)
                self._write()
            else:
                _path(self.folder, self.name).unlink(missing_ok=True)
                _path(self.folder, self.name, LOCK).unlink(missing_ok=True)
            self._lock.close()
            with suppress(OSError):  # others are at work
                self.folder.rmdir()

    def beside(self, progress: Progress) -> Progress:
        """A progress that says the same here too."""

        def both(stage: str, done: int, total: int, now: str = "") -> None:
            self(stage, done, total, now)
            progress(stage, done, total, now=now)

        return both

    def __call__(self, stage: str, done: int, total: int, now: str = "") -> None:
        turned = stage != self._said.get("stage")
        self._said |= {"stage": stage, "done": int(done), "total": int(total), "now": now}
        if turned:
            self._log.add(f"{stage}: {done:,} of {total:,}")
        if turned or time.monotonic() - self._written > EVERY_S:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        if not self._held():
            return
        said = self._said | {"heard": time.time(), "log": list(self._log.lines)}
        with suppress(OSError), whole(_path(self.folder, self.name)) as part:
            part.write_text(json.dumps(said))

    def _held(self) -> bool:
        """Whether the file is this process's to write; tried once, when the store is there."""
        if self._lock is None and not self._tried and self.folder.parent.is_dir():
            self._tried = True
            with suppress(OSError):
                self.folder.mkdir(exist_ok=True)
                lock = open(_path(self.folder, self.name, LOCK), "w")  # noqa: SIM115
                self._lock = lock if _locked(lock, fcntl.LOCK_EX) else None
        return self._lock is not None


class _Lines(logging.Handler):
    """The last lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.add(record.getMessage())

    def add(self, text: str) -> None:
        self.lines.append(f"{datetime.now(UTC):%H:%M:%S} {' '.join(text.split())}"[:MOST_LINE])


# -- read by others ----------------------------------------------------------------------------------------------------


def at_work(store: Store) -> list[Ingest]:
    """The ingests that have not published their run, by name: at work, or stopped."""
    runs = store.path / "runs"
    names = {path.name.removesuffix(ENDING).split(RANK)[0] for path in inside(runs / FOLDER, f"*{ENDING}")}
    names |= {path.name for path in inside(runs / ".incoming") if path.is_dir()}
    found = [one(runs, name) for name in sorted(names) if RUN_NAME.fullmatch(name)]
    return [each for each in found if each.alive or not (runs / f"{each.run}.duckdb").exists()]


def discard(store: Store, run: str) -> None:
    """Remove what a stopped ingest has kept. Raises RunError where there is none, or it is at work."""
    store.check_may_add()
    there = {each.run: each for each in at_work(store)}
    if run not in there:
        raise RunError(f"no unfinished ingest {run[:60]!r}; there are: {', '.join(there) or 'none'}")
    if there[run].alive:
        raise RunError(f"the ingest of {run!r} is at work; stop it first, by Ctrl-C where it runs")
    if kept := _spooled(store.path / "runs", run):
        shutil.rmtree(kept, ignore_errors=True)
    for name in _names(store.path / "runs", run):
        for ending in (ENDING, LOCK):
            _path(store.path / "runs" / FOLDER, name, ending).unlink(missing_ok=True)


def one(runs: Path, run: str) -> Ingest:
    """How far the ingest of a run is, of all its ranks together; runs: the folder where the run will lie."""
    kept, names = _spooled(runs, run), _names(runs, run)
    locks = [_path(runs / FOLDER, name, LOCK) for name in names]
    at_work = [_alive(lock) for lock in locks]
    alive = any(at_work) or any(map(_alive, [*inside(kept, "lock"), *inside(kept, "*/lock")] if kept else []))
    said = [_said(_path(runs / FOLDER, name)) for name in names]
    batches = len(spool.batches(kept)) if kept else 0
    return Ingest(run, alive, batches, **(_together(said, at_work) if len(said) > 1 else said[0]))


def _names(runs: Path, run: str) -> list[str]:
    """What the files of an ingest are called: its run, or that and a rank each."""
    return [path.name.removesuffix(ENDING) for path in inside(runs / FOLDER, f"{run}{RANK}*{ENDING}")] or [run]


def _together(said: list[dict], at_work: list[bool]) -> dict:
    """What several ranks say, as one: the stage of those that are furthest behind, and how far these are together."""
    stage = min((one.get("stage", "") for one in said), key=lambda one: STAGES.index(one) if one in STAGES else 0)
    there = [one for one in said if one.get("stage", "") == stage]
    lost = [number for number, alive in enumerate(at_work) if not alive]
    now = [f"{len(said) - len(lost)} of {len(said)} ranks at work", there[0].get("now", "")]
    return said[0] | {
        "stage": stage,
        "done": sum(one.get("done", 0) for one in there),
        "total": sum(one.get("total", 0) for one in there),
        "now": ", ".join(filter(None, now)),
        "begun": min(one.get("begun", 0) for one in said),
        "heard": max(one.get("heard", 0) for one in said),
        "log": tuple(sorted(line for one in said for line in one.get("log", ())))[-MOST_LINES:],
    }


def _said(path: Path) -> dict:
    """What a file says, of the kinds that it may have; whoever may write the folder can put anything there."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(MOST_READ))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    texts = {name: found[name][: MOST_LINE * 4] for name in TEXTS if isinstance(found.get(name), str)}
    numbers = {
        name: found[name] for name in NUMBERS
        if isinstance(found.get(name), (int, float)) and abs(found[name]) < 1e12
    }  # fmt: skip
    log = found.get("log")
    lines = [text[:MOST_LINE] for text in log[:MOST_LINES] if isinstance(text, str)] if isinstance(log, list) else []
    return texts | numbers | {"log": tuple(lines)}


def _spooled(runs: Path, run: str) -> Path | None:
    """Where the batches of an ingest are kept, if some place is."""
    folder = spool.folder(runs.parent, run)
    return folder if folder.is_dir() else None


def _alive(lock: Path) -> bool:
    """Whether a process holds a lock; the kernel lets it go with the process."""
    try:
        with open(lock) as file:
            return not _locked(file, fcntl.LOCK_SH, tries=1)
    except OSError:
        return False


def _locked(file: IO, how: int, tries: int = 5) -> bool:
    """Take a lock at once; tried again, for a reader has it for a moment."""
    for _ in range(tries):
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def _path(folder: Path, run: str, ending: str = ENDING) -> Path:
    return folder / f"{run}{ending}"


def _command() -> str:
    """The command line of this process, if it is one of ours."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return shlex.join(["python", "-m", program.parent.name, *sys.argv[1:]])
    return shlex.join(["qkstore", *sys.argv[1:]]) if program.name == "qkstore" else ""
