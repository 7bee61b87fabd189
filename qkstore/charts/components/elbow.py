"""The held-out correlations of a head's components beside what chance gives: where they end, components end."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from qkstore.charts import palette
from qkstore.charts.heads import sparse_axis
from qkstore.components import STRONG

BEYOND = 8  # correlations shown after those that count


def elbow(held: Sequence[float], value: int, chance: float, dark: bool = False, height: int = 230) -> alt.LayerChart:
    """Held-out correlations in their order, the first `value` of them, which count, in blue.

    A red line is the 95 % quantile of the largest that queries paired anew give, a dashed one STRONG, which is asked
    too. Of the rest only the first are shown.
    """
    shown = list(held)[: max(value + BEYOND, 16)]
    kinds = ["counts" if i < value else "does not" for i in range(len(shown))]
    rows = pl.DataFrame({"number": range(1, len(shown) + 1), "rho": shown, "kind": kinds})
    colour = alt.Scale(domain=["counts", "does not"], range=[palette.BLUE, palette.quiet(dark)])
    x = alt.X("number:O", title="Component, by correlation", axis=sparse_axis(rows["number"].to_list()))
    y = alt.Y("rho:Q", title="Held-out correlation", scale=alt.Scale(domain=[min(0.0, *shown), 1.0]))
    tooltip = [
        alt.Tooltip("number:O", title="component"),
        alt.Tooltip("rho:Q", title="held out", format=".3f"),
        "kind:N",
    ]
    base = alt.Chart(rows).encode(x=x, y=y)
    line = base.mark_line(color=palette.quiet(dark), strokeWidth=1.5)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        color=alt.Color("kind:N", title=None, scale=colour, legend=None), tooltip=tooltip
    )
    limits = pl.DataFrame(
        {"at": [chance, STRONG], "what": [f"chance gives at most {chance:.2f} (95 %)", f"asked: above {STRONG}"]}
    )
    rules = (
        alt.Chart(limits)
        .mark_rule(strokeWidth=1.5)
        .encode(
            y="at:Q",
            color=alt.value(palette.CHOSEN),
            strokeDash=alt.condition(f"datum.at == {STRONG}", alt.value([5, 4]), alt.value([1, 0])),
            tooltip="what:N",
        )
    )
    return alt.layer(rules, line, dots).properties(height=height, width="container")
