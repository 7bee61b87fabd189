"""The ranking of heads under a contrast: one table of all scores, the best head, the figures of a page's top row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from qkstore.contrast import Contrast
from qkstore.heads import HeadScore
from qkstore.selection import selected

# {column of `table`: (title, what it is)}; larger is better, but for rank, which is only a size.
MEASURES = {
    "accuracy": ("Accuracy", "P(the largest logit among the contrast's keys is on a positive one)"),
    "selectivity": ("Selectivity", "attention on positive keys over attention on negative ones"),
    "strength": ("‖ΔC‖ ÷ null", "‖ΔC‖ over the 95 % quantile of its permutation null; above 1 is more than chance"),
    "rank": ("Rank", "number of singular values that hold 99 % of ‖ΔC‖²"),
}
GOOD = 0.5


@dataclass(frozen=True)
class Summary:
    """n_good heads of n have an accuracy above a half; `measure` is what `best` is best in."""

    n: int
    n_good: int
    best: HeadScore
    measure: str
    value: float | None


def scored_by(named: dict[str, tuple[Contrast, ...]], name: str) -> Contrast:
    """The one contrast that the head scores of a name come from.

    It is the name's own, or the pooled one of a span such as `category:*`.
    """
    members = named[name]
    pooled = named.get(name.split(":")[0], members)
    return members[0] if len(members) == 1 else pooled[0]


def table(scores: Sequence[HeadScore], by: str = "accuracy") -> pl.DataFrame:
    """One row for each head, best first by a column of MEASURES; heads without that measure come last.

    `selected`: see qkstore.selection.
    """
    kinds = selected(scores)
    rows = pl.DataFrame(
        [_row(s) | {"selected": kinds.get((s.layer, s.head), "")} for s in scores], infer_schema_length=None
    )
    return rows.sort([by, "strength", "delta_norm"], descending=True, nulls_last=True)


def best(scores: Sequence[HeadScore]) -> HeadScore:
    """The head of the highest accuracy; where no head has one, of the largest ‖ΔC‖ against its null."""
    top = table(scores).row(0, named=True)
    return next(s for s in scores if (s.layer, s.head) == (top["layer"], top["head"]))


def summary(scores: Sequence[HeadScore]) -> Summary:
    """What the top row of the Heads page says."""
    top = best(scores)
    measure = "accuracy" if top.accuracy is not None else "strength"
    good = sum(1 for s in scores if (s.accuracy or 0) > GOOD)
    return Summary(len(scores), good, top, measure, _row(top)[measure])


def _row(s: HeadScore) -> dict:
    low, high = s.accuracy_ci or (None, None)
    least, most = s.selectivity_ci or (None, None)
    return {
        "layer": s.layer,
        "head": s.head,
        "accuracy": s.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "selectivity": s.selectivity,
        "selectivity_low": least,
        "selectivity_high": most,
        "attention_positive": s.attention_positive,
        "attention_negative": s.attention_negative,
        "delta_norm": s.delta_norm,
        "delta_null": s.delta_null,
        "strength": s.delta_norm / s.delta_null if s.delta_null else None,
        "p_value": s.p_value,
        "rank": s.rank,
        "n_queries": s.n_queries,
    }
