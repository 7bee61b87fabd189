"""The spool: what an unfinished ingest has captured, batch behind batch, in a file for each piece of the run file."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qkstore.errors import StoreError
from qkstore.files import inside

PLAN = "plan.json"
SHARD = "shard-"  # begins the folder of a rank's batches, within the run's own
LEDGER = "batches.jsonl"  # a line for each whole batch; what lies in other files behind the last one's is nothing
ANSWERS = "answers"  # of the batches' prompts, where the model answered
ROWS = {"query": "query_rows", "key": "key_rows"}  # {side: the file of its row ids}
SHARES = 6  # the fewest files that hold a part, if it has as many heads: each is removed once the run file has it


class Part(NamedTuple):
    """What is captured of each layer and head for every row of a side."""

    side: str
    dtype: type


PARTS = {"q": Part("query", np.float32), "k": Part("key", np.float32), "logsumexp": Part("query", np.float64)}


class Shape(NamedTuple):
    """What all batches of an ingest have in common."""

    layers: int
    heads: int
    kv_heads: int
    d_head: int

    def of(self, part: str) -> tuple[int, int]:
        """(heads, numbers a row) of a part."""
        return self.kv_heads if part == "k" else self.heads, 1 if part == "logsumexp" else self.d_head

    def pieces(self, part: str) -> list[Piece]:
        """The pieces of a part, as they follow each other in the run file."""
        shares = np.array_split(np.arange(self.of(part)[0]), min(-(-SHARES // self.layers), self.of(part)[0]))
        return [Piece(part, i, int(some[0]), len(some)) for i in range(self.layers) for some in shares]


class Piece(NamedTuple):
    """Some heads of one layer, `heads` of them from `first` on; its file has a block (heads, rows, …) a batch."""

    part: str
    layer: int  # counted from the first that is stored
    first: int
    heads: int

    @property
    def name(self) -> str:
        return f"{self.part}-{self.layer:03d}-{self.first:03d}"


@dataclass(frozen=True)
class Batch:
    """A line of the ledger: a batch's number, its rows on each side, and the shapes of its answers and vectors."""

    batch: int
    query: int
    key: int
    answers: tuple[int, int] | None
    shape: Shape

    @classmethod
    def of(cls, line: str) -> Batch:
        told = json.loads(line)
        answers = tuple(told["answers"]) if told["answers"] else None
        return cls(told["batch"], told["query"], told["key"], answers, Shape(*told["shape"]))


def folder(store: str | os.PathLike, run: str) -> Path:
    """Where the batches of an unfinished ingest lie."""
    return Path(store) / "runs" / ".incoming" / run


def begun(folder: Path) -> dict:
    """The plan with which an unfinished ingest was begun, {} where there is none."""
    return json.loads((folder / PLAN).read_text()) if (folder / PLAN).is_file() else {}


def batches(folder: Path) -> set[int]:
    """The numbers of the batches of an ingest that are whole, whatever else somebody wrote into its folder."""
    found = set()
    for place in [folder, *inside(folder, f"{SHARD}*")]:
        for line in _ledger(place):
            with suppress(ValueError, TypeError, LookupError):
                found.add(Batch.of(line).batch)
    return found


def _ledger(folder: Path) -> list[str]:
    """The lines of the ledger; the last is left out where it was cut off before its end."""
    text = ""
    with suppress(FileNotFoundError, NotADirectoryError):  # none yet, or no more: another rank has published the run
        text = (folder / LEDGER).read_text(errors="replace")
    return text[: text.rfind("\n") + 1].splitlines(keepends=True)


def sweep(folder: Path) -> None:
    """Remove what a killed ingest was in the midst of writing; the folder's lock must be held."""
    for left in folder.glob(".part-*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


class Spool:
    """The batches of one ingest, which one process at a time may hold."""

    def __init__(self, folder: Path):
        lines = _ledger(folder)
        self.folder, self.batches = folder, [Batch.of(line) for line in lines]  # in the order in which they lie
        self._end = sum(map(len, lines))
        self.total = {side: sum(getattr(batch, side) for batch in self.batches) for side in ROWS}  # rows in the files
        self._answers = sum(batch.answers[0] for batch in self.batches if batch.answers)

    @property
    def shape(self) -> Shape:
        return self.batches[0].shape

    # -- written -------------------------------------------------------------------------------------------------

    def put(
        self, batch: int, rows: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], answers: np.ndarray | None
    ) -> None:
        """Write a batch behind the others, its line in the ledger last; raises OSError, and it is then not there.

        rows: of each side, arrays: of each part. A batch of the same number counts for nothing from then on.
        """
        (layers, heads, _, d_head), kv_heads = arrays["q"].shape, arrays["k"].shape[1]
        shape = Shape(layers, heads, kv_heads, d_head)
        assert not self.batches or self.shape == shape, f"a batch of {shape} beside others of {self.shape}"
        for side, ids in rows.items():
            self._write(ROWS[side], self.total[side], ids)
        for part, array in arrays.items():
            side, dtype = PARTS[part]
            for piece in shape.pieces(part):
                block: np.ndarray = array[piece.layer, piece.first : piece.first + piece.heads].astype(
                    dtype, copy=False
                )
                self._write(piece.name, self.total[side] * piece.heads, block, axes=2)
        if answers is not None:
            self._write(ANSWERS, self._answers, answers.astype(np.float64, copy=False))
        told = None if answers is None else answers.shape
        self._enter(Batch(batch, len(rows["query"]), len(rows["key"]), told, shape))

    def cut(self) -> None:
        """Remove what lies behind the last whole batch: one that a kill or a full disk left half written."""
        sizes = {}
        if self.batches:
            sizes = {ROWS[side]: 4 * total for side, total in self.total.items()}
            sizes[ANSWERS] = 8 * self._answers * next((b.answers[1] for b in self.batches if b.answers), 0)
            for part, (side, dtype) in PARTS.items():
                row = np.dtype(dtype).itemsize * self.shape.of(part)[1] * self.total[side]
                sizes |= {piece.name: piece.heads * row for piece in self.shape.pieces(part)}
        for pattern in (*ROWS.values(), ANSWERS, *(f"{part}-*" for part in PARTS)):
            for file in self.folder.glob(pattern):
                if file.stat().st_size > sizes.get(file.name, 0):
                    os.truncate(file, sizes.get(file.name, 0))

    def _write(self, name: str, row: int, block: np.ndarray, axes: int = 1) -> None:
        """Write a block behind the first `row` rows of a file; a row is what its first `axes` axes count."""
        block = np.ascontiguousarray(block)
        width = block.itemsize * math.prod(block.shape[axes:])
        _write(self.folder / name, row * width, block.reshape(-1).view(np.uint8).data)

    def _enter(self, batch: Batch) -> None:
        """A line of the ledger behind its whole ones, in the place of one that was cut off."""
        line = (json.dumps(asdict(batch)) + "\n").encode()
        _write(self.folder / LEDGER, self._end, line, last=True)
        self.batches.append(batch)
        self._end += len(line)
        for side in ROWS:
            self.total[side] += getattr(batch, side)
        self._answers += batch.answers[0] if batch.answers else 0

    # -- read ----------------------------------------------------------------------------------------------------

    def answers(self) -> np.ndarray | None:
        """The answers of all batches, one row a prompt; None where there are none."""
        width = next((batch.answers[1] for batch in self.batches if batch.answers), None)
        return None if width is None else np.fromfile(self.folder / ANSWERS).reshape(-1, width)[: self._answers]

    def there(self, piece: Piece) -> bool:
        return (self.folder / piece.name).exists()

    def remove(self, piece: Piece) -> None:
        (self.folder / piece.name).unlink(missing_ok=True)

    def read(self, part: str, layer: int, head: int, first: int, out: np.ndarray) -> None:
        """Fill `out` with the values of rows `first` and on of one layer and head."""
        width = self.shape.of(part)[1]
        (piece,) = (p for p in self._pieces[part] if p.layer == layer and 0 <= head - p.first < p.heads)
        before, count, within = self.rows[PARTS[part].side][:, first : first + len(out)].astype(np.int64)
        places = before * piece.heads + count * (head - piece.first) + within
        np.take(self._mapped(piece, width), places, axis=0, out=out, mode="clip")

    def _mapped(self, piece: Piece, width: int) -> np.ndarray:
        """A piece's rows, mapped anew each time, so that what was read of a file larger than memory is let go."""
        side, dtype = PARTS[piece.part]
        shape = (self.total[side] * piece.heads, width)
        try:
            mapped = np.memmap(self.folder / piece.name, dtype, "r", shape=shape)
        except (FileNotFoundError, ValueError):
            raise StoreError(
                f"{piece.name} in {self.folder} is gone or was cut off, so the run cannot be made of it; "
                f"delete {self.folder} and ingest it anew"
            ) from None
        return mapped[:, 0] if piece.part == "logsumexp" else mapped

    @cached_property
    def _pieces(self) -> dict[str, list[Piece]]:
        return {part: self.shape.pieces(part) for part in PARTS}

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """{side: (3, n)} where each row lies, in the order of `ids`; to be asked when all batches are in."""
        return {side: places for side, (_, places) in self._sorted.items()}

    @cached_property
    def ids(self) -> dict[str, np.ndarray]:
        """{side: (n,)} the row numbers that are spooled, ascending."""
        return {side: ids for side, (ids, _) in self._sorted.items()}

    @cached_property
    def _sorted(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {side: self._places(side) for side in ROWS}

    def _places(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (n,), and (3, n): the rows before a row's batch, the rows of its batch, its place among them."""
        counts = [getattr(batch, side) for batch in self.batches]
        ids = np.fromfile(self.folder / ROWS[side], np.int32)[: sum(counts)]
        last = {batch.batch: i for i, batch in enumerate(self.batches)}
        live = np.repeat([last[batch.batch] == i for i, batch in enumerate(self.batches)], counts)
        before = np.cumsum([0, *counts[:-1]])
        places = np.stack([np.repeat(before, counts), np.repeat(counts, counts), np.arange(len(ids))])[:, live]
        places[2] -= places[0]
        order = np.argsort(ids[live], kind="stable")
        return ids[live][order], places[:, order].astype(np.int32)


def _write(path: Path, at: int, data: bytes | memoryview, last: bool = False) -> None:
    """Write at a place of a file, which is made if it is not there; last: what follows is cut off."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        file.seek(at)
        file.write(data)
        if last:
            file.truncate()
