"""Arrival: a file that comes in pieces from elsewhere into a store's runs, resumable, checked, seen only when whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from qkstore.errors import RunError, StoreError
from qkstore.files import rename, sync
from qkstore.run import Run
from qkstore.run.incoming.space import told

PIECE = 8 << 20  # bytes; S3 takes none under 5 MiB but the last
LOCK = ".lock"
ARRIVING = ".arriving"  # the folder in runs/ where what is not whole yet lies; no reader looks into hidden ones

Progress = Callable[[int, int], None]  # called with (bytes done, bytes in all)
Read = Callable[[int, int], bytes]  # (from, to) -> these bytes of what is to come


@contextmanager
def held(final: Path, name: str) -> Iterator[None]:
    """One arrival of a run at a time; the lock goes with the process, however it ends. Raises RunError."""
    lock = final.parent / ARRIVING / f"{final.name}{LOCK}"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        if not _locked(file, lock):
            raise RunError(f"run {name!r} is being copied there by another process")
        try:
            yield
        finally:
            lock.unlink()


def _locked(file: IO, lock: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(lock.stat(), os.fstat(file.fileno()))  # not one that was just put away
    except (BlockingIOError, FileNotFoundError):
        return False


def arrived(
    final: Path,
    read: Read,
    total: int,
    digest: str | None,
    progress: Progress | None = None,
    replace: bool = False,
    word: str = "",
) -> Path:
    """Bring a run of `total` bytes to `final`; what arrived before of the same `word` is kept. To be `held`.

    digest: the sha256 that it must have; None where it is not known. replace: an older file of that name goes.
    Raises RunError where a run of that name has come meanwhile, StoreError where it does not fit, is no run, or is not
    what was sent.
    """
    part = final.parent / ARRIVING / f"{final.name}{f'.{word}' if word else ''}"
    _check_space(part, total, final.stem)
    _fill(part, read, total, progress or (lambda done, all: None))
    if digest is not None and digest_of(part) != digest:
        part.unlink()
        raise StoreError(f"run {final.stem!r} did not arrive as it was sent; try again, or check the disk")
    Run(part).close()
    part.chmod(0o444)
    _publish(part, final, replace)
    clear(final)
    return final


def clear(final: Path) -> None:
    """Put away what began to come before a run that is there now, and was given up or killed. To be `held`."""
    for older in (final.parent / ARRIVING).iterdir():
        word = older.name.removeprefix(final.name)  # none, or one; what has more belongs to a run of a longer name
        if word != older.name and word.count(".") <= 1 and word != LOCK:
            older.unlink(missing_ok=True)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    while piece := file.read(PIECE):
        yield piece


def digest_of(path: Path) -> str:
    """The sha256 of a file, as it now lies on the disk."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(part: Path, total: int, name: str) -> None:
    left, free = total - (part.stat().st_size if part.exists() else 0), shutil.disk_usage(part.parent).free
    if left > free:
        raise StoreError(f"run {name!r} needs {told(left)} more, {told(free)} are free there")


def _fill(part: Path, read: Read, total: int, progress: Progress) -> None:
    """Add what is missing of a file; the piece that was cut off comes anew."""
    if part.exists():
        part.chmod(0o644)  # killed after it was whole, and read-only, and before it was shown
    with open(part, "r+b" if part.exists() else "w+b") as file:
        done = min(part.stat().st_size, total) // PIECE * PIECE
        file.seek(done)
        while done < total:
            piece = read(done, min(done + PIECE, total))
            file.write(piece)
            done += len(piece)
            progress(done, total)
        file.truncate(total)
        file.flush()
        os.fsync(file.fileno())


def _publish(part: Path, final: Path, replace: bool) -> None:
    """Show a file that is whole, under its name."""
    if replace:
        rename(part, final)
    else:
        try:
            os.link(part, final)
        except FileExistsError:
            raise RunError(f"a run {final.stem!r} has come there meanwhile; nothing was changed") from None
        part.unlink(missing_ok=True)
    sync(final.parent)
