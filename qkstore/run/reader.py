"""The vectors of a run, read from wherever they lie: its own file, or the shards that have the rows asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.errors import StoreError
from qkstore.run import file, vectors
from qkstore.run.manifest import Manifest
from qkstore.run.shards import Shards
from qkstore.sql import distant
from qkstore.sql.instance import Attachment

Table = Literal["query_vector", "key_vector", "row_stat"]
SIDE = {"query_vector": "query", "key_vector": "key", "row_stat": "query"}
HEAD = {"query_vector": "head", "key_vector": "kv_head", "row_stat": "head"}
WHERE = "layer = ? AND {head} BETWEEN ? AND ? AND row BETWEEN ? AND ?"
AT_ONCE = 8 << 20  # bytes of several heads that are read together: a question takes as long as reading 1 MB
READ_ROWS = 8192  # rows an Arrow batch; a large batch reserves its memory at once


class Part(NamedTuple):
    """Rows of one file. there: all that it has from the first wanted to the last; wanted: which of the asked."""

    file: Attachment
    there: Sequence[int] | np.ndarray
    wanted: slice | np.ndarray


class Reader:
    """Reads the vectors of a run file, or of its shards; threads may share one.

    Where a head has few rows, several of them are read in far less time together than one by one.
    """

    def __init__(self, name: str, own: Attachment, manifest: Manifest, shards: Shards | None):
        self.name, self.own, self.manifest, self.shards = name, own, manifest, shards
        self._total = {"query": manifest.n_queries, "key": manifest.n_keys}

    def queries(self, layer: int, heads: range, rows: np.ndarray | None = None) -> np.ndarray:
        """q (heads, n, d_head) float32 of neighbouring heads, for `rows`; of all query rows where none are given."""
        return self._vectors("query_vector", layer, heads, rows)

    def keys(self, layer: int, heads: range, rows: np.ndarray | None = None) -> np.ndarray:
        """k (KV heads, m, d_head) float32 of each KV head that neighbouring query heads read."""
        size = self.manifest.n_heads // self.manifest.n_kv_heads
        return self._vectors("key_vector", layer, range(heads[0] // size, heads[-1] // size + 1), rows)

    def _vectors(self, table: Table, layer: int, heads: range, rows: np.ndarray | None) -> np.ndarray:
        if rows is None:
            rows = np.arange(self._total[SIDE[table]])
        d_head, head = self.manifest.d_head, HEAD[table]
        sql = f"SELECT * EXCLUDE (layer, {head}), {head} AS head FROM {table} WHERE {WHERE.format(head=head)}"

        def read(part: Part, some: range) -> np.ndarray:
            values, what = _values(layer, some, part), self._what(layer, some)

            def ask(cursor: duckdb.DuckDBPyConnection) -> np.ndarray:
                batches = cursor.execute(sql, values).to_arrow_reader(READ_ROWS)
                return vectors.stacked(batches, some, part.there, d_head, what)

            return file.read(part.file, ask)

        return self._read(table, layer, heads, rows, read, np.empty((len(heads), len(rows), d_head), np.float32))

    def logsumexp(self, layer: int, heads: range, rows: np.ndarray) -> np.ndarray:
        """(heads, n) float64 of query rows."""
        sql = f"SELECT head, row, logsumexp FROM row_stat WHERE {WHERE.format(head='head')}"

        def read(part: Part, some: range) -> np.ndarray:
            table = file.read(part.file, partial(_table, sql, _values(layer, some, part)))
            return vectors.scattered(table, some, part.there, self._what(layer, some))

        found = self._read("row_stat", layer, heads, rows, read, np.empty((len(heads), len(rows))))
        for head, of_head in zip(heads, found, strict=True):
            vectors.filled(of_head, self._what(layer, range(head, head + 1)))
        return found

    def _read(
        self,
        table: Table,
        layer: int,
        heads: range,
        rows: np.ndarray,
        read: Callable[[Part, range], np.ndarray],
        out: np.ndarray,
    ) -> np.ndarray:
        """What `read` gives of each part, a few heads at a time, in `out`: (heads, n, …)."""
        each = out.itemsize * out[:1, :1].size
        for part in self._parts(table, rows):
            for some in _in_turn(heads, AT_ONCE // (len(part.there) * each)):
                distant.ready(part.file, table, WHERE.format(head=HEAD[table]), _values(layer, some, part))
                found = _taken(_named(read, part, some), part.there, rows[part.wanted])
                if found.shape == out.shape:
                    return found  # it is all that was asked for
                out[some.start - heads.start : some.stop - heads.start, part.wanted] = found
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

    def _what(self, layer: int, heads: range) -> str:
        which = f"head {heads[0]}" if len(heads) == 1 else f"heads {heads[0]} to {heads[-1]}"
        return f"run {self.name!r}: layer {layer} {which}"


def _table(sql: str, values: list, cursor: duckdb.DuckDBPyConnection) -> pa.Table:
    return cursor.execute(sql, values).to_arrow_table()


def _values(layer: int, heads: range, part: Part) -> list[int]:
    """What WHERE asks for."""
    return [layer, heads[0], heads[-1], int(part.there[0]), int(part.there[-1])]


def _in_turn(heads: range, many: int) -> Iterator[range]:
    """So many heads at a time; one where that is less."""
    many = max(many, 1)
    return (heads[i : i + many] for i in range(0, len(heads), many))


def _named(read: Callable[[Part, range], np.ndarray], part: Part, heads: range) -> np.ndarray:
    """What is read of several heads; an error names the one that has it."""
    try:
        return read(part, heads)
    except StoreError:
        for head in heads if len(heads) > 1 else ():
            read(part, range(head, head + 1))
        raise


def _taken(found: np.ndarray, there: Sequence[int] | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of what was read of the rows `there`, (heads, n, …), that of `rows`; without a copy where it is all of it."""
    if len(rows) == len(there) and np.array_equal(rows, there):
        return found
    return found[:, rows - there.start if isinstance(there, range) else np.searchsorted(there, rows)]
