"""What is wrong with SQL that somebody writes, and at which characters of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from qkstore.contrast import Contrast
from qkstore.errors import GuardError
from qkstore.run import Run
from qkstore.sql import guard, worker

ONE_PAIR = "(SELECT * FROM q LIMIT 1) AS q, (SELECT * FROM k LIMIT 1) AS k"  # enough to meet a type that does not fit
KEPT = 1024  # texts whose binding is remembered
AT = re.compile(r"at character (\d+)|\(character (\d+)\)")
NAMED = re.compile(r"'((?:[^']|'')+)'|\"([^\"]+)\"|(\w+)\(|which (\w+)\?")
WORD = re.compile(r"'[^']*'?|\w+|\S")
LACKS = re.compile(r'"pair" does not have a column named "(\w+)"')
GIVES = "query_row, key_row, sign and, if wanted, weight"
EMPTY = {
    "positive": "The positive side is empty: write which pairs share the feature, for example k.label = q.label",
    "negative": "The negative side is empty: write which pairs do not share it, for example k.label <> q.label",
    "pairs": f"The SELECT is empty: it gives {GIVES}",
}


@dataclass(frozen=True)
class Fault:
    """A mistake in one field: what it is, and the characters from `start` up to `end` that it is about."""

    message: str
    start: int
    end: int


def fault(run: Run, field: str, text: str) -> Fault | None:
    """The mistake in a field's text (where, positive, negative: a condition; pairs: a SELECT) on a run, if any."""
    if not text.strip():
        return Fault(EMPTY[field], 0, 0) if field in EMPTY else None
    try:
        if field == "pairs":
            tried = f"SELECT * FROM ({Contrast(pairs=text).sql(run.columns)}) AS pair LIMIT 0"
        else:
            tried = f"SELECT 1 FROM {ONE_PAIR} WHERE {guard.predicate(text, run.columns)}"
    except GuardError as error:
        return Fault(str(error), *place(str(error), text))
    said = _binding(run.path, repr(run.types), tried)
    if said and (lacks := LACKS.search(said)):
        return Fault(f"the SELECT gives no {lacks[1]}: it gives {GIVES}", 0, len(text))
    return Fault(said, *place(said, text)) if said else None


def place(message: str, text: str) -> tuple[int, int]:
    """The characters of a text that an error is about: at its position, or else the first thing that it names."""
    if found := AT.search(message):
        at = int(found[1] or found[2]) - 1
        word = WORD.match(text, at)
        return (at, word.end()) if word else (max(len(text.rstrip()) - 1, 0), len(text))
    for names in NAMED.findall(message):
        name = next(filter(None, names))
        if there := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
            return there.span()
    return 0, len(text)


@lru_cache(KEPT)
def _binding(path: Path, types: str, sql: str) -> str | None:
    """What DuckDB says of guarded SQL that fails on a run file's tables; types: theirs, for the cache."""
    try:
        worker.query(path, sql, limit_s=5)
    except GuardError as error:
        return str(error).removeprefix("Binder Error: ")
    return None
