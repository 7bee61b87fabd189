"""Two components' scores against each other: a triangle is a query, a circle the key that it chose."""

from __future__ import annotations

import altair as alt
import polars as pl

from qkstore.charts import palette
from qkstore.charts.points import grouped


def score_scatter(
    points: pl.DataFrame, names: tuple[str, str], dark: bool = False, width: int = 360, height: int = 380
) -> alt.Chart:
    """x and y of points (side, x, y, group, prompt_id, text) in the colours of their groups, which a histogram shares.

    names: titles of the two axes.
    """
    shown, colours, numbers = grouped(points, dark)
    axis = alt.Axis(tickCount=5, domain=False, ticks=False)
    x, y = (alt.X("x:Q", title=names[0], axis=axis), alt.Y("y:Q", title=names[1], axis=axis))
    shape = alt.Scale(domain=list(palette.SHAPES), range=list(palette.SHAPES.values()))
    kind, scale = "group:O" if numbers else "group:N", alt.Scale(domain=list(colours), range=list(colours.values()))
    query = "datum.side == 'query'"
    legend = alt.Legend(orient="bottom", symbolFillColor=palette.ink(dark), symbolStrokeWidth=0)
    return (
        alt.Chart(shown.drop("z"))
        .mark_point(filled=True, strokeWidth=0.7, opacity=0.75)
        .encode(
            x=x.scale(zero=False),
            y=y.scale(zero=False),
            color=alt.Color(kind, sort=list(colours), scale=scale, legend=None),
            shape=alt.Shape("side:N", title=None, scale=shape, legend=legend),
            size=alt.condition(query, alt.value(60), alt.value(24)),
            stroke=alt.condition(query, alt.value(palette.ink(dark)), alt.value("transparent")),
            tooltip=[
                "side:N",
                alt.Tooltip("group:N", title="label"),
                alt.Tooltip("text:N", title="token"),
                alt.Tooltip("prompt_id:Q", title="prompt", format="d"),
            ],
        )
        .properties(width=width, height=height)
    )
