"""A run file in the making: tables of labels, then vectors in the order of the file, then the manifest.

Vectors are committed a few of DuckDB's row groups at a time, and a piece of the spool is removed once all its rows are
in the file: at any moment the two hold all that was captured. Killed, a publication goes on behind its last commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.errors import StoreError
from qkstore.run import content, schema, vectors
from qkstore.run.incoming import labels
from qkstore.run.incoming.labels import Tables
from qkstore.run.incoming.spool import PARTS, Spool
from qkstore.sql import trust

Progress = Callable[[int, int], None]  # called with (rows written, rows in all)
TABLES = {"query_vector": ("q", "head"), "key_vector": ("k", "kv_head"), "row_stat": ("logsumexp", "head")}
GROUP = 122_880  # rows of a DuckDB row group: a record batch of as many is stored as it comes, by a thread of its own
PARTS_OF_A_GROUP = 15  # record batches of which one thread alone makes a row group, in so much less memory
SHARE = 6  # the least number of commits in which vectors are written, if they fill as many row groups
MOST_MEMORY = 400_000_000  # bytes for DuckDB: more would only keep blocks that nobody reads again
MOST_THREADS = 4


class Publication:
    """Context manager over the unfinished run file of a spool: `labels`, `vectors`, `manifest`, each done once.

    A file that a killed publication left is gone on with where the spool is not whole without it, else made anew.
    Raises StoreError where it cannot be gone on with, and one of schema.NOT_WRITTEN where the disk is full.
    """

    def __init__(self, path: Path, spool: Spool, layers: list[dict], store_dtype: str, memory: int):
        self.path, self.spool, self.layers, self.store_dtype = path, spool, layers, store_dtype
        self.sizes = {table: self._size(table) for table in TABLES}
        self.digests = content.Digests(
            [layer["layer"] for layer in layers], {table: size // len(layers) for table, size in self.sizes.items()}
        )
        limit, group = min(memory, MOST_MEMORY), GROUP * 4 * (spool.shape.d_head + 3)
        self.threads = max(1, min(limit // (2 * group), len(os.sched_getaffinity(0)), MOST_THREADS))
        clear(path, spool)
        self.con = self._open({"threads": "1", "memory_limit": f"{limit}B"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.con.close()

    def _open(self, config: dict[str, str | bool | int | float | list[str]]) -> duckdb.DuckDBPyConnection:
        again = self.path.exists()
        try:
            con = duckdb.connect(str(self.path), config=config | {"temp_directory": str(self.path.parent / "tmp")})
        except duckdb.Error as error:
            if not again:
                raise
            raise StoreError(
                f"{self.path} cannot be gone on with ({str(error).splitlines()[0]}): make room if the disk is full; "
                f"if it is damaged, delete {self.path.parent} and ingest the run anew"
            ) from None
        trust.quiet(con)
        con.execute(schema.NO_FLOAT_CODECS)
        con.execute("SET checkpoint_threshold = '1TB'")  # it is asked for after each commit
        return con

    def _there(self) -> set[str]:
        return labels.there(self.con)

    # -- labels --------------------------------------------------------------------------------------------------

    def labels(self, tables: Tables) -> None:
        """The tables, and the rows of all but the vectors'."""
        if not self._there():
            labels.write(self.con, tables, self.layers, self.spool.shape.d_head, self.store_dtype)

    # -- vectors -------------------------------------------------------------------------------------------------

    def vectors(self, progress: Progress | None) -> None:
        """The vectors of all layers, sorted by layer, head and row."""
        total, before = sum(self.sizes.values()), 0
        for table, size in self.sizes.items():
            [(done,)] = self.con.execute(f"SELECT count(*) FROM {table}").fetchall()
            groups = max(1, min(2 * self.threads, size // GROUP // SHARE))
            threads = min(self.threads, groups)  # one that has no row group would only spin
            self.con.execute(f"SET threads = {threads}")
            self.rows = GROUP if threads > 1 else max(1, GROUP // PARTS_OF_A_GROUP)
            step = GROUP * groups
            for first in range(done, size, step):
                self._write(table, first, min(first + step, size))
                self._remove(table, min(first + step, size))
                if progress:
                    progress(before + min(first + step, size), total)
            self._remove(table, size)  # a kill came between a commit and this
            before += size

    def _size(self, table: str) -> int:
        part, _ = TABLES[table]
        return len(self.layers) * self.spool.shape.of(part)[0] * self.spool.rows[PARTS[part].side].shape[1]

    def _write(self, table: str, first: int, end: int) -> None:
        """Insert rows first … end - 1 of a table, and have the disk hold them."""
        failed: list[BaseException] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for start in range(first, end, self.rows):
                    yield self._batch(table, start, min(self.rows, end - start))
            except BaseException as error:  # DuckDB would say of it that it is an error of Arrow
                failed.append(error)
                raise

        made = batches()
        one = next(made)
        try:
            labels.insert(self.con, table, pa.RecordBatchReader.from_batches(one.schema, chain([one], made)))
        except duckdb.Error:
            if failed:
                raise failed[0] from None
            raise
        self.con.execute("CHECKPOINT")

    def _batch(self, table: str, first: int, n: int) -> pa.RecordBatch:
        """Rows first … first + n - 1 of a table; what is read of a layer is added to its digest."""
        part, head = TABLES[table]
        (heads, width), side = self.spool.shape.of(part), PARTS[part].side
        number, row = np.divmod(np.arange(first, first + n), self.spool.rows[side].shape[1])
        layer, numbers = number // heads, {head: number % heads, "row": row}
        shape = (n,) if part == "logsumexp" else (n, width)
        values: np.ndarray = np.empty(shape, PARTS[part].dtype)
        starts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), n]
        for start, end in pairwise(starts):
            self.spool.read(part, int(layer[start]), int(numbers[head][start]), int(row[start]), values[start:end])
        numbers["row"] = self.spool.ids[side][row]
        columns = {name: pa.array(column, pa.int32()) for name, column in numbers.items()}
        columns |= {"logsumexp": pa.array(values)} if part == "logsumexp" else vectors.columns(values, self.store_dtype)
        self.digests.add(table, layer, list(columns.values()))
        stored = np.array([layer["layer"] for layer in self.layers], np.int32)
        return pa.RecordBatch.from_pydict({"layer": pa.array(stored[layer])} | columns)

    def _remove(self, table: str, end: int) -> None:
        """Remove the pieces of the spool whose rows all stand before row `end` of a table, which are in the file."""
        part, _ = TABLES[table]
        n = self.spool.rows[PARTS[part].side].shape[1]
        for piece in self.spool.shape.pieces(part):
            if (piece.layer * self.spool.shape.of(part)[0] + piece.first + piece.heads) * n <= end:
                self.spool.remove(piece)

    # -- manifest ------------------------------------------------------------------------------------------------

    def manifest(self, facts: dict, tables: Tables, weights: dict[str, np.ndarray], measures: dict[str, float]) -> None:
        """What is kept beside the vectors, and the manifest, which says that the run is whole."""
        if "run" not in self._there():
            labels.manifest(self.con, facts, tables, self.digests.told(self.con), weights, measures)


def clear(path: Path, spool: Spool) -> None:
    """Remove what a publication left, unless it holds what the spool has no more."""
    if all(spool.there(piece) for part in PARTS for piece in spool.shape.pieces(part)):
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()
    elif path.exists():
        path.chmod(0o644)
