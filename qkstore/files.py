"""Files and folders that are whole or not there: the one place where the project writes aside and renames."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qkstore.errors import RunError, StoreError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a free path beside the target; what the block leaves there becomes the target, in one rename.

    Until then the target is as it was, and for good where the block fails; what was half written is removed. A file
    takes the place of a file; a folder only that of an empty folder or of none. Two writers of one target do not meet:
    the last one stays. An OSError names the target. A process that is killed leaves a hidden `.part-XXXXXXXX-NAME`.
    """
    path = Path(path)
    part = path.parent / f".part-{secrets.token_hex(4)}-{path.name}"  # its ending stays, numpy would add its own
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if str(error.filename).startswith(str(part)):
            error.filename = str(path)
        raise
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write(out: str, ending: str, make: Callable[[Path], object]) -> None:
    """Write the file `out` whole by make(path), for a name that a user gave, which must end in `ending`.

    Raises RunError for another ending, StoreError where it cannot be written.
    """
    if not out.endswith(ending):
        raise RunError(f"--out {out}: the file's name must end in {ending}")
    try:
        with whole(out) as part:
            make(part)
    except OSError as error:
        raise StoreError(f"{out} was not written: {error.strerror or error}") from None


def inside(folder: Path, pattern: str = "*") -> list[Path]:
    """What matches in a folder, in order; nothing where the folder is gone, or goes while it is read."""
    try:
        return sorted(folder.glob(pattern))
    except FileNotFoundError:  # an older pathlib's, between its look at a folder and its reading
        return []


def move(folder: Path, target: Path) -> None:
    """Give a folder that is whole the name `target`, in one step; raises OSError where another one has it."""
    os.rename(folder, target)


def rename(part: Path, target: Path) -> None:
    """Give a file that is whole the name `target`, in place of what has it, in one step."""
    os.replace(part, target)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or a folder's list of names, before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
