"""The vectors of a run, read from wherever they lie: its own file, or the shards that have the rows asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.run import file, vectors
from qkstore.run.manifest import Manifest
from qkstore.run.shards import Shards
from qkstore.sql import distant
from qkstore.sql.instance import Attachment

Table = Literal["query_vector", "key_vector", "row_stat"]
SIDE = {"query_vector": "query", "key_vector": "key", "row_stat": "query"}
HEAD = {"query_vector": "head", "key_vector": "kv_head", "row_stat": "head"}
READ_ROWS = 8192  # rows an Arrow batch; a large batch reserves its memory at once


class Part(NamedTuple):
    """Rows of one file. there: all that it has from the first wanted to the last; wanted: which of the asked."""

    file: Attachment
    there: Sequence[int] | np.ndarray
    wanted: slice | np.ndarray


class Reader:
    """Reads the vectors of a run file, or of its shards; threads may share one."""

    def __init__(self, name: str, own: Attachment, manifest: Manifest, shards: Shards | None):
        self.name, self.own, self.manifest, self.shards = name, own, manifest, shards
        self._total = {"query": manifest.n_queries, "key": manifest.n_keys}

    def vectors(self, table: Table, layer: int, head: int, rows: np.ndarray | None) -> np.ndarray:
        """(n, d_head) float32 of one head, for `rows`; of all rows where there are none given."""
        d_head, what = self.manifest.d_head, self._what(layer, head)
        where = f"layer = ? AND {HEAD[table]} = ? AND row BETWEEN ? AND ?"
        sql = f"SELECT * EXCLUDE (layer, {HEAD[table]}) FROM {table} WHERE {where}"

        def read(part: Part) -> np.ndarray:
            values = [layer, head, *_ends(part.there)]

            def ask(cursor: duckdb.DuckDBPyConnection) -> np.ndarray:
                batches = cursor.execute(sql, values).to_arrow_reader(READ_ROWS)
                return vectors.stacked(batches, part.there, d_head, what)

            distant.ready(part.file, table, where, values)
            return file.read(part.file, ask)

        if rows is None:
            rows = np.arange(self._total[SIDE[table]])
        out = np.empty((len(rows), d_head), np.float32) if self.shards else None
        for part in self._parts(table, rows):
            found = _taken(read(part), part.there, rows[part.wanted])
            if out is None:
                return found
            out[part.wanted] = found
        return out if out is not None else np.empty((0, d_head), np.float32)

    def logsumexp(self, layer: int, head: int, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 of query rows."""
        where = "layer = ? AND head = ? AND row BETWEEN ? AND ?"
        sql = f"SELECT row, logsumexp FROM row_stat WHERE {where}"
        out, what = np.empty(len(rows)), self._what(layer, head)
        for part in self._parts("row_stat", rows):
            values = [layer, head, *_ends(part.there)]
            distant.ready(part.file, "row_stat", where, values)
            table = file.read(part.file, partial(_table, sql, values))
            found = vectors.scattered(table, part.there, what)
            out[part.wanted] = vectors.filled(_taken(found, part.there, rows[part.wanted]), what)
        return out

    def _parts(self, table: Table, rows: np.ndarray) -> Iterator[Part]:
        if not len(rows):
            return
        if not self.shards:
            yield Part(self.own, range(int(rows.min()), int(rows.max()) + 1), slice(None))
            return
        side = SIDE[table]
        of = self.shards.of(side, rows)
        for shard in np.unique(of).tolist():
            wanted = np.flatnonzero(of == shard)
            own, every = rows[wanted], self.shards.rows(side, shard)
            first, last = np.searchsorted(every, [own.min(), own.max()])
            yield Part(self.shards.file(shard), every[first : last + 1], wanted)

    def _what(self, layer: int, head: int) -> str:
        return f"run {self.name!r}: layer {layer} head {head}"


def _table(sql: str, values: list, cursor: duckdb.DuckDBPyConnection) -> pa.Table:
    return cursor.execute(sql, values).to_arrow_table()


def _ends(rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
    return int(rows[0]), int(rows[-1])


def _taken(found: np.ndarray, there: Sequence[int] | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of what was read of the rows `there`, that of `rows`; without a copy where it is all of it."""
    if len(rows) == len(there) and np.array_equal(rows, there):
        return found
    return found[rows - there.start if isinstance(there, range) else np.searchsorted(there, rows)]
