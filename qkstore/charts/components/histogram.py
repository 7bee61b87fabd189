"""How the scores of a component spread, by a label."""

from __future__ import annotations

import altair as alt
import polars as pl

from qkstore.charts.points import grouped

BINS = 40


def score_histogram(points: pl.DataFrame, title: str, dark: bool = False, height: int = 150) -> alt.FacetChart:
    """Histograms of the x of points (side, x, group, text): of queries above, of the keys they chose below.

    Bars are stacked in the colours of the groups, which are those of every picture of points.
    """
    shown, colours, numbers = grouped(points, dark)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    legend = alt.Legend(orient="bottom", columns=4, symbolType="square", labelLimit=110)
    kind = "group:O" if numbers else "group:N"
    bars = (
        alt.Chart(shown.select("side", "x", "group"))
        .mark_bar()
        .encode(
            x=alt.X("x:Q", bin=alt.Bin(maxbins=BINS), title=title),
            y=alt.Y("count():Q", title="Count", axis=alt.Axis(tickCount=3)),
            color=alt.Color(kind, title=None, sort=list(colours), scale=scale, legend=legend),
            tooltip=[
                alt.Tooltip("x:Q", bin=alt.Bin(maxbins=BINS), title="score"),
                kind,
                alt.Tooltip("count():Q", title="n"),
            ],
        )
        .properties(height=height, width=360)
    )
    header = alt.Header(title=None, labelOrient="top", labelAnchor="start")
    rows = alt.Row("side:N", sort=["query", "key"], header=header)
    return bars.facet(row=rows, spacing=8).resolve_scale(y="independent")
