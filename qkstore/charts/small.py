"""Charts that fit a quarter of a page."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from qkstore.charts import palette
from qkstore.charts.attribution import attribution_bars
from qkstore.charts.points import grouped
from qkstore.charts.swaps import swap_bars

HEIGHT = 200  # pixels
KEYS = 6  # of an attribution
ACROSS = 20  # letters of their labels in one line


def small_points(points: pl.DataFrame, names: tuple[str, str, str], dark: bool = False, height: int = 170) -> alt.Chart:
    """The first two coordinates of points (side, x, y, group, prompt_id, text), as wide as their place.

    A single direction is drawn as one strip for each group. Groups are told by the tooltip: there is no room for names.
    """
    shown, colours, numbers = grouped(points, dark)
    flat = not (points["y"] != 0).any()
    axis = alt.Axis(tickCount=3, domain=False, ticks=False, labels=False)
    x, y = (alt.X("x:Q", title=names[0], axis=axis), alt.Y("y:Q", title=names[1], axis=axis))
    y = alt.Y("group:N", title=None) if flat else y.scale(zero=False)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    shape = alt.Scale(domain=list(palette.SHAPES), range=list(palette.SHAPES.values()))
    query = "datum.side == 'query'"
    return (
        alt.Chart(shown)
        .mark_point(filled=True, strokeWidth=0.7, opacity=0.75)
        .encode(
            x=x.scale(zero=False),
            y=y,
            color=alt.Color("group:O" if numbers else "group:N", sort=list(colours), scale=scale, legend=None),
            shape=alt.Shape("side:N", scale=shape, legend=None),
            size=alt.condition(query, alt.value(60), alt.value(22)),
            stroke=alt.condition(query, alt.value(palette.ink(dark)), alt.value("transparent")),
            tooltip=[
                "side:N",
                alt.Tooltip("group:N", title="label"),
                alt.Tooltip("text:N", title="token"),
                alt.Tooltip("prompt_id:Q", title="prompt", format="d"),
            ],
        )
        .properties(width="container", height=height)
    )


def small_swap(conditions: Sequence[dict], dark: bool = False, height: int = HEIGHT) -> alt.LayerChart:
    """The bars of `swap_bars`, without the legend that says that the pale ones are before the swap."""
    drawn = swap_bars(conditions, dark).properties(height=height)
    drawn.layer[0].encoding.opacity.legend = None
    return drawn.configure_legend(columns=1, orient="top", padding=0)


def small_attribution(
    tokens: Sequence[dict], features: Sequence[str], dark: bool = False, height: int = HEIGHT
) -> alt.LayerChart:
    """The bars of `attribution_bars` for the KEYS most attended keys, in the order of the prompt."""
    first = sorted(tokens, key=lambda t: (-t["attention"], t["pos"]))[:KEYS]
    drawn = attribution_bars(sorted(first, key=lambda t: t["pos"]), features, dark, ACROSS).properties(height=height)
    return drawn.configure_legend(columns=2, orient="top", padding=0)
