"""Numbers as quoted in a text: with their interval, a real minus, and no more digits than they carry."""

from __future__ import annotations

from collections.abc import Sequence

from qkstore.intervention import Condition
from qkstore.rank import Rank

SPACE = "\u00a0"  # that does not break a line


def number(value: float | None, digits: int = 3) -> str:
    """0.931; a dash where there is none."""
    if value is None:
        return "–"
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")  # + 0.0: no minus before a zero


def size(value: float) -> str:
    """A norm or another size without a natural scale: three digits that count."""
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}").replace("-", "−")


def estimate(value: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """0.931 [0.920, 0.942]."""
    if interval is None:
        return number(value, digits)
    low, high = (number(v, digits) for v in interval)
    return f"{number(value, digits)} [{low},{SPACE}{high}]"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The range of several values: 0.310–0.420, or one where they are alike."""
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low}–{high}"


def after(condition: Condition, key: str = "target") -> str:
    """What a key has after a swap, with its interval; for random subspaces also their spread."""
    name = f"{key}_after"
    told = estimate(getattr(condition, name), condition.ci[name])
    return (
        told
        if condition.spread is None
        else f"{told}, s.d. {number(condition.spread[name])} over {condition.bases} bases"
    )


def sized(value: float, interval: Sequence[float]) -> str:
    """A size with its interval: 56.2 [54.1, 58.3]."""
    low, high = map(size, interval)
    return f"{size(value)} [{low},{SPACE}{high}]"


def named(condition: Condition) -> str:
    """What a condition is called in a sentence."""
    return f"random of rank {condition.rank}" if condition.bases else condition.name


def ranked(rank: Rank | None, kind: str) -> str:
    """The statistical or cross-validated rank; a dash where there were too few queries."""
    return "–" if rank is None else str(getattr(rank, kind))


def head(layer: int, number: int) -> str:
    return f"L{layer}{SPACE}H{number}"
