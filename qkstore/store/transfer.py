"""Transfer of a finished run between stores: in pieces, resumable, checked, and seen only when it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from qkstore.errors import RunError, StoreError
from qkstore.files import sync
from qkstore.run import Run
from qkstore.run.space import told
from qkstore.store.store import Store

PIECE = 8 << 20  # bytes
ARRIVING = ".arriving"  # the folder in runs/ where what is not whole yet lies; no reader looks into hidden ones

Progress = Callable[[int, int], None]  # called with (bytes done, bytes in all)


def transfer(source: Store, name: str, target: Store, progress: Progress | None = None) -> Path:
    """Copy the run called `name` from one store into another; returns its file there.

    Interrupted, it goes on at the first piece that did not arrive when called again. A run of the same content that is
    there already is left as it is. Raises RunError where the run is not in `source` or another of its name is in
    `target`, StoreError where it is damaged, does not fit, or does not arrive as it was sent.
    """
    run = source.run(name)
    final = target.path / "runs" / run.path.name
    if final.exists():
        return _same(run, final, target)
    folder = final.parent / ARRIVING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder / f"{run.path.name}.lock", name):
            part = folder / run.path.name
            _check_space(run.path, part, name)
            digest = _copy(run.path, part, progress or (lambda done, total: None))
            if _digest(part) != digest:
                part.unlink()
                raise StoreError(f"run {name!r} did not arrive as it was sent; try again, or check the disk")
            return _publish(part, final)
    except OSError as error:
        raise StoreError(f"run {name!r} cannot be copied to {target.where}: {error.strerror or error}") from None


def _same(run: Run, final: Path, target: Store) -> Path:
    """The run that is there already, if it is the same."""
    there = target.run(run.name)
    if there.identity != run.identity:
        raise RunError(
            f"run {run.name!r} is in {target.where} already, and is another one (made {there.created}, "
            f"this one {run.created}); rename one of the two files"
        )
    return final


@contextmanager
def _held(lock: Path, name: str) -> Iterator[None]:
    """One transfer of a run at a time; the lock goes with the process, however it ends."""
    with open(lock, "w") as file:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.exists() and os.path.samestat(lock.stat(), os.fstat(file.fileno())):  # not one just put away
                try:
                    yield
                finally:
                    lock.unlink()
                return
    raise RunError(f"run {name!r} is being copied there by another process")


def _check_space(path: Path, part: Path, name: str) -> None:
    left = path.stat().st_size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if left > free:
        raise StoreError(f"run {name!r} needs {told(left)} more, {told(free)} are free there")


def _copy(path: Path, part: Path, progress: Progress) -> str:
    """Copy what is missing of a file; returns the sha256 of the whole of it, as it was read."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with open(path, "rb") as source, open(part, "r+b" if part.exists() else "w+b") as target:
        for piece in _pieces(source):
            digest.update(piece)
            if target.read(len(piece)) != piece:  # not there yet, or cut off within
                target.seek(done)
                target.write(piece)
            done += len(piece)
            progress(done, total)
        target.truncate(done)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _digest(path: Path) -> str:
    """The sha256 of a file, as it now lies on the disk."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(part: Path, final: Path) -> Path:
    """Show a file that is whole, under its name, if nobody took it meanwhile."""
    Run(part).close()
    part.chmod(0o444)
    try:
        os.link(part, final)
    except FileExistsError:
        raise RunError(f"a run {final.stem!r} has come there meanwhile; nothing was changed") from None
    sync(final.parent)
    part.unlink()
    return final
