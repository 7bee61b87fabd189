"""Numbers as quoted in a text: with their interval, a real minus, and no more digits than they carry."""

from __future__ import annotations

from qkstore.intervention import Condition
from qkstore.rank import Rank
from qkstore.text import SPACE, estimate, number


def after(condition: Condition, key: str = "target") -> str:
    """What a key has after a swap, with its interval; for random subspaces also their spread."""
    name = f"{key}_after"
    told = estimate(getattr(condition, name), condition.ci[name])
    return (
        told
        if condition.spread is None
        else f"{told}, s.d. {number(condition.spread[name])} over {condition.bases} bases"
    )


def named(condition: Condition) -> str:
    """What a condition is called in a sentence."""
    return f"random of rank {condition.rank}" if condition.bases else condition.name


def ranked(rank: Rank | None, kind: str) -> str:
    """The statistical or cross-validated rank; a dash where there were too few queries."""
    return "–" if rank is None else str(getattr(rank, kind))


def head(layer: int, number: int) -> str:
    return f"L{layer}{SPACE}H{number}"
