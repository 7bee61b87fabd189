"""The open runs of a store: each file is opened once, many at a time, and let go when it was replaced or removed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import duckdb

from qkstore.errors import QKStoreError, RunError, StoreError
from qkstore.run import Run, file
from qkstore.run.shards import Elsewhere
from qkstore.sql import distant
from qkstore.sql.instance import Attachment
from qkstore.sql.trust import ENDS

MOST_ENDING = 1000  # files that ended what read them, and are not tried again

Key = tuple[Path, int, int, int, int]
Look = Callable[[Sequence[Path]], Mapping[Path, str]]  # what is wrong with each file; ENDS: it ends what reads it


def _key(path: Path) -> Key | RunError:
    """What is another for a file that was replaced; the error where it is gone."""
    try:
        stat = path.stat()
    except OSError as error:  # deleted since it was listed
        return RunError(f"run file {path.name} cannot be read: {error.strerror}")
    return path, stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_ctime_ns


class Ends(Exception):
    """A file ends what reads it."""


class Ended:
    """The files that ended what read them, as they were; the last MOST_ENDING of them. Threads may share it."""

    def __init__(self) -> None:
        self._files: deque[Hashable] = deque(maxlen=MOST_ENDING)
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._files

    def add(self, keys: Iterable[Hashable]) -> None:
        with self._lock:
            self._files.extend(keys)


def _not_opened(what: str) -> StoreError:
    return StoreError(f"{what} {ENDS}; it is not opened")


class OpenRuns:
    """The runs that are open, for all sessions of a process. elsewhere: as Run has it."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        self._elsewhere = elsewhere
        self._open: dict[Key, Run] = {}
        self._ended = Ended()
        self._lock = threading.Lock()

    def each(self, paths: Sequence[Path], look: Look | None) -> list[Run | QKStoreError]:
        """The open Run of each path, or the error of opening it."""
        keys = [_key(path) for path in paths]
        with self._lock:  # one session looks at a file and opens it; the others find it open
            new = [key for key in keys if isinstance(key, tuple) and key not in self._open]
            opened = self._new(new, look) if new else {}
            return [key if isinstance(key, QKStoreError) else opened.get(key) or self._open[key] for key in keys]

    def _new(self, keys: list[Key], look: Look | None) -> dict[Key, Run | QKStoreError]:
        """What was opened, kept too; a file that ends what reads it is not, and each has another process read it first.

        The one that a file has replaced is let go: it would hold a file that is gone.
        """
        untried = [key for key in keys if key not in self._ended]
        said = look([key[0] for key in untried]) if look and untried else {}
        sound = [key for key in untried if said.get(key[0]) != ENDS]
        self._ended.add(set(untried) - set(sound))
        for stale in [key for key in self._open if key[0] in {key[0] for key in sound}]:
            self._open.pop(stale).close()
        found: dict[Key, Run | QKStoreError] = {key: _not_opened(f"run file {key[0].name}") for key in keys}
        paths = [key[0] for key in sound]
        for key, one in zip(sound, file.opened_each(paths), strict=True):
            found[key] = one if isinstance(one, QKStoreError) else self._run(key[0], one, look)
        self._open |= {key: one for key, one in found.items() if isinstance(one, Run)}
        return found

    def _run(self, path: Path, found: file.Opened, look: Look | None) -> Run:
        run = Run(path, found, self._elsewhere)
        if run.shards and look:
            run.shards.look = partial(self._look_at, look)
        return run

    def _look_at(self, look: Look, shard: Attachment) -> None:
        """Raise StoreError for a shard that ends what reads it; another process reads each first, when it is needed."""
        version = shard.file, shard.stamp
        if version not in self._ended:

            def ask() -> None:
                if said := look([shard.file])[shard.file]:
                    raise Ends if said == ENDS else duckdb.IOException(said)

            try:
                with suppress(duckdb.Error):  # told when it is attached
                    distant.mended(shard, ask)
                return
            except Ends:
                self._ended.add([version])
        raise _not_opened(shard.what)

    def let_go(self, there: set[Path]) -> None:
        """Forget the open runs whose files were removed; whoever still reads one holds it until then."""
        with self._lock:
            for key in [key for key in self._open if key[0] not in there and not key[0].exists()]:
                self._open.pop(key)
