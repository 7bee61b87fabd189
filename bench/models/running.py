"""Swaps inside the running SmolLM2, beside the closed form on the same prompts, and what they do to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest import model, real
from ingest.model import live
from qkstore.analysis import components, subspaces
from qkstore.analysis.live import Live, Outcome
from qkstore.analysis.plans import ComponentGroups
from qkstore.contrast import Contrast
from qkstore.contrast.builtin import RIGHT_BOX
from qkstore.contrast.space import Space
from qkstore.run import Run
from qkstore.store import Store
from qkstore.text import estimate, head_name, number

FEATURES = ("order", "lexical")
PAPER = "order + lexical"
TOLD = ("all", "random, as many as all", PAPER, "random", "all others")  # of a result's conditions
N, BASES = 64, 10  # prompts, and random subspaces of a rank
SAME = 1e-4  # |live − closed form| of attention: the run's vectors are rounded to float32
At = tuple[int, int]

HEAD = [
    "head", "swap", "dimensions", "target, closed form", "target, live", "difference of the means",
    "logit of the target's letter − the original's", "moved by", "answers the original / the target",
]  # fmt: skip


def results(store: Store, run: Run, heads: Sequence[At], n: int = N, progress: Any = None) -> list[Live]:
    """Each head alone, by its components and by order + lexical, between the paper's keys; the store keeps each."""
    loaded, found = None, []
    for at in heads:
        loaded = loaded or model.load(str(real.weights()), answers=True)
        features, groups = {PAPER: (paper(store, run, at),)}, ComponentGroups({at: components(run, *at)}, {})
        found.append(
            live.intervene(
                store, run, loaded, features, [at], bases=BASES, most=n, progress=progress, components=groups
            )
        )
    return found


def paper(store: Store, run: Run, at: At) -> Contrast:
    """The queried entity's box against the others, with the span of order and lexical for a subspace.

    Their ΔC is of train prompts; the run's test prompts are base prompts alone, which show no counterfactual.
    """
    span = subspaces(run, {name: store.feature(run, name) for name in FEATURES}, *at)["+".join(FEATURES)]
    space = Space.spanned(run.digest, *at, span.V, span.V)  # keys alone are swapped
    return RIGHT_BOX.replace(name=PAPER, space=space.text)


def rows(result: Live) -> list[list[str]]:
    """The cells of each swap of one head, the head unedited first."""
    each = {c.name: c for c in result.conditions}
    (head,) = result.heads
    name = head_name(*map(int, head.split(":")))
    first = each["all"]
    before, said = first.attention[head], first.answers
    unedited = [name, "none", "–", number(first.closed[head].target_before), number(before.target_before), "–"]
    unedited += ["–", "–", "–"] if said is None else [
        number(said.difference_before, 2), "–", f"{number(said.original_before)} / {number(said.target_before)}"
    ]  # fmt: skip
    return [unedited, *(_row(name, each[told], head) for told in TOLD if told in each)]


def _row(name: str, c: Outcome, head: str) -> list[str]:
    shown, closed, said = c.attention[head], c.closed[head], c.answers
    cells = [
        name, c.name, str(c.ranks[head]), number(closed.target_after),
        estimate(shown.target_after, shown.ci["target_after"]), f"{abs(shown.target_after - closed.target_after):.0e}",
    ]  # fmt: skip
    if said is None:
        return [*cells, "–", "–", "–"]
    moved = estimate(said.difference_after - said.difference_before, said.ci["difference_gain"], 2)
    return [
        *cells,
        number(said.difference_after, 2),
        moved,
        f"{number(said.original_after)} / {number(said.target_after)}",
    ]


def sentence(found: Sequence[Live]) -> str:
    """How far the running model is from the closed form, and how far two equal passes are from each other."""
    noise = [r.noise for r in found if r.noise]
    answers = [n["difference"] for n in noise if n["difference"] is not None]
    told = f", in the logits of the answer by {max(answers):.0e}" if answers else ""
    return (
        f"n = {', '.join(sorted({f'{r.n:,}' for r in found}))} prompts a head. The largest |live − closed form| of one "
        f"prompt's attention, over all swaps, is {max(r.gap for r in found):.0e}; two passes that ought to be equal "
        f"differ by {max(n['attention'] or 0 for n in noise):.0e} in attention{told}."
    )
