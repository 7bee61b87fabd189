"""Scores of heads with their intervals, a row each."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from qkstore.charts import palette
from qkstore.charts.palette import WIDTH
from qkstore.text import visible


def head_intervals(
    rows: Sequence[dict],
    title: str,
    legend: str | None = None,
    log: bool = False,
    zero: bool = True,
    reference: float | None = None,
) -> alt.LayerChart:
    """A point with its 95 % whisker a row (name, group, value, low, high, and null: a short stroke); a colour a group.

    Rows of one name lie under each other beside it.
    """
    table = pl.DataFrame(
        [r | {"name": visible(r["name"]), "group": visible(r["group"])} for r in rows], infer_schema_length=None
    )
    if log:
        floor = (
            float(table.filter(pl.col("value") > 0)["value"].min() or 1) / 3
        )  # a whisker to 0 has no end on this axis
        table = table.with_columns(pl.col(v).clip(lower_bound=floor) for v in ("value", "low"))
    names, groups = (
        table["name"].unique(maintain_order=True).to_list(),
        table["group"].unique(maintain_order=True).to_list(),
    )
    base = alt.Chart(table).encode(
        y=alt.Y(
            "name:N",
            title=None,
            sort=names,
            axis=alt.Axis(labelLimit=220, domain=False, ticks=False),
            scale=alt.Scale(paddingInner=0.35),
        ),
        color=alt.Color(
            "group:N",
            title=legend,
            sort=groups,
            scale=alt.Scale(domain=groups, range=palette.clusters(len(groups))),
            legend=alt.Legend(orient="top", labelLimit=260, columns=4) if len(groups) > 1 else None,
        ),
    )
    if len(table) > len(names):
        base = base.encode(yOffset=alt.YOffset("group:N", sort=groups))
    x = alt.X(
        "value:Q",
        title=title,
        scale=alt.Scale(type="log") if log else alt.Scale(zero=zero),
        axis=alt.Axis(tickCount=6, format=",~g"),
    )
    parts = [
        base.mark_rule(strokeWidth=1.8).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=62, opacity=1).encode(x=x),
    ]
    if "null" in table.columns:
        parts.append(base.mark_tick(thickness=2.5, size=12).encode(x=alt.X("null:Q", title=title)))
    if reference is not None:
        parts.insert(
            0,
            alt.Chart(pl.DataFrame({"at": [reference]}))
            .mark_rule(color=palette.GREY, strokeDash=[4, 3])
            .encode(x="at:Q"),
        )
    return alt.layer(*parts).properties(width=WIDTH - 160, height=alt.Step(24 if len(table) == len(names) else 14))
