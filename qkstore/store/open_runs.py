"""The open runs of a store: each file is opened once, many at a time, and let go when it was replaced or removed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from qkstore.errors import QKStoreError, RunError, StoreError
from qkstore.run import Run, file
from qkstore.run.shards import Elsewhere

MOST_ENDING = 1000  # files that ended what read them, and are not tried again

Key = tuple[Path, int, int, int, int]
Ending = Callable[[Sequence[Path]], set[Path]]  # which of these files end a process that reads them


def _key(path: Path) -> Key | RunError:
    """What is another for a file that was replaced; the error where it is gone."""
    try:
        stat = path.stat()
    except OSError as error:  # deleted since it was listed
        return RunError(f"run file {path.name} cannot be read: {error.strerror}")
    return path, stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_ctime_ns


class OpenRuns:
    """The runs that are open, for all sessions of a process. elsewhere: as Run has it."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        self._elsewhere = elsewhere
        self._open: dict[Key, Run] = {}
        self._ended: deque[Key] = deque(maxlen=MOST_ENDING)
        self._lock = threading.Lock()

    def each(self, paths: Sequence[Path], ending: Ending | None) -> list[Run | QKStoreError]:
        """The open Run of each path, or the error of opening it."""
        keys = [_key(path) for path in paths]
        with self._lock:  # one session looks at a file and opens it; the others find it open
            new = [key for key in keys if isinstance(key, tuple) and key not in self._open]
            opened = self._new(new, ending) if new else {}
            return [key if isinstance(key, QKStoreError) else opened.get(key) or self._open[key] for key in keys]

    def _new(self, keys: list[Key], ending: Ending | None) -> dict[Key, Run | QKStoreError]:
        """What was opened, kept too; a file that ends what reads it is not, and each has another process read it first.

        The one that a file has replaced is let go: it would hold a file that is gone.
        """
        untried = [key for key in keys if key not in self._ended]
        ended = ending([key[0] for key in untried]) if ending and untried else set()
        self._ended.extend(key for key in untried if key[0] in ended)
        sound = [key for key in untried if key[0] not in ended]
        for stale in [key for key in self._open if key[0] in {key[0] for key in sound}]:
            self._open.pop(stale).close()
        said = "ends the program that reads it; it is not opened"
        found: dict[Key, Run | QKStoreError] = {key: StoreError(f"run file {key[0].name} {said}") for key in keys}
        paths = [key[0] for key in sound]
        for key, one in zip(sound, file.opened_each(paths), strict=True):
            found[key] = one if isinstance(one, QKStoreError) else Run(key[0], one, self._elsewhere)
        self._open |= {key: one for key, one in found.items() if isinstance(one, Run)}
        return found

    def let_go(self, there: set[Path]) -> None:
        """Forget the open runs whose files were removed; whoever still reads one holds it until then."""
        with self._lock:
            for key in [key for key in self._open if key[0] not in there and not key[0].exists()]:
                self._open.pop(key)
