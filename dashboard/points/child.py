"""A process that computes one UMAP, says how far it is, and ends with whoever started it.

`python -m dashboard.points.child FOLDER` reads q, k, n_neighbors and seed of FOLDER/asked.npz and writes
FOLDER/found.npz; why it could not, it writes into FOLDER/error.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np

from qkstore import projection
from qkstore.errors import QKStoreError

NICE = 5  # the server comes first


def main(folder: Path) -> int:
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asked = np.load(folder / "asked.npz")
    try:
        found = projection.umap(
            asked["q"], asked["k"], n_neighbors=int(asked["n_neighbors"]), seed=int(asked["seed"]), verbose=True
        )
    except (QKStoreError, ImportError, MemoryError) as error:
        (folder / "error").write_text(str(error) or type(error).__name__, encoding="utf-8")
        return 1
    np.savez(folder / "found.npz", query=found.query, key=found.key)
    return 0


def _end_with_parent() -> None:
    """Standard input is a pipe that nothing is written to: it ends when the parent does."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
