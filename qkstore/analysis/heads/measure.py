"""The table of all heads' scores: what each measure is, where chance lies on it, and what is clear of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from qkstore.analysis.choice import LEVEL
from qkstore.analysis.heads.score import HeadScore
from qkstore.analysis.heads.selection import best, selected
from qkstore.interval import Estimate
from qkstore.text import number, percent, split_name

# {column of `table`: (title, what it is)}; larger is better, but for p, and for rank, which is only a size.
MEASURES = {
    "accuracy": ("Accuracy", "P(the largest logit among the contrast's keys is on a positive one)"),
    "selectivity": ("Selectivity", "attention on positive keys over attention on negative ones"),
    "attention_positive": ("Attention +", "a query's attention on its positive keys together"),
    "attention_negative": ("Attention −", "a query's attention on its negative keys together"),
    "strength": ("‖ΔC‖ ÷ null", "‖ΔC‖ (centred) over the 95 % quantile of its null; above 1 is more than chance"),
    "p_value": ("p of ‖ΔC‖", "the share of deals of signs whose ‖ΔC‖ (centred) reaches what is observed"),
    "rank": ("Rank", "number of singular values that hold 99 % of ‖ΔC‖²"),
}
WITH_INTERVAL = ("accuracy", "selectivity", "attention_positive", "attention_negative")
CLEAR = "clear"  # column of `table`: whether the measure is clear of chance


def table(scores: Sequence[HeadScore], by: str = "accuracy") -> pl.DataFrame:
    """One row for each head, best first by a column of MEASURES; heads without that measure come last.

    `selected`: the rule that selects the head (see `selected`), or nothing. `clear`: whether `by` is clear of chance
    (see `clear`). `missing`: why there is no `by`, or nothing.
    """
    kinds, n = selected(scores), len(scores)
    rows = [
        _row(s) | {"selected": kinds.get((s.layer, s.head), ""), CLEAR: clear(s, by, n), "missing": missing(s, by)}
        for s in scores
    ]
    first = [by, "strength", "delta_norm"]
    down = [by != "p_value", True, True]
    return pl.DataFrame(rows, infer_schema_length=None).sort(first, descending=down, nulls_last=True)


def _row(s: HeadScore) -> dict:
    row: dict[str, object] = {"layer": s.layer, "head": s.head}
    for by in WITH_INTERVAL:
        low, high = s.interval(by) or (None, None)
        row |= {by: getattr(s, by), f"{by}_low": low, f"{by}_high": high}
        row |= {"chance": s.chance} if by == "accuracy" else {}
    for name in ("delta_norm", "delta_null", "strength", "p_value", "rank", "n_queries"):
        row[name] = getattr(s, name)
    return row


def reference(by: str, chance: float | None) -> tuple[float, str] | None:
    """Where a measure is no more than chance, and what that place is called; None of one that has no such place."""
    places = {"selectivity": (1.0, "even"), "strength": (1.0, "null"), "p_value": (LEVEL, "level")}
    if by == "accuracy":
        return None if chance is None else (chance, "chance")
    return places.get(by)


def clear(s: HeadScore, by: str, n_heads: int) -> bool | None:
    """Whether a measure is clear of chance; None of one that has no chance level.

    Accuracy and selectivity: the interval leaves chance out, also when it is widened for n_heads heads together
    (Bonferroni). ‖ΔC‖: p ≤ LEVEL of this head alone, as a few deals of signs cannot give less.
    """
    place = reference(by, s.chance)
    if place is None:
        return None
    if by in ("strength", "p_value"):
        return None if s.p_value is None else s.p_value <= LEVEL
    value, interval = getattr(s, by), s.interval(by)
    if value is None or interval is None or s.n_queries == 1:
        return None
    low, high = Estimate(value, *interval).together(n_heads)
    return not low <= place[0] <= high


def missing(s: HeadScore, by: str) -> str:
    """Why a head has no value of a measure; nothing where it has one."""
    if getattr(s, by) is not None:
        return ""
    unseen = "no query attends to its {} keys: they are in other prompts, or outside the layer's window"
    return {
        "accuracy": f"no query of the {split_name(s.judged_on)} prompts has keys of both signs",
        "selectivity": "no ratio without attention on negative keys",
        "attention_positive": unseen.format("positive"),
        "attention_negative": unseen.format("negative"),
    }.get(by, "its null is not there yet" if s.pending else "‖ΔC‖ has no null")


def clear_told(scores: Sequence[HeadScore], by: str) -> str:
    """How many heads have a measure clear of chance, and what that means; nothing where chance has no level."""
    n, there = len(scores), [clear(s, by, len(scores)) for s in scores]
    place = reference(by, next((s.chance for s in scores if s.chance is not None), None))
    if place is None:
        return ""
    many = sum(map(bool, there))
    has, are = ("has", "is") if many == 1 else ("have", "are")
    if by in ("strength", "p_value"):
        deals = next((s.deals for s in scores if s.deals), 0)
        if not deals:
            return "No null of ‖ΔC‖ was drawn, so no head has a p-value."
        return (
            f"{many:,} of {n:,} heads {has} p ≤ {LEVEL}, each by itself: by chance alone {number(LEVEL * n, 1)} would. "
            f"{deals:,} deals of signs give no p below {1 / (deals + 1):.2g}."
        )
    return (
        f"{many:,} of {n:,} heads {are} clear of {number(place[0], 2)} ({place[1]}) for all heads together, above or "
        f"below: their 95 % intervals leave it out also when they are widened for {n:,} heads (Bonferroni)."
    )


def told(s: HeadScore) -> str:
    """How well a head does, in a few words: its accuracy beside chance, or where it has none its ‖ΔC‖."""
    if s.accuracy is None:
        return f"no accuracy; ‖ΔC‖ is {number(s.strength, 1)} × null, {s.p_told}"
    interval = ", ".join(percent(end, 1) for end in s.accuracy_ci or ())
    return f"accuracy {percent(s.accuracy)} [{interval}], chance {percent(s.chance)}, n = {s.n_queries:,}"


@dataclass(frozen=True)
class Summary:
    """n_selected heads of n are selected; `best` is the default head, told by `measure` on the judged split."""

    n: int
    n_selected: int
    best: HeadScore
    measure: str
    value: float | None


def summary(scores: Sequence[HeadScore]) -> Summary:
    """What the top row of the Heads page says."""
    top = best(scores)
    measure = "accuracy" if top.accuracy is not None else "strength"
    return Summary(len(scores), len(selected(scores)), top, measure, getattr(top, measure))
