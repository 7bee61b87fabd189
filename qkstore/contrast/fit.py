"""Whether a contrast can be asked of a run: the run has the columns and tables that it names."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from qkstore.contrast import known
from qkstore.contrast.contrast import Contrast
from qkstore.errors import GuardError
from qkstore.run import Run
from qkstore.sql import guard, worker

KEPT = 4096  # SELECTs on runs whose binding is remembered
UNBOUND = ("no table", "Binder Error", "Catalog Error")  # how the errors begin that name what is missing


def misfit(run: Run, contrast: Contrast) -> str | None:
    """Return what a run lacks for a contrast, such as "no column 'category' in k"; None where it lacks nothing.

    A contrast that fits may still have no pair there, which `pairs` tells.
    """
    if contrast.own and contrast.own.run != run.digest:
        return f"its subspace has {contrast.own.told}"
    try:
        return _unbound(run, contrast) if contrast.pairs else _missing(run, contrast)
    except GuardError as error:  # a row of a catalogue that no qkstore wrote
        return str(error)


def _missing(run: Run, contrast: Contrast) -> str | None:
    texts = [text for text in (contrast.where, contrast.positive, contrast.negative) if text]
    for side, column in sorted({used for text in texts for used in guard.columns_used(text)}):
        if column.lower() not in (name.lower() for name in run.columns[side]):
            return f"no column {column!r} in {side}" + _older(run, column)
    return None


def _unbound(run: Run, contrast: Contrast) -> str | None:
    try:
        sql = contrast.sql(run.columns)
    except GuardError as error:
        return str(error).split(": ")[0]
    reason = _binding(run.path, repr(run.types), sql)
    return reason and reason + _older(run, reason)


def _older(run: Run, text: str) -> str:
    """What more is said where a text names a column that is absent because the run is older than it."""
    reason = known.older(run, text)
    return f"; {reason}" if reason else ""


@lru_cache(KEPT)
def _binding(path: Path, types: str, sql: str) -> str | None:
    """What DuckDB says of a SELECT that it cannot bind to the tables of a run file; types: theirs, for the cache."""
    try:
        worker.query(path, f"SELECT * FROM ({sql}) AS pair LIMIT 0", limit_s=5)
    except GuardError as error:
        if str(error).startswith(UNBOUND):
            return str(error).removeprefix("Binder Error: ").removeprefix("Catalog Error: ")
        raise
    return None
