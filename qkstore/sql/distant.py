"""A run file that lies elsewhere, read through a copy with holes: a block of it comes when it is first read.

DuckDB keeps a checksum of each block, which the zeros of a hole do not have, and its error names the place. That block
is brought, and the question is asked again: what a file has to give for a question, only DuckDB needs to know. DuckDB
itself reaches no server, and a copy is good for as long as the file elsewhere is the same.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np

from qkstore.errors import StoreError
from qkstore.files import whole
from qkstore.sql.instance import RAISED, Attachment

T = TypeVar("T")
Bring = Callable[[int, int], bytes]  # (from, to) -> these bytes of the file

HEADER, BLOCK = 3 * 4096, 262_144  # bytes of a DuckDB file: its headers, then blocks
PIECE = 32  # blocks that are asked for at once
BRINGERS = 4  # pieces that come at once
SINGLE = 8  # blocks that a question has brought one by one; of one that goes on, more come each time
PLACE = re.compile(r"checksum .* in block at location (\d+)")  # in DuckDB's error
PUNCH = 0x01 | 0x02  # of fallocate(2): free the disk's space, keep the size

# (first row, last row, block) of each piece of a column. A vector's values are a column below it, of more rows.
BLOCKS = """
    WITH part AS (
        SELECT row_group_id AS g, start, start + count AS stop, [block_id] || additional_block_ids AS blocks,
            max(start + count) OVER (PARTITION BY g, column_path) AS n,
            max(start + count) FILTER (column_path = '[0]') OVER (PARTITION BY g) AS n_rows
        FROM pragma_storage_info(?)
    ),
    row_group AS (SELECT g, sum(max(n_rows)) OVER (ORDER BY g) - max(n_rows) AS before FROM part GROUP BY g)
    SELECT before + start * n_rows // n AS first, before + (stop - 1) * n_rows // n AS last, unnest(blocks) AS block
    FROM part JOIN row_group USING (g)
"""


class Distant(Attachment):
    """A file that lies elsewhere, attached by the `hollow` copy of it; threads and processes may share the copy.

    bring: its errors are the reader's, a StoreError where the file elsewhere is gone or has changed. what, home: as
    Attachment has them.
    """

    def __init__(self, copy: Path, bring: Bring, what: str, home: Path | None = None):
        super().__init__(copy, home=home, what=what)
        self._bring = bring
        self._blocks: dict[str, np.ndarray] = {}  # {table: (3, n), as BLOCKS gives them}
        self._filling = threading.Lock()
        stat = os.stat(self.file)
        self.size = stat.st_size
        self.stamp = stat.st_dev, stat.st_ino, stat.st_size  # its time changes with each block

    def ready(self, table: str, where: str, values: Sequence[object]) -> None:
        """Bring the blocks with these rows of a table together: one after the other, each would take a request."""
        sql = f"SELECT min(rowid), max(rowid) FROM {table} WHERE {where}"
        [(first, last)] = self.read(lambda cursor: cursor.execute(sql, list(values)).fetchall())
        if first is None:
            return
        os.utime(self.file)  # the copy was used
        if table not in self._blocks:
            found = self.read(lambda cursor: cursor.execute(BLOCKS, [table]).to_arrow_table())
            self._blocks[table] = np.stack([column.to_numpy() for column in found.columns]).astype(np.int64)
        begins, ends, blocks = self._blocks[table]
        wanted = np.unique(blocks[(begins <= last) & (ends >= first) & (blocks >= 0)])
        with self._filling:
            self._fill([start for start in (HEADER + wanted * BLOCK).tolist() if start < self.size])

    def ready_all(self) -> None:
        """Bring all that is not here yet."""
        with self._filling:
            self._fill(range(HEADER, self.size, BLOCK))

    def _asked(self, ask: Callable[..., T]) -> T:
        return self.mended(partial(super()._asked, ask))

    def mended(self, ask: Callable[[], T]) -> T:
        """What `ask` makes, which is asked again when a hole that its error of DuckDB names was filled."""
        bad: Counter[int] = Counter()
        for n in count():
            try:
                return ask()
            except RAISED as error:
                place = PLACE.search(str(error))
                if not place or not self._mended(int(place[1]), bad, min(PIECE, 2 ** max(0, n - SINGLE))):
                    raise
        raise AssertionError("each turn returns, raises or mends")

    def _mended(self, place: int, bad: Counter[int], ahead: int) -> bool:
        """Whether what was read there may be another now: a hole is filled, and what is bad comes anew, once.

        ahead: how many blocks are brought, where those behind it are holes too.
        """
        if place >= self.size:
            return False
        start = HEADER + (place - HEADER) // BLOCK * BLOCK if place >= HEADER else 0
        with self._filling:
            if self._fill(range(start, min(start + ahead * BLOCK, self.size), BLOCK)):
                return True
            bad[start] += 1  # another reader may have filled it meanwhile
            if bad[start] == 2:
                self._fill([start], anew=True)
        return bad[start] <= 2

    def _fill(self, starts: Iterable[int], anew: bool = False) -> bool:
        """Bring the blocks that begin at these bytes, holes alone unless `anew`; whether there was anything to do."""
        try:
            file = os.open(self.file, os.O_RDWR)
            try:
                pieces = _pieces([start for start in starts if anew or _is_hole(file, start)], self.size)
                with ThreadPoolExecutor(BRINGERS) as pool:
                    list(pool.map(lambda piece: _written(file, piece[0], self._bring(*piece)), pieces))
            finally:
                os.close(file)
        except OSError as error:
            raise StoreError(f"{self.what} cannot be kept: {error.strerror or error}") from None
        return bool(pieces)

    def _check_same(self) -> None:
        """As of every file, but that its time changes when a block comes."""
        try:
            stat = os.stat(self.file)
            same = (stat.st_dev, stat.st_ino, stat.st_size) == self.stamp
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.what} was replaced or removed since it was opened")


def ready(attachment: Attachment, table: str, where: str, values: Sequence[object]) -> None:
    """Bring these rows of a table where they are not on this machine, before they are read."""
    if isinstance(attachment, Distant):
        attachment.ready(table, where, values)


def mended(attachment: Attachment, ask: Callable[[], T]) -> T:
    """What `ask` makes of a file in another process; what it lacks on this machine is brought."""
    return attachment.mended(ask) if isinstance(attachment, Distant) else ask()


def ready_all(attachment: Attachment) -> None:
    """Bring what is not on this machine of a file that is about to be read whole."""
    if isinstance(attachment, Distant):
        attachment.ready_all()


def hollow(copy: Path, size: int, bring: Bring) -> Path:
    """A copy that has the headers alone of a file of `size` bytes, made where it is not there."""
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with whole(copy) as part, open(part, "wb") as file:
            file.write(bring(0, min(HEADER, size)))
            file.truncate(size)
    return copy


class Room:
    """What hollow copies may take of the disk together: the one that was used least recently is emptied first.

    copies: finds them all. most: bytes. What one copy takes beside that for one question is not counted.
    """

    def __init__(self, copies: Callable[[], Iterable[Path]], most: int):
        self.copies, self.most = copies, most
        self._come, self._lock = most, threading.Lock()  # as if so much had come: the first time they are counted

    def take(self, copy: Path, n: int) -> None:
        """Count n bytes that come to a copy, and make room once an eighth of all has come since it was made."""
        with self._lock:
            self._come += n
            if self._come < self.most // 8:
                return
            self._come, held = 0, {}
            for one in self.copies():
                with suppress(FileNotFoundError):  # removed since
                    held[one] = one.stat()
            total = sum(_bytes_of(stat) for stat in held.values())
            for one in sorted(held.keys() - {copy}, key=lambda one: held[one].st_mtime_ns):
                if total <= self.most * 7 // 8:
                    return
                with suppress(FileNotFoundError):
                    empty(one)
                total -= _bytes_of(held[one])


def empty(copy: Path) -> None:
    """Give back what a copy takes of the disk, but its headers; who reads it has its blocks brought anew."""
    size = copy.stat().st_size - HEADER
    with open(copy, "r+b") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if size > 0 and libc.fallocate(file.fileno(), PUNCH, ctypes.c_int64(HEADER), ctypes.c_int64(size)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(copy))


def _bytes_of(stat: os.stat_result) -> int:
    """How much of the disk a file takes, which holes do not."""
    return stat.st_blocks * 512


def _pieces(starts: list[int], size: int) -> list[tuple[int, int]]:
    """(from, to) of blocks that follow each other, up to PIECE in one."""
    found: list[tuple[int, int]] = []
    for start in sorted(starts):
        end = min(start + (BLOCK if start else HEADER), size)
        if found and found[-1][1] == start and end - found[-1][0] <= PIECE * BLOCK:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _is_hole(file: int, start: int) -> bool:
    try:
        return os.lseek(file, start, os.SEEK_DATA) != start
    except OSError:  # there is no more data behind it
        return True


def _written(file: int, start: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], start + done)
