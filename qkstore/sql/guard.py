"""The guard of SQL that a person typed: it is parsed, checked against allow-lists and rebuilt from the checked tree.

What was typed is never run. DuckDB's parser has no limit of its own (one CASE inside another doubles what the inner one
holds), so cheap bounds come first (bounds.py), and the parsing, the checking (rules.py) and the printing are done in a
process that can be killed (worker.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from qkstore.sql import bounds, worker
from qkstore.sql.syntax import walk

Alias = Literal["q", "k"]  # of a condition: the query, the key
PAIR: tuple[Alias, ...] = ("q", "k")
KEPT = 1024  # texts of each kind whose reading is remembered

Columns = tuple[tuple[str, tuple[str, ...]], ...]


def select(sql: str, columns: Mapping[str, Sequence[str]], stable: bool = False) -> str:
    """Return one SELECT, rebuilt from its checked tree.

    columns: {table: its columns}; only these tables may be read. stable: refuse what may give other rows at another
    reading of the same run. Raises GuardError for anything that is not allowed.
    """
    return _read("stable" if stable else "select", sql, _fixed(columns))


def predicate(text: str, columns: Mapping[str, Sequence[str]]) -> str:
    """Return one condition over the aliases q and k, rebuilt, in parentheses.

    Every column is written with its alias. columns: {q, k, and each table that a sub-query may read: its columns}.
    Raises GuardError for anything that is not allowed; for an unknown column it names the nearest ones.
    """
    return _read("predicate", text, _fixed(columns))


def condition(text: str) -> dict:
    """Return the parse tree of one condition, as DuckDB's json_serialize_sql gives it. Nothing in it is checked yet.

    Raises GuardError for a text that is no single condition.
    """
    return json.loads(_read("condition", text, ()))


def columns_used(of: str | dict) -> set[tuple[Alias, str]]:
    """Return the columns of the pair that a condition, or its tree, reads: (q or k, column), sub-queries included."""
    nodes = walk(condition(of) if isinstance(of, str) else of)
    names = (node["column_names"] for node in nodes if node.get("type") == "COLUMN_REF")
    return {(alias, n[1]) for n in names for alias in PAIR if len(n) == 2 and n[0].lower() == alias}


def _fixed(columns: Mapping[str, Sequence[str]]) -> Columns:
    return tuple((name, tuple(names)) for name, names in columns.items())


@lru_cache(KEPT)
def _read(how: str, text: str, columns: Columns) -> str:
    """What a worker makes of a text; a dashboard asks for the same ones often."""
    bounds.check(text)
    return worker.read(how, text, dict(columns))
