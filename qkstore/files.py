"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from qkstore.errors import RunError, StoreError


def write(out: str, ending: str, make) -> None:
    """Call make(path) on a path beside the target, then rename, so that the target is always a whole file.

    Raises RunError, StoreError.
    """
    if not out.endswith(ending):
        raise RunError(f"--out {out}: the file's name must end in {ending}")
    path = Path(out)
    part = path.with_name(f".{path.stem}.part{ending}")
    try:
        make(part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{out} was not written: {error.strerror or error}") from None
