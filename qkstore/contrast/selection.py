"""The pairs that a contrast selects on a run: read, checked, and in one order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from qkstore.contrast import known
from qkstore.contrast.contrast import Contrast
from qkstore.covariance import Pairs
from qkstore.errors import ContrastError, GuardError
from qkstore.run import Run
from qkstore.sql import guard, worker

MOST_PAIRS = 20_000_000


def pairs(run: Run, contrast: Contrast, split: str | None = None, limit_s: float = 60.0) -> Pairs:
    """Return the contrast's pairs on a run, weighted as the contrast says; row numbers are the run's.

    They come by query, then by key, so that the same pairs are the same arrays whatever order the SQL gives.
    split: take the queries of this split only; None takes all. limit_s: seconds that the SQL may take.
    Raises ContrastError where a side is empty (with both counts), where a pair is on both sides, where there are more
    than MOST_PAIRS, and where a contrast's own SELECT gives a pair twice or values that are no rows, signs or weights.
    Raises GuardError for SQL that is not allowed, that fails, or that reaches its limit.
    """
    try:
        sql = gathered(contrast.sql(run.columns, split))
        table = worker.query(run.path, sql, limit_s=limit_s, max_rows=MOST_PAIRS)
    except GuardError as error:
        reason = known.older(run, str(error))
        raise GuardError(f"{error}; {reason}") if reason else error from None
    if worker.truncated(table):
        raise ContrastError(
            f"contrast {contrast.name!r} has more than {MOST_PAIRS:,} pairs on run {run.name!r}; "
            "narrow it, for example to k.prompt_id = q.prompt_id"
        )
    codes, weight = _codes(run, contrast, table)
    del table  # of many pairs it is large
    if contrast.pairs:
        _check_once(contrast, codes)
    _check_sides(run, contrast, codes, split)
    _check_overlap(contrast, codes)
    plain = Pairs(*_rows(codes), weight)
    return plain.balanced() if contrast.weighting == "query" else plain


def gathered(sql: str) -> str:
    """The same rows, put together before they are handed out; of more than MOST_PAIRS one more.

    DuckDB 1.5 waits for itself, for good, where it hands out a UNION ALL of two joins of tables with 8 million rows.
    """
    return f"WITH found AS MATERIALIZED (SELECT * FROM ({sql}) AS pair LIMIT {MOST_PAIRS + 1}) SELECT * FROM found"


# While they are checked a pair is one whole number: 32 bits of the query's row, 31 of the key's, and a last one that is
# set where the sign is −1. Such numbers are sorted faster than a pair is looked for on the other side.


def _codes(run: Run, contrast: Contrast, table: pa.Table) -> tuple[np.ndarray, np.ndarray | None]:
    """(p,) int64 of the pairs, ascending, and their weights (p,) in the same order, None where none are selected.

    Raises ContrastError for values that are no rows of the run, no signs or no weights.
    """
    query, key, sign = (_column(contrast, table, name) for name in ("query_row", "key_row", "sign"))
    weighted = "weight" in table.column_names and table["weight"].null_count < len(table)
    weight = _column(contrast, table, "weight") if weighted else None
    _check_rows(run, contrast, query, key)
    if contrast.pairs:
        _check_values(contrast, sign, weight)
    codes = query.astype(np.int64)
    codes <<= 31
    codes |= key.astype(np.int32, copy=False)
    codes <<= 1
    codes |= sign < 0
    if weight is None:
        codes.sort()
        return codes, None
    order = np.argsort(codes)
    return codes[order], weight[order]


def _rows(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p,) query rows and key rows, int32, and signs, int8, of codes, which are used up."""
    query, key = np.empty(len(codes), np.int32), np.empty(len(codes), np.int32)
    sign = np.empty(len(codes), np.int8)
    np.right_shift(codes, 32, out=query, casting="unsafe")
    np.bitwise_and(codes, 1, out=sign, casting="unsafe")
    codes &= 2**32 - 1
    np.right_shift(codes, 1, out=key, casting="unsafe")
    return query, key, 1 - 2 * sign


def _check_sides(run: Run, contrast: Contrast, codes: np.ndarray, split: str | None) -> None:
    """Raise ContrastError, with what the labels can be, unless both sides have pairs."""
    n_neg = int(np.count_nonzero(codes & 1))
    n_pos = len(codes) - n_neg
    if n_pos and n_neg:
        return
    side = "positive and no negative" if n_pos == n_neg == 0 else "positive" if not n_pos else "negative"
    where = f"{split} prompts of run {run.name!r}" if split else f"run {run.name!r}"
    raise ContrastError(
        f"contrast {contrast.name!r} has no {side} pairs on the {where}: "
        f"{n_pos:,} positive, {n_neg:,} negative{_hint(run, contrast)}"
    )


def _hint(run: Run, contrast: Contrast) -> str:
    """The values of the labels that the contrast names; an empty side mostly comes of a value that no row has."""
    if contrast.pairs:
        return ""
    texts = (contrast.where, contrast.positive, contrast.negative)
    used = {column for text in texts if text for column in guard.columns_used(text)}
    told: list[str] = []
    for alias, column in sorted(used):
        values = (
            run.values(column, alias, most=9)
            if column in ("role", "split", "variant", *run.token_labels, *run.prompt_labels)
            else []
        )
        if values and len(told) < 4:
            told.append(f"{alias}.{column} is {', '.join(map(str, values[:8]))}{', …' if len(values) > 8 else ''}")
    return f" ({'; '.join(told)})" if told else ""


def _check_rows(run: Run, contrast: Contrast, query: np.ndarray, key: np.ndarray) -> None:
    """Raise ContrastError for a row that the run does not have."""
    for what, rows, total in (("query_row", query, run.n_queries), ("key_row", key, run.n_keys)):
        if len(rows) and not (rows.min() >= 0 and rows.max() < total):
            wrong = rows[(rows < 0) | (rows >= total)]
            raise ContrastError(
                f"contrast {contrast.name!r} selects {what} {wrong[0]}; run {run.name!r} has 0 to {total - 1}"
            )


def _check_values(contrast: Contrast, sign: np.ndarray, weight: np.ndarray | None) -> None:
    """Raise ContrastError for signs and weights that are none; conditions give no others."""
    if not np.isin(sign, (-1, 1)).all():
        raise ContrastError(
            f"contrast {contrast.name!r} selects sign {sign[~np.isin(sign, (-1, 1))][0]}; a sign is 1 or -1"
        )
    if weight is not None and not (np.isfinite(weight) & (weight > 0)).all():
        raise ContrastError(f"contrast {contrast.name!r} selects a weight that is not a positive number")


def _check_once(contrast: Contrast, codes: np.ndarray) -> None:
    """Raise ContrastError where a pair stands twice on one side: its attention would be summed twice."""
    twice = codes[1:][codes[1:] == codes[:-1]]
    if len(twice):
        query, key, _ = _rows(twice[:1])
        raise ContrastError(
            f"contrast {contrast.name!r} selects pairs more than once, such as query_row {query[0]} "
            f"with key_row {key[0]}; use SELECT DISTINCT"
        )


def _check_overlap(contrast: Contrast, codes: np.ndarray) -> None:
    """Raise ContrastError where a pair is both positive and negative."""
    both = codes[1:][(codes[1:] ^ codes[:-1]) == 1]  # they differ in their signs alone
    if len(both):
        query, key, _ = _rows(both[:1])
        raise ContrastError(
            f"contrast {contrast.name!r}: {len(both):,} pairs are positive and negative, "
            f"such as query_row {query[0]} with key_row {key[0]}; "
            "let the two predicates exclude each other"
        )


def _column(contrast: Contrast, table: pa.Table, name: str) -> np.ndarray:
    """A column of whole numbers, or of any numbers for the weight; raises ContrastError for anything else."""
    column = table[name]
    if column.null_count:
        raise ContrastError(f"contrast {contrast.name!r} selects a NULL {name}")
    whole, real = pa.types.is_integer(column.type), pa.types.is_floating(column.type)
    values = column.to_numpy() if whole or real else None  # NumPy has not every value of other types
    if values is None or (real and name != "weight" and (values != np.floor(values)).any()):
        raise ContrastError(
            f"contrast {contrast.name!r} selects {name} of type {column.type}; whole numbers are needed"
        )
    return values
