"""Vectors and matrices as they are read from a run file: whole and finite, or an error; never memory nobody wrote."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from qkstore.errors import StoreError

MOST_AXES = 8  # of a kept matrix
LARGEST = 1e15  # of a value: what is larger has products that are no 32-bit numbers


def stacked(batches: Iterable[pa.RecordBatch], first: int, n: int, d_head: int, what: str) -> np.ndarray:
    """The vectors (n, d_head) float32 of rows `first` to first + n - 1, from batches of (row, v) in any order.

    Raises StoreError, which begins with `what`, unless each row has one vector of finite values.
    """
    out, read = np.empty((n, d_head), np.float32), 0
    seen = np.zeros(n, bool)
    for batch in batches:
        ids, v = _within(batch.column(0), first, n, what), batch.column(1)
        flat = v.flatten()
        if v.null_count or flat.null_count:
            raise StoreError(f"{what} has a vector with NULL; run `check`")
        out[ids] = flat.to_numpy(zero_copy_only=True).reshape(-1, d_head)
        seen[ids] = True
        read += len(ids)
    if read != n:
        raise StoreError(f"{what} has {read} vectors where {n} were expected; run `check`")
    if not seen.all():
        raise StoreError(f"{what} has {n} vectors of {np.count_nonzero(seen)} rows, of one more than once; run `check`")
    if n and not (-LARGEST <= out.min() and out.max() <= LARGEST):  # of NaN neither is true
        raise StoreError(f"{what} has vectors with NaN, Inf or a value beyond {LARGEST:g}; run `check`")
    return out


def scattered(table: pa.Table, n: int, rows: np.ndarray, what: str) -> np.ndarray:
    """The log-sum-exps (len(rows),) float64 of `rows`, from a table of (row, logsumexp) of n rows.

    Raises StoreError, which begins with `what`, where a row has two, or one of `rows` has none that is finite.
    """
    ids = _within(table["row"], 0, n, what)
    out = np.full(n, np.nan)
    out[ids] = table["logsumexp"].to_numpy()
    if not np.isfinite(out[rows]).all():
        raise StoreError(f"{what} has query rows without a log-sum-exp; run `check`")
    if len(np.unique(ids)) < len(ids):
        raise StoreError(f"{what} has query rows with more than one log-sum-exp; run `check`")
    return out[rows]


def _within(rows: pa.Array | pa.ChunkedArray, first: int, n: int, what: str) -> np.ndarray:
    """Row numbers, counted from `first`.

    Raises StoreError, which begins with `what`, for one that is not below n. SQL asked for no such row, but DuckDB does
    not look at each: it trusts the least and the largest number that a file says of its blocks.
    """
    ids = rows.to_numpy(zero_copy_only=False) if isinstance(rows, pa.Array) else rows.to_numpy()
    if rows.null_count or (len(ids) and not (first <= ids.min() and ids.max() < first + n)):
        raise StoreError(f"{what} has vectors of rows that are not there; run `check`")
    return ids - first


def matrix(v: list | None, shape: list | None, what: str) -> np.ndarray:
    """A kept matrix, float32, from its values row by row; raises StoreError unless they are finite and fit."""
    sizes, values = shape or [0], np.array(v or [], np.float32)
    possible = len(sizes) <= MOST_AXES and None not in sizes and min(sizes) > 0 and math.prod(sizes) == len(values)
    if not possible or not np.isfinite(values).all():
        raise StoreError(f"{what} has {len(values)} values for the shape {sizes[:MOST_AXES]}, or NaN or Inf among them")
    return values.reshape(sizes)
