"""Arrival: a run that comes in pieces from elsewhere into a store, resumable, checked, seen only when it is whole.

Its shards come first, into a folder that waits for it, which gets its place just before the run file has its name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from qkstore.errors import RunError, StoreError
from qkstore.files import move, rename, sync
from qkstore.run import Run, shard
from qkstore.run.incoming import spool
from qkstore.run.incoming.space import told

PIECE = 8 << 20  # bytes; S3 takes none under 5 MiB but the last
LOCK = ".lock"
ARRIVING = ".arriving"  # the folder in runs/ where what is not whole yet lies; no reader looks into hidden ones

Progress = Callable[[int, int], None]  # called with (bytes done, bytes in all)
Read = Callable[[int, int], bytes]  # (from, to) -> these bytes of what is to come


class Coming(NamedTuple):
    """A file that is to come. digest: the sha256 that it must have; None where it is not known."""

    read: Read
    bytes: int
    digest: str | None
    word: str = ""  # what came before of the same word is kept


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
    coming: Coming,
    progress: Progress | None = None,
    replace: bool = False,
    look: Callable[[Path], object] = lambda part: Run(part).close(),
    before: Callable[[], object] = lambda: None,
) -> Path:
    """Bring a run file to `final`; what arrived before of the same word is kept. To be `held`.

    replace: an older file of that name goes. look: raises an error where it is none of its kind. before: called when it
    is whole, and not seen yet. Raises RunError where a run of that name has come meanwhile, StoreError where it does
    not fit, is no run, or is not what was sent.
    """
    part = final.parent / ARRIVING / f"{final.name}{f'.{coming.word}' if coming.word else ''}"
    part.parent.mkdir(parents=True, exist_ok=True)
    _check_space(part, coming.bytes, _what(final))
    _fill(part, coming.read, coming.bytes, progress or (lambda done, all: None))
    if coming.digest is not None and digest_of(part) != coming.digest:
        part.unlink()
        raise StoreError(f"{_what(final)} did not arrive as it was sent; try again, or check the disk")
    look(part)
    part.chmod(0o444)
    before()
    _publish(part, final, replace)
    clear(final)
    return final


def arrived_shards(final: Path, coming: Sequence[Coming], progress: Sequence[Progress]) -> Path:
    """Bring the shards of what will be the run file `final` into a folder that waits; returns that. To be `held`.

    What came before is kept where it is the same.
    """
    folder, place = final.parent / ARRIVING / shard.folder(final).name, shard.folder(final)
    folder.parent.mkdir(exist_ok=True)
    if place.exists() and not (folder.exists() or final.exists() or _is_ingested(final)):
        move(place, folder)  # killed just before the run file was there
    for number, (one, tell) in enumerate(zip(coming, progress, strict=True)):
        there = folder / shard.name(number)
        if not there.exists() or one.digest is None or digest_of(there) != one.digest:
            arrived(there, one, tell, replace=True, look=lambda part: None)
        tell(one.bytes, one.bytes)
    for left in set(folder.iterdir()) - {folder / shard.name(number) for number in range(len(coming))}:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return folder


def place_shards(folder: Path, final: Path) -> None:
    """Put shards that are all there beside where their run file is about to be."""
    place = shard.folder(final)
    if place.exists() and (final.exists() or _is_ingested(final)):
        raise RunError(f"run {final.stem!r} is being made there; nothing was changed")
    shutil.rmtree(place, ignore_errors=True)  # of a run that was removed, or given up
    move(folder, place)
    sync(place.parent)


def _is_ingested(final: Path) -> bool:
    return spool.folder(final.parent.parent, final.stem).exists()


def in_all(sizes: Sequence[int], progress: Progress | None) -> list[Progress]:
    """The progress of each of several files, told as that of one."""
    before, total = [0, *accumulate(sizes)], sum(sizes)
    return [lambda done, _, start=start: progress(start + done, total) if progress else None for start in before[:-1]]


def _what(final: Path) -> str:
    """A file that comes, as an error names it."""
    if final.parent.name.endswith(shard.schema.SHARDS):
        return f"shard {int(final.stem)} of run {final.parent.name.removesuffix(shard.schema.SHARDS)!r}"
    return f"run {final.stem!r}"


def clear(final: Path) -> None:
    """Put away what began to come before a run that is there now, and was given up or killed. To be `held`."""
    for older in (final.parent / ARRIVING).iterdir():
        word = older.name.removeprefix(final.name)  # none, or one; what has more belongs to a run of a longer name
        if older.is_file() and word != older.name and word.count(".") <= 1 and word != LOCK:
            older.unlink(missing_ok=True)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    while piece := file.read(PIECE):
        yield piece


def digest_of(path: Path) -> str:
    """The sha256 of a file, as it now lies on the disk."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(part: Path, total: int, what: str) -> None:
    left, free = total - (part.stat().st_size if part.exists() else 0), shutil.disk_usage(part.parent).free
    if left > free:
        raise StoreError(f"{what} needs {told(left)} more, {told(free)} are free there")


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
