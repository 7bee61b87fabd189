"""Swaps inside the running SmolLM2, beside the closed form on the same prompts, and what they do to its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
ALL, CHANCE = "all", "random, as many as all"
TOLD = (ALL, CHANCE, PAPER, "random", "all others")  # of a result's conditions
N, BASES = 64, 10  # prompts, and random subspaces of a rank
EACH = 16  # prompts of a head where many heads are swapped
SAME = 1e-4  # |live − closed form| of attention: the run's vectors are rounded to float32
At = tuple[int, int]

HEAD = [
    "head", "swap", "dimensions", "target, closed form", "target, live", "difference of the means",
    "logit of the target's letter − the original's", "moved by", "answers the original / the target",
]  # fmt: skip


def results(store: Store, run: Run, heads: Mapping[At, int], progress: Any = None) -> dict[At, Live]:
    """Each head alone, by its components and by order + lexical, between the paper's keys; the store keeps each.

    heads: {(layer, head): prompts at most}.
    """
    loaded, found = None, {}
    for at, n in heads.items():
        loaded = loaded or model.load(str(real.weights()), answers=True)
        features, groups = {PAPER: (paper(store, run, at),)}, ComponentGroups({at: components(run, *at)}, {})
        found[at] = live.intervene(
            store, run, loaded, features, [at], bases=BASES, most=n, progress=progress, components=groups
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
    first = each[ALL]
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
    return [
        *cells,
        number(said.difference_after, 2),
        _moved(c),
        f"{number(said.original_after)} / {number(said.target_after)}",
    ]


def _moved(c: Outcome) -> str:
    """By how much the logit of the target's letter, less that of the original's, moves."""
    said = c.answers
    if said is None:
        return "–"
    return estimate(said.difference_after - said.difference_before, said.ci["difference_gain"], 2)


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


# -- many heads, a row each --------------------------------------------------------------------------------------------

HEADS = [
    "head", "components", "n", "before, original / target", "target after the swap of all, closed form", "live",
    "as many random, live", "order + lexical, live", "all beyond random: target", "logit gap",
    "answer moved by all", "by as many random", "by order + lexical",
]  # fmt: skip


def head_row(result: Live) -> list[str]:
    """The cells of one head: what all of its components do, beside random dimensions and order + lexical."""
    (head,) = result.heads
    each = {c.name: c for c in result.conditions}
    shown, three = each[ALL].attention[head], [each[name] for name in (ALL, CHANCE, PAPER)]
    cells = [head_name(*map(int, head.split(":"))), str(each[ALL].ranks[head]), f"{result.n:,}"]
    cells += [f"{number(shown.original_before)} / {number(shown.target_before)}"]
    cells += [number(each[ALL].closed[head].target_after)]
    cells += [estimate(c.attention[head].target_after, c.attention[head].ci["target_after"]) for c in three]
    cells += [estimate(value, ends, d) for (value, *ends), d in zip(beyond(result), (3, 2), strict=True)]
    return [*cells, *map(_moved, three)]


def beyond(result: Live) -> list[tuple[float, float, float]]:
    """What all components do live more than as many random dimensions, with 95 % intervals: target, and logit gap."""
    (head,) = result.heads
    (told,) = (c.attention[head].beyond for c in result.conditions if c.name == ALL)
    assert told, "each size of a group has its random baseline"
    return [told["delta_p"], told["gap_gain"]]


def heads_sentence(found: Sequence[Live]) -> str:
    """For how many heads the interval says that all components do more, or less, than as many random dimensions."""
    many, told = len(found), []
    for each in zip(*map(beyond, found), strict=True):
        more, less = sum(low > 0 for _, low, _ in each), sum(high < 0 for *_, high in each)
        told.append((more, f"less far in {less}, and the interval holds 0 in {many - more - less}"))
    (target, target_rest), (gap, gap_rest) = told
    by_all, by_chance, by_paper = (answer(found, name) for name in (ALL, CHANCE, PAPER))
    return (
        f"Live, the swap of all components moves the target's attention further than that of as many random dimensions "
        f"in {target} of {many} heads, {target_rest}; the logit gap in {gap}, {gap_rest}. Towards the target's letter, "
        f"and away from it, the answer moves in {by_all} heads by all components, in {by_chance} by as many random "
        f"dimensions, in {by_paper} by {PAPER}. Each interval is one of {many} at 95 %. {sentence(found)}"
    )


def answer(found: Sequence[Live], name: str) -> str:
    """In how many heads a swap moves the answer's logits towards the target's letter, and away, by the interval."""
    said = [c.answers.ci["difference_gain"] for r in found for c in r.conditions if c.name == name and c.answers]
    return f"{sum(low > 0 for low, _ in said)} and {sum(high < 0 for _, high in said)}"
