"""Toy runs: heads trained on payload retrieval, with known latents, ranks and weights, to judge the method by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qkstore import analysis
from qkstore import interaction as latents
from qkstore.contrast import builtin, pairs
from qkstore.errors import RunError, near
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.overview import TOY_TASKS

FACTORS = ("z1", "z2")
LAYER = HEAD = 0  # a toy run has one head
FILTERS = {
    "variant": "Latents",
    "d_head": "d_head",
    "recipe": "Recipe",
    "seed": "Seed",
    "noise": "Noise",
}  # what a grid of ranks has one value of
PAPERS = (3, 5)  # the ranks of the paper's Figures 3 and 4
ROUNDING = 1e-5  # singular values below this share of the largest are what float32 vectors leave of zero
HOW = "python -m ingest toy-sweep --grid 2-6 --d-head 8"


@dataclass(frozen=True)
class Toy:
    """One toy run with its settings and what was measured at training. bound: the accuracy that no head can beat."""

    run: Run
    variant: str
    d_head: int
    r1: int
    r2: int
    recipe: str
    seed: int
    noise: float
    accuracy: float
    bound: float
    steps: int

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def ranks(self) -> tuple[int, int]:
        return self.r1, self.r2

    @property
    def room(self) -> int:
        """Dimensions that the head has beyond those of its latents; below 0 they must be superposed."""
        return self.d_head - self.r1 - self.r2

    @property
    def discrete(self) -> bool:
        return self.variant == "discrete"


class Recovered(NamedTuple):
    """ranks: the 99 % ranks of z1 and z2. true: those they have in truth (no more than the head has dimensions)."""

    ranks: tuple[int, int]
    true: tuple[int, int]

    @property
    def distance(self) -> int:
        return sum(abs(a - b) for a, b in zip(self.ranks, self.true))


def is_toy(run: Run) -> bool:
    return run.task in TOY_TASKS


def toy(run: Run) -> Toy:
    """The settings of a toy run. Raises RunError for any other."""
    if not is_toy(run):
        raise RunError(f"run {run.name!r} is no toy run, its task is {run.task!r}; make one with `{HOW}`")
    s, m = run.settings, run.measures
    return Toy(
        run,
        s["variant"],
        s["d_head"],
        s["r1"],
        s["r2"],
        s["recipe"],
        s["seed"],
        s["noise"],
        m["accuracy"],
        m["bound"],
        int(m["steps"]),
    )


def toys(store: Store) -> list[Toy]:
    """Every toy run of a store, by name."""
    return [toy(run) for run in store.runs() if is_toy(run)]


def values(toys: Sequence[Toy], name: str) -> list:
    """The values that toy runs have of one of FILTERS; discrete latents first, otherwise ascending."""
    return sorted({getattr(t, name) for t in toys}, reverse=name == "variant")


def filters(toys: Sequence[Toy]) -> list[str]:
    """Those of FILTERS that are worth a choice: latents and d_head always, others where there are several values."""
    return [name for i, name in enumerate(FILTERS) if i < 2 or len(values(toys, name)) > 1]


def usual(toys: Sequence[Toy], name: str, like: Toy | None = None):
    """The value of a filter before one is chosen: that of the run `like` where it is possible, or else the first."""
    there = values(toys, name)
    return getattr(like, name) if like and getattr(like, name) in there else there[0]


def having(toys: Sequence[Toy], name: str, value) -> list[Toy]:
    """The toy runs whose setting `name` (one of FILTERS) is `value`."""
    return [t for t in toys if getattr(t, name) == value]


def narrowed(toys: Sequence[Toy], wanted: Mapping[str, str], like: Toy | None = None) -> list[Toy]:
    """The runs that agree in all of FILTERS.

    They have the values `wanted` (as text) where these are possible, or else the usual ones.
    """
    for name in FILTERS:
        there = {str(value): value for value in values(toys, name)}
        toys = having(toys, name, there.get(wanted.get(name, ""), usual(toys, name, like)))
    return list(toys)


def grid(toys: Sequence[Toy]) -> dict[tuple[int, int], Toy]:
    """{(r1, r2): toy run} of runs that agree in FILTERS; of two runs of the same ranks the one that was made last."""
    return {t.ranks: t for t in sorted(toys, key=lambda t: t.run.created)}


def chosen(cells: dict[tuple[int, int], Toy], ranks: tuple[int, int] | None = None) -> Toy:
    """The cell of these ranks, or else the paper's example, or else the first cell with room for both latents."""
    for wanted in (ranks, PAPERS):
        if wanted in cells:
            return cells[wanted]
    return min(cells.values(), key=lambda t: (t.room < 0, t.ranks))


def recovered(run: Run) -> Recovered:
    """The 99 % ranks of both latents beside the true ones (Fig. 2). Raises RunError for a run that is no toy run."""
    of = toy(run)
    ranks = tuple(analysis.covariance(run, builtin.latent(name), LAYER, HEAD).subspace.rank for name in FACTORS)
    return Recovered(ranks, tuple(min(r, of.d_head) for r in of.ranks))


def interaction(run: Run) -> latents.Interaction:
    """G from the weights (eq. 12). Raises RunError for a run that is no toy run."""
    toy(run)
    return latents.interaction(run.weights)


def closed_form(run: Run, factor: str) -> np.ndarray:
    """(d_head, d_head) ΔC of latent z1 or z2 as the weights give it, without a sample.

    Raises RunError for a run that is no toy run.
    """
    return latents.closed_form(run.weights, number(run, factor), toy(run).discrete)


def sampled(run: Run, factor: str, sizes: Sequence[int], variant: str = "triplet") -> list[np.ndarray]:
    """ΔC of latent z1 or z2 from the first n triplets, for each n of `sizes`.

    variant: "exact" takes the triplets whose keys share payload and noise. Raises RunError for a run that is no toy
    run.
    """
    number(run, factor)
    contrast = builtin.latent(factor, variant)
    split = analysis.build_split(run)
    every = pairs(run, contrast, split)
    queries = np.unique(every.query)
    parts = (every.where(np.isin(every.query, queries[:n])) for n in sizes)
    head = analysis.Head(run, LAYER, HEAD)
    return [analysis.Rows.these(run, contrast, split, part).read(head).covariance.delta for part in parts]


def number(run: Run, factor: str) -> int:
    """1 of z1, 2 of z2. Raises RunError for any other, and for a run that is no toy run."""
    toy(run)
    if factor not in FACTORS:
        raise RunError(f"run {run.name!r} has no latent {factor!r}; {near(factor, FACTORS)}")
    return FACTORS.index(factor) + 1


def numerical_rank(delta: np.ndarray) -> int:
    """How many singular values are more than rounding: the rank of a ΔC without noise."""
    S = np.linalg.svd(delta, compute_uv=False)
    return int(np.sum(S > ROUNDING * S[0]))


def swaps(run: Run, n_random: int = 10, most: int = 1000) -> analysis.Intervention:
    """Swaps of the keys' coordinates in z1, in z2, in both, and in random subspaces of their ranks (Fig. 4, 14, 15).

    Raises RunError for a run that is no toy run.
    """
    toy(run)
    return analysis.intervene(run, {name: (builtin.latent(name),) for name in FACTORS}, LAYER, HEAD, n_random, most)


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


def tallies(toys: Sequence[Toy], recovered: Sequence[Recovered]) -> Tallies:
    """From toy runs and the ranks recovered in each."""
    both = list(zip(toys, recovered, strict=True))
    return Tallies(
        *(
            _tally([pair for pair in both if fits(pair[0].room)])
            for fits in (lambda n: n > 0, lambda n: n == 0, lambda n: n < 0)
        )
    )


def _tally(both: Sequence[tuple[Toy, Recovered]]) -> Tally:
    misses = [
        f"{name} of {toy.name}: {a} for {b}"
        for toy, of in both
        for name, a, b in zip(FACTORS, of.ranks, of.true)
        if a != b
    ]
    return Tally(2 * len(both) - len(misses), 2 * len(both), misses, [sum(of.ranks) for _, of in both])
