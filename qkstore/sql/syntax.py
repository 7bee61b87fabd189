"""The syntax of typed SQL: text to DuckDB's parse tree and back. Nothing is checked here; rules.py does that.

Texts are parsed in a process that can be killed (guard.py); a tree that came from there may be printed anywhere.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import duckdb

from qkstore.errors import GuardError
from qkstore.sql.bounds import LONGEST, readable

DEEPEST = 300  # levels of the tree: about 100 nested operators, or 50 nested sub-queries


@functools.cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An empty database that only parses; each use takes a cursor of its own: a connection is not safe in threads."""
    off = ("enable_external_access", "autoload_known_extensions", "autoinstall_known_extensions")
    return duckdb.connect(config={**dict.fromkeys(off, "false"), "threads": "1", "lock_configuration": "true"})


def _value(sql: str, parameter: str) -> str:
    """The one value of a SELECT of the parser's own functions."""
    row = _parser().cursor().execute(sql, [parameter]).fetchone()
    assert row, "a SELECT without FROM has one row"
    return row[0]


def parse(text: str, longest: int = LONGEST, skip: int = 0) -> dict:
    """The one statement that `text` holds; `skip` characters of it were not typed by the person."""
    readable(text, longest)
    try:
        answer = json.loads(_value("SELECT json_serialize_sql(?)", text))
    except RecursionError:
        raise GuardError("the SQL is nested too deeply") from None
    if answer["error"]:
        raise GuardError(_complaint(answer, skip))
    if len(answer["statements"]) != 1:
        raise GuardError(f"one statement is expected, there are {len(answer['statements'])}")
    if _depth(answer) > DEEPEST:
        raise GuardError("the SQL is nested too deeply")
    return answer["statements"][0]


def written(statement: dict) -> str:
    """The SQL that DuckDB writes for a tree."""
    text = json.dumps({"error": False, "statements": [statement]})
    try:
        return _value("SELECT json_deserialize_sql(?)", text)
    except duckdb.Error:  # infinity as a number: JSON has none
        raise GuardError("a number here is too large to be written down") from None


def _complaint(answer: dict, skip: int) -> str:
    """The parser's error in one line, with the place in what the person typed."""
    if "Only SELECT" in answer["error_message"]:
        return "only one SELECT is possible here"
    at = int(answer.get("position", -1)) - skip
    return answer["error_message"].splitlines()[0] + (f" (character {at + 1})" if at >= 0 else "")


def walk(node: object) -> Iterator[dict]:
    """Every dict of a tree."""
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(part)


def _depth(node: dict) -> int:
    """How many dicts and lists lie within each other at most."""
    level: list[dict | list] = [node]
    depth = 0
    while level:
        parts = (part for n in level for part in (n.values() if isinstance(n, dict) else n))
        level, depth = [p for p in parts if isinstance(p, (dict, list))], depth + 1
    return depth


def condition(text: str, longest: int = LONGEST) -> dict:
    """Return the parse tree of one condition, as DuckDB's json_serialize_sql gives it. Nothing in it is checked yet.

    Raises GuardError for a text that is no single condition.
    """
    before = "SELECT * FROM q, k WHERE "
    readable(text, longest)
    if not text.strip():
        raise GuardError("the condition is empty: write for example k.prompt_id = q.prompt_id")
    statement = parse(before + text, longest + len(before), skip=len(before))
    where = statement["node"].pop("where_clause", None)
    bare = parse(before + "true")
    del bare["node"]["where_clause"]
    if where is None or statement != bare:
        raise GuardError("one condition is expected here, without UNION, GROUP BY, ORDER BY, LIMIT or parameters")
    return where


def expression(node: dict) -> str:
    """Return the SQL of one expression of a tree."""
    statement = parse("SELECT 1")
    statement["node"]["select_list"] = [node]
    return written(statement).removeprefix("SELECT ")
