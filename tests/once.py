"""What many tests need is made once, for all of them and for every worker, and copied to where each uses it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_own = tempfile.TemporaryDirectory(prefix="qkstore-")  # of a script that is no test; it goes with its process
place = Path(_own.name)  # the folder of what is made, which conftest.py names at the start


def made(name: str, make: Callable[[Path], object]) -> Path:
    """The folder that make(folder) filled, by its name; to be read only. The first to ask makes it, others wait."""
    there = place / name
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there.exists():
            begun = place / f"{name}.begun"
            shutil.rmtree(begun, ignore_errors=True)
            make(begun)
            begun.rename(there)
    return there


def runs(name: str, store: Path, make: Callable[[Path], object]) -> None:
    """The run files of the store that make(folder) makes, copied into `store`, which may be changed."""
    (store / "runs").mkdir(parents=True, exist_ok=True)
    for file in made(name, make).glob("runs/*.duckdb"):
        shutil.copyfile(file, store / "runs" / file.name)
