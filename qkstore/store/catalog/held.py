"""A catalogue that another program holds open: who that is, and a copy of the file that can be read meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from qkstore.errors import StoreError
from qkstore.sql import trust

LOCKED = "Could not set lock"  # DuckDB's words where another process has the file open
SHARED = "different configuration"  # and where this one has, by another connection
HOLDER = re.compile(r"held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
TRIES, PAUSE_S = 20, 0.05  # to copy a file that is written meanwhile


def busy(error: Exception) -> bool:
    """Whether a file could not be opened because somebody has it open."""
    return elsewhere(error) or SHARED in str(error)


def elsewhere(error: Exception) -> bool:
    """Whether that is another process, so that the file may be copied (see `copied`)."""
    return LOCKED in str(error)


def holder(error: Exception) -> str:
    """Who has the file open, as DuckDB names it: `process 4242 (duckdb)`. The program's folder is left out."""
    if SHARED in str(error):
        return "another connection of this process"
    found = HOLDER.search(str(error))
    return f"process {found['pid']} ({os.path.basename(found['program'])})" if found else "another program"


@contextmanager
def copied(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a copy of a file that another process holds, as it was last written; the copy goes with the block.

    DuckDB changes the file itself at checkpoints only and logs in between, so a copy of both is a whole state. Raises
    StoreError where it changes all the while. This process must not have the file open: the end of a read of it would
    take the lock of the connection.
    """
    with tempfile.TemporaryDirectory(prefix="qkstore-") as folder, _opened(path, Path(folder)) as con:
        yield con


def _opened(path: Path, folder: Path) -> duckdb.DuckDBPyConnection:
    for number in range(TRIES):
        copy, log = folder / f"{number}.duckdb", path.with_name(path.name + ".wal")
        try:
            before = _stamp(path)
            shutil.copyfile(path, copy)
            if log.exists():
                shutil.copyfile(log, copy.with_name(copy.name + ".wal"))
            if _stamp(path) == before:
                return duckdb.connect(str(copy), config=dict(trust.LOCKED))
        except (FileNotFoundError, duckdb.Error):  # a checkpoint came in between
            pass
        except OSError as error:
            raise StoreError(f"catalogue {path.name} cannot be copied to be read: {error.strerror}") from None
        time.sleep(PAUSE_S)
    raise StoreError(f"catalogue {path.name} is being written by another program all the while; try again")


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
