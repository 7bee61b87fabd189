"""Conditions as rows: a column of the query or the key, a relation, and values or another column. SQL, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from qkstore.run.schema import quoted
from qkstore.sql import guard, syntax
from qkstore.sql.guard import PAIR, Alias

Relation = Literal["=", "<>", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]
RELATIONS: dict[Relation, str] = {
    "=": "is",
    "<>": "is not",
    "<": "is below",
    "<=": "is at most",
    ">": "is above",
    ">=": "is at least",
    "in": "is one of",
    "not in": "is none of",
    "is null": "is empty",
    "is not null": "is not empty",
}
COMPARED: dict[str, Relation] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
MIRRORED: dict[Relation, Relation] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
LISTED: dict[str, Relation] = {"COMPARE_IN": "in", "COMPARE_NOT_IN": "not in"}
EMPTY: dict[str, Relation] = {"OPERATOR_IS_NULL": "is null", "OPERATOR_IS_NOT_NULL": "is not null"}
PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Condition:
    """`side`.`column` `relation` `operands`: literals or one column, as SQL; several for in, none for is null."""

    side: Alias
    column: str
    relation: Relation
    operands: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The condition as SQL."""
        left = column(self.side, self.column)
        if self.relation in ("in", "not in"):
            return f"{left} {self.relation} ({', '.join(self.operands)})"
        return " ".join([left, self.relation, *self.operands])

    def related(self, relation: Relation, default: str) -> Condition:
        """The same by another relation, with as many operands as that takes; default: where there is none to keep."""
        if relation in ("is null", "is not null"):
            return replace(self, relation=relation, operands=())
        if relation in ("in", "not in"):  # of values
            literals = tuple(o for o in self.operands if not is_column(o))
            return replace(self, relation=relation, operands=literals or (default,))
        return replace(self, relation=relation, operands=self.operands[:1] or (default,))


SAME_PROMPT = Condition("k", "prompt_id", "=", ("q.prompt_id",))
Row = Condition | str  # a part that is no such condition is its SQL


def column(side: Alias, name: str) -> str:
    """A column of the query or the key as SQL."""
    return f"{side}.{name if PLAIN.fullmatch(name) else quoted(name)}"


def literal(value: Any) -> str | None:
    """A label's value as SQL; None for one that SQL has no literal for, or that a condition may not hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value) if math.isfinite(value) else None
    text = "'" + str(value).replace("'", "''") + "'"
    seen = text.isprintable() or not any(
        ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in text
    )
    return text if seen else None


def is_column(operand: str) -> bool:
    """Whether an operand is a column rather than a value."""
    return operand.startswith(("q.", "k."))


def sql(rows: Sequence[Row]) -> str:
    """The condition that all rows make together; '' of none."""
    return " and ".join(row if isinstance(row, str) else row.sql for row in rows)


def read(text: str) -> list[Row]:
    """The rows that a condition is made of, so that `sql` of them selects the same; of an empty text none.

    Raises GuardError for a text that is no condition.
    """
    if not text.strip():
        return []
    return [_row(part) for part in _parts(guard.condition(text))]


def _parts(node: dict) -> list[dict]:
    """The conditions that must all hold."""
    if node["type"] == "CONJUNCTION_AND":
        return [part for child in node["children"] for part in _parts(child)]
    return [node]


def _row(node: dict) -> Row:
    kind, raw = node["type"], syntax.expression(node)
    if kind == "COLUMN_REF":  # true by itself
        return _made(node, "=", "true") or raw
    if kind == "OPERATOR_NOT" and node["children"][0]["type"] == "COLUMN_REF":
        return _made(node["children"][0], "=", "false") or raw
    if kind in EMPTY:
        return _made(node["children"][0], EMPTY[kind]) or raw
    if kind in LISTED:
        first, *others = node["children"]
        values = [_literal(other) for other in others]
        return _made(first, LISTED[kind], *filter(None, values)) or raw if all(values) and values else raw
    if kind in COMPARED:
        left, right, relation = node["left"], node["right"], COMPARED[kind]
        if not _named(left):
            left, right, relation = right, left, MIRRORED.get(relation, relation)
        operand = column(*named) if (named := _named(right)) else _literal(right)
        return (_made(left, relation, operand) if operand else None) or raw
    return raw


def _made(left: dict, relation: Relation, *operands: str) -> Condition | None:
    named = _named(left)
    return Condition(*named, relation, operands) if named else None


def _named(node: dict) -> tuple[Alias, str] | None:
    """The side and column that a node names."""
    names = node.get("column_names", ())
    found = [alias for alias in PAIR if len(names) == 2 and names[0].lower() == alias]
    return (found[0], names[1]) if found else None


def _literal(node: dict) -> str | None:
    """A constant as SQL; None for anything else, NULL too."""
    if node["type"] == "OPERATOR_CAST" and node["cast_type"]["id"] == "BOOLEAN" and not node["try_cast"]:
        value = node["child"].get("value", {}).get("value")  # the parser's, for true and false
        return {"t": "true", "f": "false"}.get(value) if isinstance(value, str) else None
    if node["type"] != "VALUE_CONSTANT" or node["value"]["is_null"]:
        return None
    return syntax.expression(node)
