"""The spool: the batches of an unfinished ingest, each a folder of arrays that is whole or not there."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qkstore.files import whole

PLAN = "plan.json"
ANSWERS = "answers.npy"  # of a batch's prompts, where the model answered
PARTS = {"query_rows": np.int32, "key_rows": np.int32, "q": np.float32, "k": np.float32, "logsumexp": np.float64}


def batches(folder: Path) -> dict[int, Path]:
    """{number: folder} of the whole batches of an ingest, by number."""
    names = {int(p.name[6:]): p for p in folder.glob("batch-*") if p.name[6:].isdecimal()}
    return dict(sorted(names.items()))


def folder(store: str | os.PathLike, run: str) -> Path:
    """Where the batches of an unfinished ingest lie."""
    return Path(store) / "runs" / ".incoming" / run


def begun(folder: Path) -> dict:
    """The plan with which an unfinished ingest was begun, {} where there is none."""
    return json.loads((folder / PLAN).read_text()) if (folder / PLAN).is_file() else {}


def put(folder: Path, batch: int, arrays: dict[str, np.ndarray], answers: np.ndarray | None = None) -> None:
    """Write a batch, one array for each of PARTS, in the place of one of the same number; raises OSError."""
    target = folder / f"batch-{batch:06d}"
    with whole(target) as part:
        part.mkdir()
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", np.ascontiguousarray(array, dtype=PARTS[name]))
        if answers is not None:
            np.save(part / ANSWERS, answers)
        shutil.rmtree(target, ignore_errors=True)  # a batch of this number that an earlier ingest left


def answers(folder: Path) -> np.ndarray | None:
    """What the batches hold of the model's answers, one row a prompt; None where they hold none."""
    there = [path / ANSWERS for path in batches(folder).values() if (path / ANSWERS).is_file()]
    return np.concatenate([np.load(path) for path in there]) if there else None


def sweep(folder: Path) -> None:
    """Remove what a killed ingest was in the midst of writing; the folder's lock must be held."""
    for left in folder.glob(".part-*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


class Spool:
    """The spooled batches of one ingest, read head by head; memory is that of one head, and one file is open at a time.

    Where each array begins in its file is looked up once: maps that stay open would take five descriptors a batch.
    """

    def __init__(self, batches: list[Path]):
        self.arrays = {name: [_Stored.at(b / f"{name}.npy") for b in batches] for name in PARTS}
        self.order = {rows: self._order(rows) for rows in ("query_rows", "key_rows")}

    def head(self, part: str, rows: str, layer: int, head: int) -> tuple[np.ndarray, np.ndarray]:
        """Row ids (n,) ascending and values (n, …) of one layer and head."""
        order = self.order[rows]
        values = np.concatenate([a.read(layer, head) for a in self.arrays[part]])
        return np.arange(len(order), dtype=PARTS[rows]), values[order]

    def _order(self, rows: str) -> np.ndarray:
        ids = np.concatenate([a.read() for a in self.arrays[rows]])
        order = np.argsort(ids, kind="stable")
        assert np.array_equal(ids[order], np.arange(len(ids))), f"{rows} of the spool are not 0…{len(ids) - 1}"
        return order


@dataclass(frozen=True)
class _Stored:
    """Where an array lies in an .npy file."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def at(cls, path: Path) -> _Stored:
        array = np.load(path, mmap_mode="r")  # raises where the file is cut off
        return cls(str(path), array.offset, array.shape, array.dtype)

    def read(self, *index: int) -> np.ndarray:
        """array[index] of leading axes."""
        shape, place = self.shape[len(index) :], 0
        for i, size in zip(index, self.shape):
            place = place * size + i
        length = math.prod(shape) * self.dtype.itemsize
        handle = os.open(self.path, os.O_RDONLY)
        try:
            return np.frombuffer(os.pread(handle, length, self.offset + place * length), self.dtype).reshape(shape)
        finally:
            os.close(handle)
