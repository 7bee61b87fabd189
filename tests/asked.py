"""Asking at a door: what is said, in what time, and whether anything else was read, written or kept.

`Place.tried` is the one check of tests/project/test_doors.py; its controls are in test_doors_hold.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import spoilt
from conftest import ROOT
from queries import SCHEMA, columns_of

from qkstore.errors import QKStoreError
from qkstore.sql import worker

LIMIT_S, LATE_S = 1.0, 1.0  # of a query, and after it
MOST_BYTES = 30 << 20  # by which one input may make this process grow
MOST_LINE = 700  # characters
HIDDEN = 424_242_424_242  # in a table that is not for users
CANARIES = (spoilt.SECRET, str(HIDDEN), "root:x:", "Traceback")
MACHINE = {str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())} - {"/"}


class Place:
    """A folder with a store, a database with a table that is not for users, and a file that nothing may read."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.spoilt = spoilt.place(folder)
        self.path = folder / "small.duckdb"
        with duckdb.connect(str(self.path)) as con:
            con.execute(SCHEMA.replace("VALUES (42)", f"VALUES ({HIDDEN})").replace("x INTEGER", "x BIGINT"))
        self.columns = columns_of(self.path)
        self.run = self.spoilt.store.run("good")

    def named(self, text: str) -> str:
        return text.replace("CANARY", str(self.spoilt.canary)).replace("OUT", str(self.spoilt.out))

    def files(self) -> dict[str, tuple[int, int]]:
        """{file: its size and time}, of all that is there."""
        return {str(p): (s.st_size, s.st_mtime_ns) for p in self.folder.rglob("*") if (s := p.lstat())}

    def tried(self, ask: Callable[[], object], given: str = "", limit_s: float = LIMIT_S) -> str:
        """What is said, by an answer or by an error of one line; fails where it, a file or the memory tells of more.

        given: a text of the asker's own that may stand in it.
        """
        for pool in (worker._queries, worker._readings):
            pool.warm()  # the time below is not that of a process's start
        files, held, start = self.files(), resident(), time.monotonic()
        said, refused = answered(ask)
        took = time.monotonic() - start
        assert not refused or ("\n" not in said and said.isprintable() and 0 < len(said) < MOST_LINE), said[:MOST_LINE]
        for secret in (*CANARIES, *MACHINE, str(self.folder)):
            assert secret not in said.replace(given or "\0", ""), said[:MOST_LINE]
        assert self.files() == files
        if resident() - held >= MOST_BYTES:  # of what is loaded once, or freed late on a busy machine; or it will again
            held = resident()
            answered(ask)
            assert resident() - held < MOST_BYTES, "memory"
        assert took < limit_s + LATE_S or took < limit_s + LATE_S + start_s(), "seconds"
        return f"refused: {said}" if refused else said


def answered(ask: Callable[[], object]) -> tuple[str, bool]:
    """What is said, and whether it is an error."""
    try:
        return str(ask()), False
    except QKStoreError as error:
        return str(error), True


def resident() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start_s() -> float:
    """Seconds that a plain process, which gives way as a slow query does, takes now: how busy the machine is."""
    start = time.monotonic()
    subprocess.run(["nice", "-n", str(worker.NICE), sys.executable, "-c", "import duckdb, pyarrow"], check=True)
    return time.monotonic() - start


def short(value: object) -> str:
    return ascii(value)[:60]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """As in a dashboard: a process of each kind waits."""
    with pytest.MonkeyPatch.context() as patched:
        for pool in (worker._queries, worker._readings):
            patched.setattr(pool, "spare", True)
            pool.warm()
        yield Place(tmp_path_factory.mktemp("doors"))
