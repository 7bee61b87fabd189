"""The rules of typed SQL: every node, key, table, column, type and function of its tree must be allowed (grammar.py).

What runs is the text that DuckDB prints from the checked tree, parsed and checked once more. What no list names is
refused, so a newer DuckDB can only refuse more. All of this runs in a worker, which limits time and memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from qkstore.errors import GuardError, near
from qkstore.sql import grammar, stability
from qkstore.sql.bounds import LONGEST
from qkstore.sql.rewrite import OWN, rewritten
from qkstore.sql.syntax import condition, expression, parse, written

WIDEST = 4096  # elements of an array type: DuckDB reserves 2,048 rows of them at once
PAIR = ("q", "k")  # aliases of a condition: the query, the key


def select(sql: str, columns: Mapping[str, Sequence[str]], stable: bool = False) -> str:
    """Return one SELECT, rebuilt from its checked tree.

    columns: {table: its columns}; only these tables may be read. stable: refuse what may give other rows at another
    reading of the same run. Raises GuardError for anything that is not allowed.
    """
    scope = _Scope({name.lower(): tuple(names) for name, names in columns.items()}, stable=stable)
    statement = rewritten(parse(sql), columns)
    _check(statement, scope)
    rebuilt = written(statement)
    _check(parse(rebuilt, longest=10 * LONGEST), scope)
    return rebuilt


def predicate(text: str, columns: Mapping[str, Sequence[str]]) -> str:
    """Return one condition over the aliases q and k, rebuilt, in parentheses.

    Every column is written with its alias. columns: {q, k, and each table that a sub-query may read: its columns}.
    Raises GuardError for anything that is not allowed; for an unknown column it names the nearest ones.
    """
    tables = {name.lower(): tuple(names) for name, names in columns.items()}
    scope = _Scope(tables, aliases={name: tables[name] for name in PAIR if name in tables}, stable=True)
    where = condition(text)
    rewritten({"node": where}, columns)
    _check(where, scope)
    rebuilt = f"({expression(where)})"
    _check(condition(rebuilt, longest=10 * LONGEST), scope)
    return rebuilt


@dataclasses.dataclass(frozen=True)
class _Scope:
    """What names mean at a node.

    tables: {table: its columns}. ctes: names that WITH has given so far. aliases: in a condition, {alias: its columns,
    or None for a sub-query's, which are not known}; None in a SELECT, where DuckDB finds the columns. inner: inside a
    sub-query of a condition. parameters: of the lambdas around it. stable: see stability.py.
    """

    tables: Mapping[str, Sequence[str]]
    ctes: frozenset[str] = frozenset()
    aliases: Mapping[str, Sequence[str] | None] | None = None
    inner: bool = False
    parameters: frozenset[str] = frozenset()
    stable: bool = False


def _check(node: object, scope: _Scope) -> None:
    """Raise GuardError unless everything in a tree is allowed."""
    if isinstance(node, list):
        for part in node:
            _check(part, scope)
    if not isinstance(node, dict):
        return
    kind = node.get("type", "")
    if isinstance(kind, dict):  # a value that PIVOT names
        _check_type(kind)
        return
    _check_kind(node, kind)
    if kind == "VALUE_CONSTANT":  # its value may hold any keys
        _check_type(node["value"]["type"])
        return
    for key, part in node.items():
        if part and key not in grammar.KEYS:
            raise GuardError(_KEYS_REFUSED.get(key, f"{key.replace('_', ' ')} is not possible here"))
    if scope.stable:
        stability.check(node)
    if kind in _CHECKS or "function_name" in node:
        _CHECKS.get(kind, _check_function)(node, scope)
    scope = _enter(node, scope) if kind.endswith("_NODE") else _bound(node, scope) if kind == "LAMBDA" else scope
    for key, part in node.items():
        if key == "cast_type":
            _check_type(part)
        elif key not in _NOT_ENTERED:
            _check(part, scope)


_NOT_ENTERED = ("cte_map", "sample")  # checked on entering; numbers alone
_KEYS_REFUSED = {
    "named_param_map": "parameters are not possible here: write the value",
    "schema_name": "tables are named without schema or database here",
    "catalog_name": "tables are named without schema or database here",
    "catalog": "functions are named without schema or database here",
}


def _check_kind(node: dict, kind: str) -> None:
    if not kind or kind in grammar.NODES:
        return
    raise GuardError(f"{kind.removesuffix('_NODE').replace('_', ' ').lower()} is not possible here")


def _check_type(kind: dict) -> None:
    """Allow plain types, lists of them, and arrays of plain types of up to WIDEST elements."""
    info = kind.get("type_info") or {}
    child = info.get("child_type")
    if kind["id"] not in grammar.TYPES:
        raise GuardError(f"the type {info.get('name') or kind['id']} is not possible here")
    if kind["id"] == "ARRAY" and (info["size"] > WIDEST or not child or child["id"] in ("ARRAY", "LIST")):
        raise GuardError(f"arrays hold at most {WIDEST} plain values here")
    if child:
        _check_type(child)


def _check_table_function(node: dict, scope: _Scope) -> None:
    name = node["function"].get("function_name", "").lower()
    if name not in grammar.TABLE_FUNCTIONS:
        raise GuardError(
            f"the table function {name}() is not possible here; there are: {', '.join(sorted(grammar.TABLE_FUNCTIONS))}"
        )


def _check_show(node: dict, scope: _Scope) -> None:
    if not node.get("query"):
        raise GuardError("SHOW and DESCRIBE are of a table or a SELECT here: write DESCRIBE q, or SHOW TABLES")


def _check_lambda(node: dict, scope: _Scope) -> None:
    if _parameters(node) is None:
        raise GuardError("a lambda is written x -> …, (x, y) -> …, or lambda x, y: … here")


def _check_table(node: dict, scope: _Scope) -> None:
    name = node["table_name"].lower()
    if name not in scope.ctes and name not in scope.tables:
        raise GuardError(f"no table {node['table_name']!r}: {near(name, scope.tables)}")


def _check_function(node: dict, scope: _Scope) -> None:
    name = node["function_name"].lower()
    if node.get("schema", "") not in OWN:
        raise GuardError(_KEYS_REFUSED["catalog"])
    if name not in grammar.ALLOWED:
        raise GuardError(f"no function {name!r} here: {near(name, grammar.NAMED)}")
    if scope.aliases is None:
        return
    if not scope.inner and (name in grammar.AGGREGATES or node["type"].startswith("WINDOW_")):
        raise GuardError(f"{name}() reads many rows; a condition is about one pair: use a sub-query")
    if name == "unnest" and not scope.inner:
        raise GuardError("unnest() gives several rows for one pair: use a sub-query, such as x IN (SELECT unnest(…))")


def _check_column(node: dict, scope: _Scope) -> None:
    """In a condition every column is written alias.column, and both exist. A name that calls a function is none."""
    *before, column = names = node["column_names"]
    if names[0].lower() in scope.parameters:
        return
    if scope.aliases is None:
        if not before and column.lower() in grammar.CALLED_BY_NAME and (scope.stable or not _owned(column, scope)):
            raise GuardError(f"{column} is a function, which is not possible here; a column is written table.{column}")
        return
    if not before:
        raise GuardError(_unqualified(column, scope.aliases))
    alias = names[0].lower()
    if alias not in scope.aliases:
        raise GuardError(f"no alias {names[0]!r}: {near(alias, scope.aliases)}")
    known = scope.aliases[alias]
    if len(names) > 2 or (known is not None and column.lower() not in map(str.lower, known)):
        raise GuardError(f"no column {'.'.join(names[1:])!r} in {alias}: {near(names[1], known or ())}")


def _owned(column: str, scope: _Scope) -> bool:
    """Whether some table has a column of this name."""
    return any(column.lower() in map(str.lower, known) for known in scope.tables.values())


def _unqualified(column: str, aliases: Mapping[str, Sequence[str] | None]) -> str:
    """The error of a column without an alias: which alias may be meant."""
    owners = [a for a, known in aliases.items() if column.lower() in map(str.lower, known or ())]
    if owners:
        return f"which {column}? write {' or '.join(f'{a}.{column}' for a in owners)}"
    known = {f"{a}.{c}" for a, names in aliases.items() for c in names or ()}
    return f"no column {column!r}: {near(column, known)}; texts are written in single quotes: '{column}'"


def _check_star(node: dict, scope: _Scope) -> None:
    if scope.aliases is not None and not scope.inner:
        raise GuardError("* is not possible in a condition: name the columns")


_CHECKS = {
    "BASE_TABLE": _check_table,
    "TABLE_FUNCTION": _check_table_function,
    "SHOW_REF": _check_show,
    "LAMBDA": _check_lambda,
    "COLUMN_REF": _check_column,
    "STAR": _check_star,
}


def _parameters(node: dict) -> frozenset[str] | None:
    """The names that a lambda binds; None for what is none (`x.y -> 1`, `1 -> 2`)."""
    given = node.get("lhs") or {}
    parts = given.get("children", []) if given.get("function_name") == "row" else [given]
    names = [part.get("column_names", []) for part in parts]
    return frozenset(n[0].lower() for n in names) if parts and all(len(n) == 1 for n in names) else None


def _bound(node: dict, scope: _Scope) -> _Scope:
    """The scope inside a lambda."""
    return dataclasses.replace(scope, parameters=scope.parameters | (_parameters(node) or frozenset()))


def _enter(node: dict, scope: _Scope) -> _Scope:
    """The scope inside a query: its CTEs, each known to those after it only, and in a condition its FROM's aliases."""
    for entry in node["cte_map"]["map"]:
        name = entry["key"].lower()
        if name in scope.tables:  # else the name would mean the one here and the other elsewhere
            raise GuardError(f"WITH {entry['key']}: a table has that name; choose another")
        _check(entry["value"], scope)
        scope = dataclasses.replace(scope, ctes=scope.ctes | {name})
    if scope.aliases is not None:
        own = _aliases(node.get("from_table"), scope)
        taken = [name for name in PAIR if name in own]
        if taken:
            raise GuardError(f"{taken[0]} is the pair's own here: write FROM … AS another name")
        scope = dataclasses.replace(scope, aliases={**scope.aliases, **own}, inner=True)
    return scope


def _aliases(ref: dict | None, scope: _Scope) -> dict[str, Sequence[str] | None]:
    """The aliases that a FROM clause brings, with their columns where these are known."""
    if not ref or ref["type"] == "EMPTY":
        return {}
    if ref["type"] == "JOIN":
        return _aliases(ref["left"], scope) | _aliases(ref["right"], scope)
    if ref["type"] == "TABLE_FUNCTION":
        return {(ref.get("alias") or ref["function"].get("function_name", "")).lower(): None}
    name = ref.get("alias") or ref.get("table_name") or ""
    plain = not ref.get("column_name_alias") and ref.get("table_name", "").lower() not in scope.ctes
    return {name.lower(): scope.tables.get(ref.get("table_name", "").lower()) if plain else None}
