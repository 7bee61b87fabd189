"""Variations of a swap: little by little or one coordinate at a time, and in the subspaces of the authors' scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from qkstore.analysis.head import Contrasts, Head, judge_split
from qkstore.analysis.swaps import swapper
from qkstore.analysis.targets import visible_targets
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
    doses: Sequence[float] = DOSES,
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
    at, split = Head(run, layer, head), judge_split(run)
    targets = visible_targets(run, contrasts, [at.facts], split, most, seed)
    swap, space, rng = swapper(at, targets), at.subspace(contrasts), np.random.default_rng(seed)

    def dosed(V: np.ndarray, dose: float) -> Swap:
        return swap(np.sqrt(dose) * V)  # P is quadratic in V

    named = {ALL: space.V} | {str(i + 1): space.V[:, i : i + 1] for i in range(min(coordinates, space.rank))}
    rows = [_row(name, dose, dosed(V, dose)) for name, V in named.items() for dose in doses]
    bases = [random(run.d_head, space.rank, rng).V for _ in range(n_random)]
    rows += [_random_row(dose, [dosed(V, dose) for V in bases]) for dose in doses]
    return Response(pl.DataFrame(rows), len(targets), space.rank, n_random, split)


def _row(name: str, dose: float, swapped: Swap) -> dict:
    after = swapped.target_after
    return _told(name, dose, swapped.original_after.mean(), after.mean(), margin(after))


def _random_row(dose: float, swapped: list[Swap]) -> dict:
    means = np.array([s.target_after.mean() for s in swapped])
    return _told(RANDOM, dose, np.mean([s.original_after.mean() for s in swapped]), means.mean(), margin(means))


def _told(name: str, dose: float, original: float, aimed: float, half: float) -> dict:
    interval = {"low": float(aimed - half), "high": float(aimed + half)}
    return {"coordinate": name, "dose": float(dose), "original": float(original), "target": float(aimed)} | interval


@dataclass(frozen=True)
class Variant:
    """One definition: its swap, and the overlap of its key subspace with the text's.

    overlap: mean squared cosine, 1 for the text itself.
    """

    name: str
    whose: Literal["text", "scripts"]
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
    at = Head(run, layer, head)
    rows = []
    for name in both:
        swap, text = _swapper(at, named[name], most, seed), at.subspace(named[name])
        for whose, space in (("text", text), ("scripts", at.subspace(named[AUTHORS + name]))):
            rows.append(Variant(name, whose, overlap(text.V, space.V), summary(name, swap(space.V), space.rank, seed)))
    return rows + (_together(at, named, most, seed) if {"order", "lexical"} <= set(both) else [])


def _together(at: Head, named: dict[str, Contrasts], most: int, seed: int) -> list[Variant]:
    swap = _swapper(at, (*named["order"], *named["lexical"]), most, seed)
    parts = [at.subspace(named[name]) for name in ("order", "lexical")]
    # V Vᵀ of the columns side by side is the sum of the projectors
    span, added = union(parts).V, np.hstack([s.V for s in parts])
    return [
        Variant(
            "order+lexical",
            whose,
            overlap(span, np.linalg.qr(V)[0]),
            summary("order+lexical", swap(V), V.shape[1], seed),
        )
        for whose, V in (("text", span), ("scripts", added))
    ]


def _swapper(at: Head, contrasts: Contrasts, most: int, seed: int) -> Callable[[np.ndarray], Swap]:
    """V → Swap of the targets of these contrasts, drawn from the judged split."""
    return swapper(at, visible_targets(at.run, contrasts, [at.facts], judge_split(at.run), most, seed))
