"""Which heads a contrast selects: filter heads, binding heads, and the order of all the others."""

from __future__ import annotations

from collections.abc import Sequence

from qkstore.analysis.choice import LEAST_ACCURACY, LEAST_ATTENTION, LEAST_QUERIES, LEVEL
from qkstore.analysis.heads.score import HeadScore
from qkstore.contrast import Contrast
from qkstore.text import percent, split_name

MOST_FILTER_HEADS = 3  # filter heads, section 5.1
FILTER, BINDING = "filter", "binding"


def scored_by(named: dict[str, tuple[Contrast, ...]], name: str) -> Contrast:
    """The one contrast that the head scores of a name come from.

    It is the name's own, or the pooled one of a span such as `category:*`.
    """
    members = named[name]
    pooled = named.get(name.split(":")[0], members)
    return members[0] if len(members) == 1 else pooled[0]


def filter_heads(scores: Sequence[HeadScore], most: int = MOST_FILTER_HEADS) -> list[HeadScore]:
    """The `most` heads of the largest selectivity among those where it is clear of chance, best first.

    Selectivity is attention on positive keys (the queried items) over attention on negative ones.
    """
    there = [s for s in scores if s.choice.filters(len(scores))]
    return sorted(there, key=lambda s: -(s.choice.selectivity or 0.0))[:most]


def binding_heads(scores: Sequence[HeadScore], least: float = LEAST_ACCURACY) -> list[HeadScore]:
    """The heads with an accuracy of `least` or more that is clear of chance, best first.

    Accuracy: the share of queries whose largest logit is on the positive key (the right box).
    """
    there = [s for s in scores if s.choice.binds(len(scores), least)]
    return sorted(there, key=lambda s: -(s.choice.accuracy or 0.0))


def selected(scores: Sequence[HeadScore]) -> dict[tuple[int, int], str]:
    """{(layer, head): 'filter', 'binding' or 'filter, binding'} of the heads that either rule takes."""
    kinds: dict[tuple[int, int], list[str]] = {}
    for kind, heads in ((FILTER, filter_heads(scores)), (BINDING, binding_heads(scores))):
        for s in heads:
            kinds.setdefault((s.layer, s.head), []).append(kind)
    return {at: ", ".join(names) for at, names in kinds.items()}


def by_evidence(scores: Sequence[HeadScore]) -> list[HeadScore]:
    """Those that are selected first, then the others by accuracy on the prompts that choose, then by ‖ΔC‖."""
    chosen = {(s.layer, s.head): s for s in (*binding_heads(scores), *filter_heads(scores))}
    others = (s for s in scores if (s.layer, s.head) not in chosen)
    return [*chosen.values(), *sorted(others, key=_promise, reverse=True)]


def best(scores: Sequence[HeadScore]) -> HeadScore:
    """The default head: the first by evidence. The judged split has no part in it."""
    return by_evidence(scores)[0]


def _promise(s: HeadScore) -> tuple[float, float]:
    """Accuracy, which comes first, and where no head has one the size of ‖ΔC‖ against its null."""
    return -1.0 if s.choice.accuracy is None else s.choice.accuracy, s.strength or 0.0


def statement(scores: Sequence[HeadScore]) -> str:
    """What the selected heads of a table are, and which prompts chose and judged them."""
    rules = (
        f"Filter heads are the top {MOST_FILTER_HEADS} by selectivity, binding heads have an accuracy "
        f"{_least(scores[0].choice.chance)}; either must be clear of chance (p ≤ {LEVEL} over all "
        f"{len(scores)} heads together, each word counted once), with {percent(LEAST_ATTENTION)} of the "
        f"attention on these keys and {LEAST_QUERIES} queries or more"
    )
    built, judged = split_name(scores[0].built_on), split_name(scores[0].judged_on)
    if built == judged:
        return (
            f"{rules}. They are chosen and judged on the same {built} prompts, "
            "so that their figures and intervals are too good."
        )
    return (
        f"{rules}, all on the {built} split; figures and 95 % intervals are of the {judged} split, "
        "which had no part in the choice, nor in that of the head shown where none is selected."
    )


def _least(chance: float | None) -> str:
    """What a binding head's accuracy has to be at least: a threshold that chance itself reaches asks for nothing."""
    if chance is None:
        return f"of {percent(LEAST_ACCURACY)} or more"
    if chance >= LEAST_ACCURACY:
        return f"above the {percent(chance)} that chance gives"
    return f"of {percent(LEAST_ACCURACY)} or more (chance {percent(chance)})"
