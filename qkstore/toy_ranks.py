"""The ranks recovered over many toy heads: how many are exact, which are not, and what they sum to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qkstore.toy import FACTORS, Recovered, Toy


@dataclass(frozen=True)
class Tally:
    """How many of `latents` (two a head) have their true rank recovered.

    exact: those whose recovered rank is the true one. misses: names of the others. sums: r̂1 + r̂2 of each head.
    """

    exact: int
    latents: int
    misses: list[str]
    sums: list[int]

    @property
    def mean_sum(self) -> float | None:
        return sum(self.sums) / len(self.sums) if self.sums else None


@dataclass(frozen=True)
class Tallies:
    """Heads with more dimensions than their latents have (below), as many (full), and fewer (beyond, superposition)."""

    below: Tally
    full: Tally
    beyond: Tally


def tallies(toys: Sequence[Toy], found: Sequence[Recovered]) -> Tallies:
    """From toy runs and the ranks recovered in each."""
    both = list(zip(toys, found, strict=True))
    return Tallies(
        *(
            _tally([pair for pair in both if fits(pair[0].room)])
            for fits in (lambda n: n > 0, lambda n: n == 0, lambda n: n < 0)
        )
    )


def _tally(both: Sequence[tuple[Toy, Recovered]]) -> Tally:
    misses = [
        f"{name} of {toy.name}: {a} for {b}"
        for toy, ranks in both
        for name, a, b in zip(FACTORS, ranks.found, ranks.true)
        if a != b
    ]
    return Tally(2 * len(both) - len(misses), 2 * len(both), misses, [sum(ranks.found) for _, ranks in both])
