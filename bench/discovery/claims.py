"""What the rule of qkstore/analysis/decomposition/claim.py says of heads of bench.discovery.chance, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.discovery.chance import TRAINED, Head
from qkstore.analysis.decomposition.claim import AGREES, GAP, RHO, claim
from qkstore.interval import bootstrap, wilson
from qkstore.text import estimate, number, spread

CHANCE = "all without training"
MOST, LEAST = 0.05, 0.8  # of components that are clear: most of a model that learned nothing, least of a trained one


@dataclass(frozen=True)
class Counts:
    """Of some heads: their components, how many a label names, how many match, are clear, and both."""

    heads: tuple[Head, ...]

    @property
    def rows(self) -> list[dict]:
        return [row for head in self.heads for row in head.rows]

    @property
    def clear(self) -> int:
        return sum(claim(row).clear for row in self.rows)

    @property
    def matching(self) -> int:
        return sum(claim(row).matches for row in self.rows)

    @property
    def both(self) -> int:
        return sum(claim(row).clear and claim(row).matches for row in self.rows)

    @property
    def named(self) -> int:
        return sum(row["named"] for row in self.rows)

    @property
    def with_components(self) -> list[Head]:
        return [head for head in self.heads if head.rows]

    @property
    def with_clear(self) -> int:
        return sum(any(claim(row).clear for row in head.rows) for head in self.heads)

    def by(self, unit: Callable[[Head], object]) -> tuple[float, float] | None:
        """The 95 % bootstrap interval of the share that is clear, over units with components.

        None where no component is clear, or all are: then resampling shows nothing.
        """
        units: dict[object, list[int]] = {}
        for head in self.with_components:
            sums = units.setdefault(unit(head), [0, 0])
            sums[0] += sum(claim(row).clear for row in head.rows)
            sums[1] += len(head.rows)
        if self.clear in (0, len(self.rows)):
            return None
        means = bootstrap(np.array(list(units.values()), float), seed=0)
        low, high = np.percentile(means[:, 0] / means[:, 1], [2.5, 97.5])
        return float(low), float(high)


def unit(head: Head) -> object:
    """A model; of the trained one, which is one alone, a head on a run."""
    return (head.head, head.form) if head.weights == TRAINED else (head.weights, head.seed)


def table(heads: Sequence[Head]) -> list[list[str]]:
    """A row for the trained model, for each kind of weights that learned nothing, and for these together."""
    kinds = list(dict.fromkeys(head.weights for head in heads))
    parts = {kind: [h for h in heads if h.weights == kind] for kind in kinds}
    parts[CHANCE] = [h for h in heads if h.weights != TRAINED]
    out = [["weights", "models", "heads with components", "components", "named by a label", f"agreement above {AGREES}",
            "clear", "95 %", "the same by models", "heads with a clear one", "clear and matching"]]  # fmt: skip
    for kind, part in parts.items():
        of, models = Counts(tuple(part)), {(h.weights, h.seed) for h in part}
        n, there = len(of.rows), len(of.with_components)
        each = spread([len(h.rows) for h in of.with_components], 0) if there else "0"
        out.append(
            [
                kind, str(len(models)), f"{there} of {len(part)}", f"{n}, {each} a head", f"{of.named} of {n}",
                f"{of.matching} of {n}", f"{of.clear} of {n}", _interval(of.clear, n), _range(of.by(unit)),
                f"{of.with_clear} of {there}, {_interval(of.with_clear, there)}", f"{of.both} of {n}",
            ]
        )  # fmt: skip
    return out


def by_form(heads: Sequence[Head]) -> list[list[str]]:
    """A row a form of prompts, trained beside the rest: components, how many pass each limit alone, and both."""
    out = [["prompts", "trained: components", "ρ", "gap", "clear", "clear and matching",
            "without training: heads", "components", "ρ", "gap", "clear", "clear and matching"]]  # fmt: skip
    for form in dict.fromkeys(head.form for head in heads):
        cells = [form]
        for trained in (True, False):
            of = Counts(tuple(h for h in heads if h.form == form and (h.weights == TRAINED) == trained))
            rho, gap = (sum(f(row) for row in of.rows) for f in (_correlates, _moves))
            cells += [] if trained else [f"{len(of.with_components)} of {len(of.heads)}"]
            cells += [str(len(of.rows)), str(rho), str(gap), str(of.clear), str(of.both)]
        out.append(cells)
    return out


def exceptions(heads: Sequence[Head]) -> list[str]:
    """Each component of a model that learned nothing which the rule takes for clear, with its figures."""
    return [
        f"{h.weights}, seed {h.seed}, {h.form}, head {h.head}, component {row['component']}: ρ "
        f"{estimate(row['rho'], row['rho_ci'], 2)}, gap {estimate(row['gap'], row['gap_ci'], 2)}, "
        + (f"agreement {number(row['agreement']['explained'], 2)}" if row["agreement"] else "no agreement")
        for h in heads
        for row in h.rows
        if h.weights != TRAINED and claim(row).clear
    ]


def failures(heads: Sequence[Head]) -> list[str]:
    """What the rule promises and does not keep."""
    trained, chance = (Counts(tuple(h for h in heads if (h.weights == TRAINED) == of)) for of in (True, False))
    out = [] if chance.rows else ["claims: no model without training has a component, so nothing is told apart"]
    if chance.rows and chance.clear > MOST * len(chance.rows):
        out.append(f"claims: {chance.clear} of {len(chance.rows)} components without training are clear")
    if not trained.rows or wilson(trained.clear, len(trained.rows))[1] < LEAST:  # of few, the limit blurs
        out.append(f"claims: {trained.clear} of {len(trained.rows)} components of the trained model are clear")
    return out


def _correlates(row: dict) -> bool:
    return row["rho_ci"][0] > RHO


def _moves(row: dict) -> bool:
    return bool(row["gap_ci"]) and row["gap_ci"][0] > GAP


def _interval(successes: int, n: int) -> str:
    return _range(wilson(successes, n)) if n else "–"


def _range(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"
