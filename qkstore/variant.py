"""Variants: the text's definition of a contrast beside the authors' scripts', on the same head, queries and targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore import target
from qkstore.analysis import Contrasts, judge_split, subspace, swapper
from qkstore.errors import ContrastError
from qkstore.intervention import Condition, summary
from qkstore.run import Run
from qkstore.subspace import overlap, union

AUTHORS = "authors/"


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
        drawn = target.draw(self.run, contrasts, judge_split(self.run), self.most, self.seed)
        targets = drawn.visible(self.run, facts)
        if not len(targets):
            raise ContrastError(
                f"layer {self.layer} sees none of the {len(drawn)} pairs of keys: its window is {facts.window}"
            )
        return swapper(self.run, targets, self.layer, self.head)
