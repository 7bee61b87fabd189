"""The content of a run as digests: one of its labels, one of each layer's vectors, so that a change is found out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa

LABELS = ("layer", "prompt", "token", "query_row", "key_row", "q", "k", "weight", "measure", "shard")
VECTORS = {
    "query_vector": "head",
    "key_vector": "kv_head",
    "row_stat": "head",
}  # and the head, by which they are sorted
TABLES = "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND database_name = current_database()"
ROWS = 8192  # read at once


def short(identity: Sequence[str]) -> str:
    """A short hash of what a run says of itself (`Run.identity`), to name it by."""
    return hashlib.sha256(repr(tuple(identity)).encode()).hexdigest()[:16]


def digests(cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """{'labels': SHA-256, 'layer 0': SHA-256, …} of what stands in a run file, whatever its blocks are on disk.

    Rows are taken in their order in the file for labels, by head and row number for vectors.
    """
    numbers = [n for (n,) in cursor.execute("SELECT layer FROM layer ORDER BY layer").fetchall()]
    return {"labels": labels(cursor), **layers(cursor, numbers)}


def layers(cursor: duckdb.DuckDBPyConnection, numbers: Iterable[int]) -> dict[str, str]:
    """{'layer 0': SHA-256, …} of the vectors of these layers, in a run file or in a shard."""
    return {f"layer {n}": _layer(cursor, n) for n in numbers}


def labels(cursor: duckdb.DuckDBPyConnection) -> str:
    there = {name for (name,) in cursor.execute(TABLES).fetchall()}
    digest = hashlib.sha256()
    for table in (name for name in LABELS if name in there):
        cursor.execute(f"SELECT * FROM {table}")  # in their order; to ask for that would sort them
        digest.update(f"{table} {[d[0] for d in cursor.description]}\n".encode())
        while rows := cursor.fetchmany(ROWS):
            digest.update("\n".join(map(repr, rows)).encode())
    return digest.hexdigest()


def _layer(cursor: duckdb.DuckDBPyConnection, number: int) -> str:
    digest = hashlib.sha256()
    for table, head in VECTORS.items():
        for block in _blocks(_by_head(cursor, table, head, number)):
            for column in block.columns:
                values = column.combine_chunks()
                part = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
                digest.update(np.ascontiguousarray(part.to_numpy(zero_copy_only=False)).tobytes())
    return digest.hexdigest()


def _by_head(cursor: duckdb.DuckDBPyConnection, table: str, head: str, number: int) -> Iterator[pa.Table]:
    """One layer's rows, a head at a time, by row number: to sort a layer takes as much of DuckDB's memory as it has."""
    heads = cursor.execute(f"SELECT DISTINCT {head} FROM {table} WHERE layer = ? ORDER BY 1", [number]).fetchall()
    sql = f"SELECT * EXCLUDE (layer) FROM {table} WHERE layer = ? AND {head} IS NOT DISTINCT FROM ?"
    for (one,) in heads:
        # in small batches: a table reserves room for a million rows at once, half a GB of vectors
        found = cursor.execute(sql, [number, one]).to_arrow_reader(ROWS).read_all()
        rows = found.column("row").to_numpy()
        yield found if (rows[1:] >= rows[:-1]).all() else found.take(np.argsort(rows, kind="stable"))


def _blocks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of several tables in blocks of ROWS, whichever table they are of; the last has what is left."""
    held: list[pa.Table] = []
    for table in tables:
        whole = pa.concat_tables([*held, table])
        full = len(whole) // ROWS * ROWS
        yield from (whole.slice(start, ROWS) for start in range(0, full, ROWS))
        held = [whole.slice(full)]
    yield from (rest for rest in held if len(rest))


class Digests:
    """The digests of a run file that is being written, taken of its rows on their way there.

    layers: their numbers, ascending; rows: {table of VECTORS: its rows of a layer}. A layer that an earlier process
    began to write is read from the file.
    """

    def __init__(self, layers: Sequence[int], rows: Mapping[str, int]):
        self._layers = {number: _Rows(rows) for number in layers}

    def add(self, table: str, layer: np.ndarray, columns: Sequence[pa.Array]) -> None:
        """Rows of a table in their order: each one's layer, counted from the first; its head, row number and values."""
        rows, values = list(self._layers.values()), [_numbers(column) for column in columns]
        numbers, starts = np.unique(layer, return_index=True)
        for i, start, end in zip(numbers, starts, [*starts[1:], len(layer)], strict=True):
            rows[i].add(table, [column[start:end] for column in values])

    def told(self, cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """The same as `layers`, of all of them."""
        return {f"layer {n}": rows.digest() or _layer(cursor, n) for n, rows in self._layers.items()}


class _Rows:
    """The rows of one layer, in blocks of ROWS as `_layer` reads them; rows: {table: how many there will be}."""

    def __init__(self, rows: Mapping[str, int]):
        self._hash, self._missing = hashlib.sha256(), dict(rows)
        self._table, self._held = "", list[np.ndarray]()

    def add(self, table: str, columns: list[np.ndarray]) -> None:
        if table != self._table:  # what is held of another is of one that was begun by an earlier process
            self._table, self._held = table, []
        held, n = len(self._held[0]) if self._held else 0, len(columns[0])
        self._missing[table] -= n
        for start, end in pairwise([0, *range(ROWS - held, n, ROWS), n]):
            self._block([column[start:end] for column in columns], last=end == n and not self._missing[table])

    def _block(self, columns: list[np.ndarray], last: bool) -> None:
        """Rows of a block, which is hashed when it is full or the table's last."""
        whole = [np.concatenate(both) for both in zip(self._held, columns, strict=True)] if self._held else columns
        full = last or len(whole[0]) == ROWS
        for column in whole if full else ():
            self._hash.update(column.data)
        self._held = [] if full else [column.copy() for column in whole]

    def digest(self) -> str | None:
        """None where rows are missing."""
        return None if any(self._missing.values()) else self._hash.hexdigest()


def _numbers(column: pa.Array) -> np.ndarray:
    """A column's values (n,), or those of its vectors (n, d)."""
    vectors = pa.types.is_fixed_size_list(column.type)
    values = (column.flatten() if vectors else column).to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1) if vectors else values
