"""DuckDB's instances in this process: one for the run files of a folder, which share it and its limit of memory.

A file is attached when it is first read, and let go when MOST_ATTACHED others were read since: a store may have more
runs than a process has descriptors. What a spoilt file can do is to end its instance: the other runs then go on in a
new one, and that file has one of its own.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from qkstore.errors import StoreError
from qkstore.sql import memory, trust

T = TypeVar("T")
Stamp = tuple[int, ...]
MOST_ATTACHED = 48  # files, in all instances; each takes a descriptor and a megabyte or two
MOST_ENDING = 1000  # files that ended their instance
FATAL = ("INTERNAL Error", "FATAL Error")  # how DuckDB's errors begin after which an instance answers nothing more
ELSEWHERE = "has been invalidated because of a previous fatal error"  # that of another file, or of another question
RAISED = (duckdb.Error, pa.ArrowInvalid, OSError)  # Arrow raises what DuckDB says while rows come

_lock = threading.Lock()  # of all that follows; never held while a file is read
_shared: dict[Path, Instance] = {}
_places: OrderedDict[_Place, None] = OrderedDict()  # where a file is attached; the least recently read first
_left: deque[_Place] = deque()  # of files that nobody holds any more; filled where a lock cannot be waited for
_ending: OrderedDict[Stamp, None] = OrderedDict()
_number = itertools.count()


class Instance:
    """One DuckDB that can reach the files of a folder, or one file, and nothing else."""

    def __init__(self, folder: Path | None, file: Path):
        self.folder, self.bytes, self.ended = folder, memory.limit(), False
        reach = folder or trust.with_log(file)
        self._main: list[duckdb.DuckDBPyConnection] = [trust.locked(reach, memory_limit=f"{self.bytes}B")]
        if folder:
            _shared[folder] = self

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """One that uses no file."""
        with _lock:
            return self.connection.cursor()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        if self.ended:
            raise duckdb.ConnectionException("this DuckDB was let go")
        return self._main[0]

    def end(self) -> None:
        """Give no more cursors; those that were given read on: to close it would close them, too."""
        self.ended = True
        if self.folder and _shared.get(self.folder) is self:
            del _shared[self.folder]
        for place in [place for place in _places if place.instance is self]:
            del _places[place]
            place.idle.clear()
        self._main.clear()

    def end_unused(self) -> None:
        if not any(place.instance is self for place in _places):
            self.end()


class _Place:
    """A file as it is attached to an instance, under a name that no other has."""

    def __init__(self, instance: Instance):
        self.instance, self.name, self.readers = instance, f"run{next(_number)}", 0
        self.idle: list[duckdb.DuckDBPyConnection] = []
        self.given: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()

    @property
    def there(self) -> bool:
        return self in _places

    @property
    def busy(self) -> bool:
        return self.readers > 0 or len(self.given) > 0

    def given_cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of one's own, for which the file's tables need no further name; it holds the file attached."""
        with _lock:
            cursor = self._cursor()
            self.given.add(cursor)
            return cursor

    def read(self, ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """What `ask` makes with a cursor."""
        with _lock:
            cursor = self.idle.pop() if self.idle else self._cursor()
        try:
            made = ask(cursor)
        except BaseException:
            cursor.close()
            raise
        with _lock:
            if self.there and not self.idle:
                self.idle.append(cursor)
            else:
                cursor.close()
        return made

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self.instance.connection.cursor()
        cursor.execute(f"USE {self.name}")
        return cursor

    def hold(self, more: int) -> bool:
        """Count one more reader, or one less; whether the file is still there."""
        with _lock:
            self.readers += more
            if self.there:
                _places.move_to_end(self)
            return self.there

    def leave(self) -> None:
        """Let the file go, and the instance with its last file."""
        if self.there:
            del _places[self]
            while self.idle:
                self.idle.pop().close()
            try:
                self.instance.connection.execute(f"DETACH {self.name}")
            except duckdb.Error:  # a file has ended it, which nobody has met yet
                self.instance.end()
            self.instance.end_unused()


class Attachment:
    """A run file, to be read: attached when that is needed, and always the very file that it was at first.

    home: the folder whose files share a DuckDB with it. what: what errors call it. Raises OSError where it is not
    there. Threads may share one.
    """

    def __init__(self, path: Path, alone: bool = False, home: Path | None = None, what: str = ""):
        self.path, self.closed, self.what = path, False, what or f"run file {path.name}"
        self.file = path.resolve()  # a link is followed first: DuckDB allows a file by the path it really has
        self.home = home.resolve() if home else self.file.parent
        self.alone = alone or "?" in str(self.file)  # DuckDB looks for the log of such a file in another folder
        self.stamp = _stamp(self.file)
        self._place: list[_Place] = []  # the one where it was attached last
        self._attaching = threading.Lock()
        weakref.finalize(self, _drop, self._place).atexit = False

    @property
    def place(self) -> _Place:
        """Where it is attached, as long as it is held there."""
        return self._place[0]

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own, for which the file's tables need no further name; it holds the file attached."""
        return self._asked(_Place.given_cursor)

    def read(self, ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """What `ask` makes with a cursor; it is asked again where another file has ended the instance meanwhile.

        Raises duckdb.Error, and StoreError where the file was replaced or removed since.
        """
        return self._asked(lambda place: place.read(ask))

    def hold(self) -> None:
        """Keep the file where it is attached until `release`."""
        self._asked(lambda place: place.hold(1))

    def release(self) -> None:
        self.place.hold(-1)
        _tidy()

    def close(self) -> None:
        """Let the file go, at once or when who reads it is ready; no cursor is given any more."""
        self.closed = True
        _drop(self._place)

    def _asked(self, ask: Callable[[_Place], T]) -> T:
        while True:
            instance = None
            try:
                with self._attaching:
                    with _lock:
                        instance = self._instance()
                        there = self._place and self._place[0].there
                    place = self._place[0] if there else self._attached(instance)
                if not place.hold(1):  # let go for others since
                    continue
                try:
                    return ask(place)
                finally:
                    place.hold(-1)
                    _tidy()
            except RAISED as error:
                if not instance or not self._may_ask_again(instance, error):
                    raise

    def _instance(self) -> Instance:
        if self.closed:
            raise duckdb.ConnectionException(f"{self.what} was closed")
        alone = self.alone or self.stamp in _ending
        there = self._place and self._place[0].there
        found = self._place[0].instance if there else _shared.get(self.home)
        if found and found.bytes != memory.limit():  # which nobody changes once an instance is locked
            found.end()
        elif found and not (alone and found.folder):
            return found
        return Instance(None if alone else self.home, self.file)

    def _attached(self, instance: Instance) -> _Place:
        place = _Place(instance)
        try:
            self._check_same()
            trust.with_log(self.file)
            cursor = instance.cursor()
            cursor.execute(f"ATTACH {trust.text(str(self.file))} AS {place.name} (READ_ONLY, TYPE duckdb)")
            with _lock:
                if not instance.ended:
                    _places[place] = None
            self._check_same()
        except BaseException:
            with _lock:
                place.leave()
                instance.end_unused()
            raise
        self._place[:] = [place]
        return place

    def _check_same(self) -> None:
        """Raise StoreError unless it is the file that it was at first: what was looked at in that may not hold here."""
        try:
            same = _stamp(self.file) == self.stamp
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.what} was replaced, changed or removed since it was opened")

    def _may_ask_again(self, instance: Instance, error: Exception) -> bool:
        """Whether it was another file that ended the instance, if anything did."""
        if instance.ended and isinstance(error, duckdb.ConnectionException) and not self.closed:
            return True
        if not fatal(error):
            return False
        with _lock:
            instance.end()
            if ELSEWHERE in str(error) and instance.folder:
                return True
            _ending[self.stamp] = None
            while len(_ending) > MOST_ENDING:
                _ending.popitem(last=False)
            return False


def fatal(error: Exception) -> bool:
    """Whether an instance answers nothing more after this error."""
    return str(error).startswith(FATAL)


def _make_room() -> None:
    """Let go what nobody reads and was not read for the longest time."""
    idle = [place for place in _places if not place.busy]
    for place in idle[: max(0, len(_places) - MOST_ATTACHED)]:
        place.leave()


def _drop(places: Sequence[_Place]) -> None:
    _left.extend(places)
    _tidy()


def _tidy() -> None:
    """Let go what nobody holds any more, and what is too many; what is still read is for later."""
    if not (_left or len(_places) > MOST_ATTACHED) or not _lock.acquire(blocking=False):
        return  # whoever has the lock does the same
    try:
        _make_room()
        for _ in range(len(_left)):
            place = _left.popleft()
            if place.busy:
                _left.append(place)
            else:
                place.leave()
    finally:
        _lock.release()


def _stamp(file: Path) -> Stamp:
    """What is another for another file, and for one that was written to: a changed time alone can be made up."""
    stat = os.stat(file)
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_ctime_ns
