"""The content of a run as digests: one of its labels, one of each layer's vectors, so that a change is found out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

LABELS = ("layer", "prompt", "token", "query_row", "key_row", "q", "k", "weight", "measure")
VECTORS = {
    "query_vector": "head",
    "key_vector": "kv_head",
    "row_stat": "head",
}  # and the head, by which they are sorted
ROWS = 8192  # read at once


def short(identity: Sequence[str]) -> str:
    """A short hash of what a run says of itself (`Run.identity`), to name it by."""
    return hashlib.sha256(repr(tuple(identity)).encode()).hexdigest()[:16]


def digests(cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """{'labels': SHA-256, 'layer 0': SHA-256, …} of what stands in a run file, whatever its blocks are on disk.

    Rows are taken in their order in the file for labels, by head and row number for vectors.
    """
    numbers = [n for (n,) in cursor.execute("SELECT layer FROM layer ORDER BY layer").fetchall()]
    return {"labels": _labels(cursor), **{f"layer {n}": _layer(cursor, n) for n in numbers}}


def _labels(cursor: duckdb.DuckDBPyConnection) -> str:
    there = {name for (name,) in cursor.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()}
    digest = hashlib.sha256()
    for table in (name for name in LABELS if name in there):
        cursor.execute(f"SELECT * FROM {table} ORDER BY rowid")
        digest.update(f"{table} {[d[0] for d in cursor.description]}\n".encode())
        while rows := cursor.fetchmany(ROWS):
            digest.update("\n".join(map(repr, rows)).encode())
    return digest.hexdigest()


def _layer(cursor: duckdb.DuckDBPyConnection, number: int) -> str:
    digest = hashlib.sha256()
    for table, head in VECTORS.items():
        cursor.execute(f"SELECT * EXCLUDE (layer) FROM {table} WHERE layer = ? ORDER BY {head}, row", [number])
        for batch in cursor.to_arrow_reader(ROWS):
            for column in batch.columns:
                part = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
                digest.update(np.ascontiguousarray(part.to_numpy(zero_copy_only=False)).tobytes())
    return digest.hexdigest()
