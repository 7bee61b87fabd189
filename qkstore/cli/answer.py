"""The answer of a SELECT as JSON can hold it: every value as DuckDB means it, a number as a number."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from qkstore.sql import worker

MOST_DIGITS = 4000  # of a whole number; Python reads and prints no more than 4,300


def answer(path: Path, sql: str, limit_s: float, max_rows: int) -> dict:
    """{columns, rows, truncated} of a guarded SELECT on a run file.

    Numbers, texts and truth values come as they are, also in lists. All else (a date, a sum of whole numbers, an
    interval) comes as DuckDB writes it in JSON: Arrow and Python have no infinity and no year before 1, no 24:00:00
    and no whole number of 128 bits.
    """
    # One SELECT takes no second LIMIT, and a sub-query would rename A beside a; a union keeps names, types and clauses.
    schema = worker.query(path, f"({sql}) UNION ALL ({sql}) LIMIT 0", limit_s=limit_s).schema
    odd = [not _plain(field.type) for field in schema]
    if any(odd):
        places = [f"c{i}" for i in range(len(odd))]
        values = [f"to_json({c})::VARCHAR" if o else c for c, o in zip(places, odd, strict=True)]
        sql = f"SELECT {', '.join(values)} FROM ({sql}) AS answer({', '.join(places)})"
    table = worker.query(path, sql, limit_s=limit_s, max_rows=max_rows)
    columns = [_read(c.to_pylist()) if o else c.to_pylist() for c, o in zip(table.columns, odd, strict=True)]
    return {
        "columns": schema.names,
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "truncated": worker.truncated(table),
    }


def _plain(kind: pa.DataType) -> bool:
    """Whether Python has every value of a type."""
    types = pa.types
    if types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind):
        return _plain(kind.value_type)
    if types.is_struct(kind):
        return all(_plain(field.type) for field in kind.fields)
    return any(
        test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_null, types.is_string)
    )


def _read(texts: list[str | None]) -> list:
    """The values that JSON texts stand for."""
    return [None if text is None else json.loads(text, parse_int=_whole) for text in texts]


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= MOST_DIGITS else digits
