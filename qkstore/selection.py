"""Selection of heads as in the paper: filter heads by attention on queried items, binding heads by the box they pick.

Heads are chosen on the split that ΔC is built on, and their figures and intervals are of the judged split: a choice
made on the judged prompts themselves would take the luckiest heads, and their intervals would be too good.
"""

from __future__ import annotations

from collections.abc import Sequence

from qkstore.heads import HeadScore

MOST = 3  # filter heads, section 5.1
LEAST = 0.3  # accuracy of a binding head, section 5.2
FILTER, BINDING = "filter", "binding"


def filter_heads(scores: Sequence[HeadScore], most: int = MOST) -> list[HeadScore]:
    """The `most` heads of the largest selectivity, best first.

    Selectivity is attention on positive keys (the queried items) over attention on negative ones.
    """
    there = [s for s in scores if s.built_selectivity is not None]
    return sorted(there, key=lambda s: -s.built_selectivity)[:most]


def binding_heads(scores: Sequence[HeadScore], least: float = LEAST) -> list[HeadScore]:
    """The heads with an accuracy of `least` or more, best first.

    Accuracy: the share of queries whose largest logit is on the positive key (the right box).
    """
    found = [s for s in scores if s.built_accuracy is not None and s.built_accuracy >= least]
    return sorted(found, key=lambda s: -s.built_accuracy)


def selected(scores: Sequence[HeadScore]) -> dict[tuple[int, int], str]:
    """{(layer, head): 'filter', 'binding' or 'filter, binding'} of the heads that either rule takes."""
    kinds: dict[tuple[int, int], list[str]] = {}
    for kind, heads in ((FILTER, filter_heads(scores)), (BINDING, binding_heads(scores))):
        for s in heads:
            kinds.setdefault((s.layer, s.head), []).append(kind)
    return {at: ", ".join(names) for at, names in kinds.items()}


def statement(scores: Sequence[HeadScore]) -> str:
    """What the selected heads of a table are, and which prompts chose and judged them."""
    rules = (
        f"Filter heads are the top {MOST} by selectivity, binding heads have an accuracy of {LEAST:.0%} or more"
    ).replace("%", " %")
    built, judged = scores[0].built_on or "whole", scores[0].judged_on or "whole"
    if built == judged:
        return (
            f"{rules}. They are chosen and judged on the same {built} prompts, "
            "so that their figures and intervals are too good."
        )
    return (
        f"{rules}, both on the {built} split; "
        f"figures and 95 % intervals are of the {judged} split, which had no part in the choice."
    )


def sentence(score: HeadScore) -> str:
    """What the choice of one head rested on."""
    ratio = "no ratio" if score.built_selectivity is None else f"selectivity {score.built_selectivity:.2f}"
    share = "no accuracy" if score.built_accuracy is None else f"accuracy {score.built_accuracy:.0%}".replace("%", " %")
    return f"by {ratio}, {share} on the {score.built_on or 'whole'} split"
