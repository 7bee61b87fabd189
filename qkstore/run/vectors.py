"""Vectors as a run file has them, and read back: whole and finite, or an error; never memory nobody wrote."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from qkstore.errors import StoreError

MOST_AXES = 8  # of a kept matrix
LARGEST = 1e15  # of a value: what is larger has products that are no 32-bit numbers
STEPS = 32767  # of a scale, in the largest value of a vector of 16-bit numbers
LEAST = np.finfo(np.float32).tiny  # of a scale: below, a float32 has few digits left; that of a vector of zeros


def rounded(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, d) float32 as 16-bit numbers: a scale (n,) float32 and v (n, d) int16, for v times its scale.

    The largest value of a vector is 32,767 scales, so a value is off by half a scale at most: by 1 of 65,534 parts of
    the vector's largest one. That holds before the product is a float32 again, which rounds it by 2**-24 of itself.
    """
    largest = np.maximum(v.max(axis=1, initial=0), -v.min(axis=1, initial=0))
    scale = np.maximum(largest / np.float32(STEPS), LEAST)
    return scale, np.rint(v / scale[:, None]).astype(np.int16)


def columns(v: np.ndarray, store_dtype: str) -> dict[str, pa.Array]:
    """Vectors (n, d) float32 as the columns that schema.vector_columns names, which file and digest take."""
    if store_dtype == "int16":
        scale, v = rounded(v)
        return {"scale": pa.array(scale), "v": _lists(v)}
    return {"v": _lists(v)}


def logit_error(q: np.ndarray, k: np.ndarray, scaling: float) -> np.ndarray:
    """By how much the logits (n,) of vectors that were rounded to 16 bits, (n, d) each, are off at most.

    Half a scale of each in every product: q·k is off by ½ s_q ‖k‖₁ + ½ s_k ‖q‖₁ + ¼ d s_q s_k at most, for scales s.
    """
    half_q, half_k = (np.abs(v).max(axis=1, initial=0) / (2 * STEPS) for v in (q, k))
    sums = half_q * np.abs(k).sum(axis=1) + half_k * np.abs(q).sum(axis=1)
    return abs(scaling) * (sums + q.shape[1] * half_q * half_k)


def _lists(v: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(v.reshape(-1)), v.shape[1])


def stacked(
    batches: Iterable[pa.RecordBatch], heads: range, there: Sequence[int] | np.ndarray, d_head: int, what: str
) -> np.ndarray:
    """The vectors (heads, n, d_head) float32 of n ascending row numbers, from batches of (head, row, v) in any order.

    Batches of (head, row, scale, v) hold 16-bit values. Raises StoreError, which begins with `what`, unless each row
    has one vector of finite values a head.
    """
    n, read = len(there), 0
    out: np.ndarray = np.empty((len(heads) * n, d_head), np.float32)
    seen = np.zeros(len(out), bool)
    for batch in batches:
        ids, v = _places(batch, heads, there, what), batch.column("v")
        flat = v.flatten()
        if v.null_count or flat.null_count:
            raise StoreError(f"{what} has a vector with NULL; run `check`")
        values = flat.to_numpy(zero_copy_only=True).reshape(-1, d_head)
        out[ids] = values * _scales(batch, what) if "scale" in batch.schema.names else values
        seen[ids] = True
        read += len(ids)
    if read != len(out):
        raise StoreError(f"{what} has {read} vectors where {len(out)} were expected; run `check`")
    if not seen.all():
        raise StoreError(
            f"{what} has {read} vectors of {np.count_nonzero(seen)} rows, of one more than once; run `check`"
        )
    if n and not (-LARGEST <= out.min() and out.max() <= LARGEST):  # of NaN neither is true
        raise StoreError(f"{what} has vectors with NaN, Inf or a value beyond {LARGEST:g}; run `check`")
    return out.reshape(len(heads), n, d_head)


def _scales(batch: pa.RecordBatch, what: str) -> np.ndarray:
    """The scales (n, 1) float32 of a batch; raises StoreError, which begins with `what`, for one that none can be."""
    scale = batch.column("scale")
    values = scale.to_numpy(zero_copy_only=False)
    if scale.null_count or not ((values > 0) & (values <= LARGEST)).all():
        raise StoreError(f"{what} has a scale that is NULL, NaN, not above 0 or beyond {LARGEST:g}; run `check`")
    return values[:, None]


def scattered(table: pa.Table, heads: range, there: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
    """The log-sum-exps (heads, n) float64 of n ascending row numbers, from (head, row, logsumexp); NaN without one.

    Raises StoreError, which begins with `what`, where a row has two.
    """
    ids = _places(table, heads, there, what)
    out = np.full(len(heads) * len(there), np.nan)
    out[ids] = table["logsumexp"].to_numpy()
    if len(np.unique(ids)) < len(ids):
        raise StoreError(f"{what} has query rows with more than one log-sum-exp; run `check`")
    return out.reshape(len(heads), -1)


def filled(values: np.ndarray, what: str) -> np.ndarray:
    """The log-sum-exps themselves; raises StoreError, which begins with `what`, unless all are finite."""
    if not np.isfinite(values).all():
        raise StoreError(f"{what} has query rows without a log-sum-exp; run `check`")
    return values


def _places(found: pa.RecordBatch | pa.Table, heads: range, there: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
    """The places of what was found, (head, row, …), among all rows of these heads, head by head.

    Raises StoreError, which begins with `what`, for one that is not of them.
    """
    ids = _within(found["row"], there, what)
    if len(heads) == 1:  # as SQL asked for
        return ids
    return ids + len(there) * _within(found["head"], heads, what)


def _within(rows: pa.Array | pa.ChunkedArray, there: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
    """The places of row numbers among those that are there, ascending.

    Raises StoreError, which begins with `what`, for one that is not. SQL asked for no such row, but DuckDB does
    not look at each: it trusts the least and the largest number that a file says of its blocks.
    """
    ids = rows.to_numpy(zero_copy_only=False) if isinstance(rows, pa.Array) else rows.to_numpy()
    inside = not rows.null_count and (not len(ids) or (there[0] <= ids.min() and ids.max() <= there[-1]))
    if inside and isinstance(there, range):
        return ids - there.start
    places = np.searchsorted(there, ids) if inside else ids
    if not inside or not np.array_equal(there[places], ids):
        raise StoreError(f"{what} has vectors of rows that are not there; run `check`")
    return places


def matrix(v: list | None, shape: list | None, what: str) -> np.ndarray:
    """A kept matrix, float32, from its values row by row; raises StoreError unless they are finite and fit."""
    sizes, values = shape or [0], np.array(v or [], np.float32)
    possible = len(sizes) <= MOST_AXES and None not in sizes and min(sizes) > 0 and math.prod(sizes) == len(values)
    if not possible or not np.isfinite(values).all():
        raise StoreError(f"{what} has {len(values)} values for the shape {sizes[:MOST_AXES]}, or NaN or Inf among them")
    return values.reshape(sizes)
