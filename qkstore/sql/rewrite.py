"""Rewriting: what a person may write and DuckDB would not print back, in the words of what it means."""

from __future__ import annotations

import json
from collections.abc import Iterable

from qkstore.sql.syntax import parse, walk

OWN = ("", "main")  # schemas of DuckDB's own functions


def rewritten(statement: dict, tables: Iterable[str]) -> dict:
    """The statement with calls x.f(y) as f(x, y), SHOW TABLES as a list of `tables`, and DESCRIBE as a table."""
    for node in walk(statement):
        if "function_name" in node and node.get("schema", "") not in OWN:
            _as_function(node)
    shown = statement["node"].get("from_table") or {}
    if shown.get("type") != "SHOW_REF" or statement["node"].get("type") != "SELECT_NODE":
        return statement
    if shown.get("query"):
        table = parse("SELECT * FROM (SELECT 1) AS shown")
        table["node"]["from_table"]["subquery"]["node"] = statement["node"]
        return table
    if shown["table_name"] != '"tables"':
        return statement
    names = ", ".join("('" + name.replace("'", "''") + "')" for name in sorted(tables))
    return parse(f"SELECT * FROM (VALUES {names}) AS tables(name)")


def _as_function(node: dict) -> None:
    """A column's method is a function of the column: DuckDB parses role.trim() as trim of a schema called role."""
    names = [name for name in (node.get("catalog", ""), node["schema"]) if name]
    column = parse("SELECT x")["node"]["select_list"][0] | {"column_names": names}
    node["children"] = [json.loads(json.dumps(column)), *node["children"]]
    node["schema"] = node["catalog"] = ""
