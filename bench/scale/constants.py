"""A measured constant: its median, its spread, how often it was measured, and of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.processes import cpu_s
from bench.speed import turns


@dataclass(frozen=True)
class Constant:
    """name: what derivations look it up by. low, high: the least and largest of n measurements. of: what was measured.

    by: `here`, or the page of docs whose command measured it.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    of: str
    by: str = "here"

    @classmethod
    def median(cls, name: str, values: Sequence[float], unit: str, of: str) -> Constant:
        return cls(name, float(np.median(values)), min(values), max(values), len(values), unit, of)

    def row(self) -> list[str]:
        spread = "" if self.n == 1 else f"{figure(self.low)} to {figure(self.high)}"
        return [self.name, f"{figure(self.value)} {self.unit}", spread, str(self.n), self.of, self.by]

    def to_dict(self) -> dict:
        return asdict(self)


def figure(value: float) -> str:
    """Three digits, as few as tell the value."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.2e}"


def values(constants: Sequence[Constant]) -> dict[str, float]:
    """{name: value}; a name stands once."""
    assert len({c.name for c in constants}) == len(constants), "a constant is measured once"
    return {c.name: c.value for c in constants}


def table(constants: Sequence[Constant]) -> list[list[str]]:
    header = ["constant", "median", "least to largest", "n", "of what", "measured"]
    return [header, *(c.row() for c in constants)]


def cpu(work: Callable[[], object], times: int) -> list[float]:
    """CPU seconds of each of some turns, this process's and its children's; one more goes before them."""
    work()
    return [turns.seconds(work, cpu_s) for _ in range(times)]
