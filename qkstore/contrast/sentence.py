"""A contrast as an English sentence. Conditions that have no words here are quoted as SQL."""

from __future__ import annotations

import re

from qkstore.errors import GuardError
from qkstore.sql import guard, syntax
from qkstore.text import counted

OWNERS = {"q": "the query's", "k": "the key's"}
VERBS = {
    "COMPARE_EQUAL": "is",
    "COMPARE_NOT_DISTINCT_FROM": "is",
    "COMPARE_NOTEQUAL": "is not",
    "COMPARE_DISTINCT_FROM": "is not",
    "COMPARE_LESSTHAN": "is below",
    "COMPARE_LESSTHANOREQUALTO": "is at most",
    "COMPARE_GREATERTHAN": "is above",
    "COMPARE_GREATERTHANOREQUALTO": "is at least",
}
MIRRORED = {"is below": "is above", "is at most": "is at least", "is above": "is below", "is at least": "is at most"}
MOST_LISTED, FIRST = 12, 3  # values of a list that are all told; of a longer one the first
PATTERNS = {"~~": "is like", "!~~": "is not like", "~~*": "is like", "!~~*": "is not like"}
PROMPTS = {
    ("is", "prompt_id"): "of the same prompt",
    ("is not", "prompt_id"): "of other prompts",
    ("is", "counterfactual_id"): "of the counterfactual prompt",
}


def sentence(where: str, positive: str, negative: str, counts: tuple[int, int, int, int] | None = None) -> str:
    """Return `Queries whose …, against keys of … whose …. Positive: …. Negative: ….` for three conditions over q and k.

    counts: (n_q, n_k, n_+, n_-), told at the end where given. Raises GuardError, which says which of the three it is,
    for a text that is no condition.
    """
    parts = _conjuncts(_condition("where", where))
    place = [words for part in parts if (words := _prompt(part))]
    rest = [part for part in parts if not _prompt(part)]
    sides = {alias: [part for part in rest if _aliases(part) == {alias}] for alias in OWNERS}
    both = [part for part in rest if len(_aliases(part)) != 1]
    queries = f"Queries {_whose(sides['q'], 'q')}" if sides["q"] else "All queries"
    keys = " ".join(["keys", *place, _whose(sides["k"], "k")]).strip() if place or sides["k"] else "all keys"
    scope = ", where " + " and ".join(_words(part, nested=True) for part in both) if both else ""
    text = f"{queries}, against {keys}{scope}."
    sides_told = (_words(_condition(name, side)) for name, side in (("positive", positive), ("negative", negative)))
    text += " Positive: {}. Negative: {}.".format(*sides_told)
    return f"{text} {count_text(counts)}" if counts else text


def _condition(name: str, text: str) -> dict:
    """The tree of a condition. Raises GuardError, which names the one that it is."""
    try:
        return guard.condition(text)
    except GuardError as error:
        raise GuardError(f"{name}: {error}") from None


def count_text(counts: tuple[int, int, int, int]) -> str:
    """Return (n_q, n_k, n_+, n_-) in words."""
    n_q, n_k, n_pos, n_neg = counts
    rows = f"{counted(n_q, 'query', 'queries')}, {counted(n_k, 'key')}"
    return f"{rows}; {n_pos:,} positive and {n_neg:,} negative pairs."


def _conjuncts(node: dict) -> list[dict]:
    """The parts of a condition that must all hold; none for `true`."""
    if node["type"] == "CONJUNCTION_AND":
        return [part for child in node["children"] for part in _conjuncts(child)]
    return [] if _literal(node) == "true" else [node]


def _whose(parts: list[dict], alias: str) -> str:
    """`whose role is box and whose span_last is true`."""
    joint = ", and " if any(part["type"] == "CONJUNCTION_OR" for part in parts) else " and "
    return joint.join(f"whose {_words(part, own=alias)}" for part in parts)


def _words(node: dict, own: str = "", nested: bool = False) -> str:
    """One condition in words; columns of the alias `own` are named without their owner."""
    kind = node["type"]
    if kind.startswith("CONJUNCTION"):
        joint = " and " if kind.endswith("AND") else " or "
        text = joint.join(_words(child, own, nested=True) for child in node["children"])
        return f"({text})" if nested else text
    if place := _prompt(node):
        return f"keys {place}"
    return _compared(node, own) or _tested(node, own) or f"`{syntax.expression(node)}`"


def _prompt(node: dict) -> str:
    """`of the same prompt` and the like, for a comparison of the key's prompt with one that the query names."""
    if node["type"] not in VERBS:
        return ""
    names = sorted([part.lower() for part in side.get("column_names", ())] for side in (node["left"], node["right"]))
    if names[0] != ["k", "prompt_id"] or names[1][:1] != ["q"]:
        return ""
    return PROMPTS.get((VERBS[node["type"]], names[1][-1]), "")


def _compared(node: dict, own: str) -> str:
    """A comparison; the key's column, or any column, comes first."""
    if node["type"] not in VERBS:
        return ""
    left, right, verb = node["left"], node["right"], VERBS[node["type"]]
    if _rank(right) < _rank(left):
        left, right, verb = right, left, MIRRORED.get(verb, verb)
    return f"{_value(left, own)} {verb} {_value(right, own)}"


def _rank(node: dict) -> int:
    """Which side of a comparison comes first: 0 the key's column, 1 another column, 2 anything else."""
    names = node.get("column_names")
    return 2 if names is None else 0 if names[0].lower() == "k" else 1


def _tested(node: dict, own: str) -> str:
    """IN, BETWEEN, IS NULL, LIKE, NOT, and a column that is true or false itself."""
    kind, children = node["type"], node.get("children", [])
    no = " not" if "NOT" in kind else ""
    if kind == "COLUMN_REF":
        return f"{_value(node, own)} is true"
    if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
        return f"{_value(children[0], own)} is{no} {_list(children[1:], own)}"
    if kind in ("COMPARE_BETWEEN", "COMPARE_NOT_BETWEEN"):
        return f"{_value(node['input'], own)} is{no} from {_value(node['lower'], own)} to {_value(node['upper'], own)}"
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        return f"{_value(children[0], own)} is {'present' if no else 'missing'}"
    if kind == "OPERATOR_NOT":
        column = children[0]["type"] == "COLUMN_REF"
        return f"{_value(children[0], own)} is false" if column else f"not {_words(children[0], own, nested=True)}"
    if kind == "FUNCTION" and node["function_name"] in PATTERNS:
        return f"{_value(children[0], own)} {PATTERNS[node['function_name']]} {_value(children[1], own)}"
    return ""


def _list(nodes: list[dict], own: str) -> str:
    """`a, b or c`; of many the first few, and how many there are."""
    if len(nodes) > MOST_LISTED:
        return f"one of {len(nodes):,} ({', '.join(_value(node, own) for node in nodes[:FIRST])}, …)"
    values = [_value(node, own) for node in nodes]
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def _value(node: dict, own: str) -> str:
    """A column with its owner, a constant, several of these in parentheses, or SQL in backquotes."""
    names = node.get("column_names", ())
    if node["type"] == "FUNCTION" and node["function_name"] == "row":
        return f"({', '.join(_value(child, own) for child in node['children'])})"
    if len(names) == 2 and names[0].lower() in OWNERS:
        return names[1] if names[0].lower() == own else f"{OWNERS[names[0].lower()]} {names[1]}"
    if _is_boolean_cast(node) and node["child"]["type"] == "COLUMN_REF":  # the parser's, for `k.label IS TRUE`
        return _value(node["child"], own)
    return _literal(node) or f"`{syntax.expression(node)}`"


def _literal(node: dict) -> str:
    """A constant as written, a plain word without its quotes; empty for anything else."""
    if _is_boolean_cast(node) and node["child"]["type"] == "VALUE_CONSTANT":  # the parser's, for `true`
        return {"t": "true", "f": "false"}.get(node["child"]["value"].get("value"), "")
    if node["type"] != "VALUE_CONSTANT":
        return ""
    sql = syntax.expression(node)
    plain = re.fullmatch(r"'[^\W\d]\w*'", sql) and sql.lower() not in ("'true'", "'false'", "'null'")
    return sql[1:-1] if plain else sql


def _is_boolean_cast(node: dict) -> bool:
    return node["type"] == "OPERATOR_CAST" and node["cast_type"]["id"] == "BOOLEAN" and not node["try_cast"]


def _aliases(node: dict) -> set[str]:
    return {alias for alias, _ in guard.columns_used(node)}
