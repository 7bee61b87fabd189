"""Stability: whether SQL gives the same rows at every reading of the same run, as pairs of a contrast must.

DuckDB works in threads, so that what depends on an order that nobody gave is another at each reading. Rows that are
equal in the order given remain the writer's to tell apart.
"""

from __future__ import annotations

from qkstore.errors import GuardError

ALWAYS_OTHER = frozenset({"random"})
ORDERED = frozenset(  # aggregates of the order in which rows come
    """
    first last any_value arbitrary list array_agg string_agg group_concat listagg approx_quantile
    approx_count_distinct reservoir_quantile
""".split()
)
FUNCTIONS_OF_NOW = {"age": 1}  # {function: with so many arguments, it reads the clock}
LIMITS = ("LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER")


def check(node: dict) -> None:
    """Raise GuardError where this node alone gives other values at another reading."""
    name, kind = node.get("function_name", ""), node.get("type", "")
    name = name.lower() if isinstance(name, str) else ""
    if name in ALWAYS_OTHER or (name in FUNCTIONS_OF_NOW and len(node["children"]) == FUNCTIONS_OF_NOW[name]):
        raise GuardError(f"{name}() is another value at each reading, a contrast must give the same pairs")
    if kind.startswith("WINDOW_") and not node.get("orders") and kind != "WINDOW_AGGREGATE":
        raise GuardError(f"{name}() needs an order: write OVER (… ORDER BY …), else it is another at each reading")
    if kind == "FUNCTION" and name in ORDERED and not node["order_bys"].get("orders"):
        raise GuardError(
            f"{name}() is of the order in which rows happen to come: write {name}(… ORDER BY …), min() or max()"
        )
    sample = node.get("sample")
    if isinstance(sample, dict) and sample.get("seed", -1) < 0:
        raise GuardError("a sample is another at each reading: write USING SAMPLE reservoir(100 ROWS) REPEATABLE (1)")
    _check_cut(node.get("modifiers") or [])


def _check_cut(modifiers: list[dict]) -> None:
    kinds = {m["type"] for m in modifiers}
    on = any(m["type"] == "DISTINCT_MODIFIER" and m.get("distinct_on_targets") for m in modifiers)
    if "ORDER_MODIFIER" not in kinds and (on or kinds & set(LIMITS)):
        what = "DISTINCT ON" if on else "LIMIT"
        raise GuardError(f"{what} without ORDER BY takes other rows at each reading: say which come first")
