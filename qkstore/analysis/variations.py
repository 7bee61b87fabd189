"""Dose and response: attention as two keys exchange their coordinates step by step, all of them or one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore import intervention
from qkstore.analysis import swaps
from qkstore.analysis.head import Contrasts, judge_split, subspace
from qkstore.analysis.swaps import swapper
from qkstore.errors import ContrastError
from qkstore.interval import margin
from qkstore.intervention import LEAST_BASES, Condition, Swap, summary
from qkstore.run import Run
from qkstore.subspace import overlap, random, union

DOSES = tuple(np.linspace(0, 1.5, 13).tolist())
ALL, RANDOM = "all", "random"

AUTHORS = "authors/"


@dataclass(frozen=True)
class Response:
    """table: a row a coordinate and dose: coordinate ("1", "2", … of V in order of singular value, "all", "random"),
    dose (1 is the whole swap), original and target (mean attention), and the target's 95 % interval low, high
    (Student's t, over queries; random: over bases)."""

    table: pl.DataFrame
    n: int
    rank: int
    bases: int
    split: str | None


def response(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    doses=DOSES,
    n_random: int = 10,
    most: int = 1000,
    seed: int = 0,
    coordinates: int = 8,
) -> Response:
    """Attention after k̃ = k + dose · P(k' − k), for every dose, in closed form.

    P is V Vᵀ, or v vᵀ of one of the first coordinates, or that of a random subspace of the same rank. The queries and
    keys are those of qkstore.analysis.intervene. Raises ContrastError for a dose that is none, or too few random bases.
    """
    wrong = [dose for dose in doses if not 0 <= dose < np.inf]
    if wrong:
        raise ContrastError(f"dose {wrong[0]}: a dose is 0 (no swap) or more, 1 is the whole swap")
    if n_random < LEAST_BASES:
        raise ContrastError(f"a random baseline needs {LEAST_BASES} or more random subspaces, not {n_random}")
    facts, split = run.layer(layer, head), judge_split(run)
    targets = swaps.drawn(run, contrasts, [facts], split, most, seed)
    q, original = run.queries(layer, head, targets.query), run.keys(layer, head, targets.original)
    aimed, logsumexp = run.keys(layer, head, targets.target), run.logsumexp(layer, head, targets.query)
    space, rng = subspace(run, contrasts, layer, head), np.random.default_rng(seed)

    def swap(V: np.ndarray, dose: float) -> Swap:
        return intervention.swap(
            q, original, aimed, logsumexp, np.sqrt(dose) * V, facts.scaling, facts.softcap
        )  # P is quadratic in V

    named = {ALL: space.V} | {str(i + 1): space.V[:, i : i + 1] for i in range(min(coordinates, space.rank))}
    rows = [_row(name, dose, swap(V, dose)) for name, V in named.items() for dose in doses]
    bases = [random(run.d_head, space.rank, rng).V for _ in range(n_random)]
    rows += [_random_row(dose, [swap(V, dose) for V in bases]) for dose in doses]
    return Response(pl.DataFrame(rows), len(targets), space.rank, n_random, split)


def _row(name: str, dose: float, found: Swap) -> dict:
    after = found.target_after
    return _told(name, dose, found.original_after.mean(), after.mean(), margin(after))


def _random_row(dose: float, found: list[Swap]) -> dict:
    means = np.array([s.target_after.mean() for s in found])
    return _told(RANDOM, dose, np.mean([s.original_after.mean() for s in found]), means.mean(), margin(means))


def _told(name: str, dose: float, original: float, aimed: float, half: float) -> dict:
    interval = {"low": float(aimed - half), "high": float(aimed + half)}
    return {"coordinate": name, "dose": float(dose), "original": float(original), "target": float(aimed)} | interval


@dataclass(frozen=True)
class Variant:
    """One definition: its swap, and the overlap of its key subspace with the text's.

    overlap: mean squared cosine, 1 for the text itself.
    """

    name: str
    whose: str
    overlap: float
    swap: Condition


def variants(
    run: Run, named: dict[str, Contrasts], layer: int, head: int, most: int = 1000, seed: int = 0
) -> list[Variant]:
    """Every feature that both the text and the authors' scripts define, the text's definition first.

    Where there are order and lexical, also both together: in the span of the two, and with their projectors added,
    which counts twice what they share. Raises ContrastError where there is none.
    """
    both = [name for name in named if AUTHORS + name in named]
    if not both:
        raise ContrastError(f"run {run.name!r} has no contrast that the authors' scripts define otherwise")
    targets = _Targets(run, layer, head, most, seed)
    found = []
    for name in both:
        swap = targets.of(named[name])
        text = subspace(run, named[name], layer, head)
        for whose, space in (("text", text), ("scripts", subspace(run, named[AUTHORS + name], layer, head))):
            found.append(Variant(name, whose, overlap(text.V, space.V), summary(name, swap(space.V), space.rank, seed)))
    if {"order", "lexical"} <= set(both):
        found += _together(run, named, layer, head, targets, seed)
    return found


def _together(
    run: Run, named: dict[str, Contrasts], layer: int, head: int, targets: _Targets, seed: int
) -> list[Variant]:
    swap = targets.of((*named["order"], *named["lexical"]))
    parts = [subspace(run, named[name], layer, head) for name in ("order", "lexical")]
    span, added = (
        union(parts).V,
        np.hstack([s.V for s in parts]),
    )  # V Vᵀ of the columns side by side is the sum of the projectors
    return [
        Variant(
            "order+lexical",
            whose,
            overlap(span, np.linalg.qr(V)[0]),
            summary("order+lexical", swap(V), V.shape[1], seed),
        )
        for whose, V in (("text", span), ("scripts", added))
    ]


@dataclass
class _Targets:
    """Swaps of one head, the targets of each set of contrasts drawn once."""

    run: Run
    layer: int
    head: int
    most: int
    seed: int

    def of(self, contrasts: Contrasts):
        facts = self.run.layer(self.layer)
        targets = swaps.drawn(self.run, contrasts, [facts], judge_split(self.run), self.most, self.seed)
        return swapper(self.run, targets, self.layer, self.head)
