"""Scatter plots of queries and keys: linked pairs of coordinates; a triangle is a query, a circle a key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_

import altair as alt
import polars as pl

from qkstore.analysis.points import Method
from qkstore.charts import palette
from qkstore.text import column, visible

OTHERS = "others"
MOST_DRAWN = 4000  # of a chart of vectors; Altair takes 5,000
MOST_GROUPS = len(palette.CLASSES)
# plasma without its ends that vanish on the page: for numbers, which have an order
ORDINAL = {
    False: ["#e69f00", "#e16462", "#b12a90", "#6a00a8", "#0d0887"],
    True: ["#fdf06b", "#fdb32f", "#ed7953", "#d14e8f", "#a97bea"],
}


def point_pairs(
    points: pl.DataFrame,
    names: tuple[str, str, str],
    title: str,
    dark: bool = False,
    size: int = 395,
    groups: Sequence[str] = (),
) -> alt.HConcatChart:
    """Coordinates x–y and y–z of `points`, side by side; a single direction is drawn as one strip for each group.

    points: side, x, y, z, group, prompt_id, text; MOST_DRAWN of more, with as many of each group as of any other.
    groups: see grouped. A brush in either dims everything else in both; a click in the legend
    dims the other groups.
    """
    shown, colours, numbers = grouped(_few(points), dark, groups)
    drawn = (
        [("x", "y"), ("y", "z")] if (points["z"] != 0).any() else [("x", "y" if (points["y"] != 0).any() else "group")]
    )
    brushes = [alt.selection_interval(name=f"brush_{a}{b}") for a, b in drawn]
    pick = alt.selection_point(name="legend", fields=["group"], bind="legend")
    colour, lit = _colour(colours, numbers, title), reduce(and_, brushes, pick)
    width = size if len(drawn) > 1 else round(1.6 * size)
    charts = [
        _scatter(shown, a, b, names, colour, lit, width, size, dark).add_params(brush)
        for (a, b), brush in zip(drawn, brushes)
    ]
    charts[0] = charts[0].add_params(pick)
    return alt.hconcat(*charts, spacing=28).resolve_legend(color="shared", shape="shared")


def _few(points: pl.DataFrame) -> pl.DataFrame:
    """At most MOST_DRAWN points, the same ones each time."""
    turn = pl.int_range(pl.len()).shuffle(seed=0).over("side", "group")
    wanted = points.select("side", *"xyz", "group", "prompt_id", "text")
    if len(points) <= MOST_DRAWN:
        return wanted
    return wanted.with_columns(turn=turn).sort("turn", maintain_order=True).head(MOST_DRAWN).drop("turn")


def axes(method: Method, explained: Sequence[float] | None) -> tuple[str, str, str]:
    """Titles of x, y, z: PC1 (42%) with the share of the variance it holds; UMAP 1 where there is none."""
    if not explained:
        return tuple(f"{method.upper()} {i}" for i in (1, 2, 3))
    return tuple(f"PC{i + 1} ({explained[i]:.0%})" if i < len(explained) else f"PC{i + 1}" for i in range(3))


def _scatter(rows, a: str, b: str, names, colour, lit, width: int, height: int, dark: bool) -> alt.Chart:
    """One of the linked plots: points outside the brush, or of a group that is not picked, are dimmed."""
    title = dict(zip("xyz", names)) | {"group": None}
    grid = alt.Axis(tickCount=5, domain=False, ticks=False)
    y = (
        alt.Y("group:N", title=None)
        if b == "group"
        else alt.Y(f"{b}:Q", title=title[b], axis=grid, scale=alt.Scale(zero=False))
    )
    x = alt.X(f"{a}:Q", title=title[a], axis=grid, scale=alt.Scale(zero=False))
    legend = alt.Legend(orient="bottom", symbolSize=90, symbolFillColor=palette.ink(dark), symbolStrokeWidth=0)
    tooltip = [
        "side:N",
        alt.Tooltip("group:N", title="label"),
        alt.Tooltip("text:N", title="token"),
        alt.Tooltip("prompt_id:Q", title="prompt", format="d"),
    ]
    opacity = alt.condition(lit, alt.value(0.75), alt.value(0.06))
    dots = _dots(rows, x, y, colour, legend, sizes=(75, 28), dark=dark).encode(opacity=opacity, tooltip=tooltip)
    return dots.properties(width=width, height=height * 0.8)


def _dots(
    rows: pl.DataFrame,
    x: alt.X,
    y: alt.Y,
    colour: alt.Color,
    legend: alt.Legend | None,
    sizes: tuple[int, int],
    dark: bool = False,
) -> alt.Chart:
    """A triangle a query, a circle a key. sizes: of queries and of keys; queries are few, so larger and outlined."""
    query = "datum.side == 'query'"
    shape = alt.Scale(domain=list(palette.SHAPES), range=list(palette.SHAPES.values()))
    return (
        alt.Chart(rows)
        .mark_point(filled=True, strokeWidth=0.7)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=alt.Shape("side:N", title=None, scale=shape, legend=legend),
            size=alt.condition(query, *map(alt.value, sizes)),
            stroke=alt.condition(query, alt.value(palette.ink(dark)), alt.value("transparent")),
        )
    )


def grouped(
    points: pl.DataFrame, dark: bool = False, groups: Sequence[str] = ()
) -> tuple[pl.DataFrame, dict[str, str], bool]:
    """`points` as drawn, {group: colour} in the order of a legend, and whether the groups are numbers.

    Keys come before queries; words beyond the most frequent nine, and missing ones, are others; text is made visible.
    groups: what the most frequent are, the first one most, if not the points themselves tell: see Points.
    """
    names, numbers = _groups(points["group"], groups)
    named = pl.when(pl.col("group").is_in(names)).then(pl.col("group")).otherwise(pl.lit(OTHERS))
    shown = points.with_columns(group=named)
    shown = shown.with_columns(group=column(shown["group"]), text=column(shown["text"]))
    shown = shown.sort(pl.col("side") == "query", maintain_order=True)
    colours = dict(zip(map(visible, names), _ramp(len(names), dark) if numbers else palette.CLASSES))
    there = set(shown["group"])
    colours = {name: colour for name, colour in colours.items() if name in there}
    return shown, colours | {OTHERS: palette.quiet(dark)} if OTHERS in shown["group"] else colours, numbers


def _groups(column: pl.Series, groups: Sequence[str] = ()) -> tuple[list[str], bool]:
    """The groups that get a colour, and whether they are numbers: those are all drawn, on a ramp."""
    values = list(groups) or column.unique().drop_nulls().to_list()
    if all(v.removeprefix("-").isdecimal() for v in values):
        return sorted(values, key=int), True
    if groups:
        return sorted(values[:MOST_GROUPS]), False
    counts = column.drop_nulls().value_counts().sort("count", "group", descending=[True, False])
    return sorted(counts["group"].head(MOST_GROUPS)), False


def _colour(colours: dict[str, str], numbers: bool, title: str) -> alt.Color:
    legend = alt.Legend(orient="bottom", columns=10, symbolType="square", symbolSize=90, labelLimit=120)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    if numbers:
        return alt.Color("group:O", title=title, sort=list(colours), scale=scale, legend=legend)
    return alt.Color("group:N", title=title, scale=scale, legend=legend)


def _ramp(n: int, dark: bool = False) -> list[str]:
    """n colours along the ordinal ramp."""
    stops = ORDINAL[dark]

    def mix(at: float) -> str:
        i = min(int(at), len(stops) - 2)
        low, high = ([int(stops[j][c : c + 2], 16) for c in (1, 3, 5)] for j in (i, i + 1))
        return "#" + "".join(f"{round(a + (b - a) * (at - i)):02x}" for a, b in zip(low, high))

    return [mix((len(stops) - 1) * (i / max(n - 1, 1))) for i in range(n)]


def clusters(points: pl.DataFrame, names: tuple[str, str, str], size: int = 330) -> alt.HConcatChart:
    """Coordinates x–y and y–z of points (side, x, y, z, group), for paper.

    A colour a group, which is named at the mean of its keys in place of a legend.
    """
    shown = points.with_columns(group=column(points["group"])).drop("text")
    groups = sorted(shown["group"].unique())
    keys = shown.filter(pl.col("side") == "key").group_by("group", maintain_order=True)
    centres = keys.agg(pl.col(c).mean() for c in "xyz")
    colour = alt.Color("group:N", scale=alt.Scale(domain=groups, range=palette.clusters(len(groups))), legend=None)
    legend = alt.Legend(orient="bottom") if shown["side"].n_unique() > 1 else None
    title = dict(zip("xyz", names))

    def plot(a: str, b: str) -> alt.LayerChart:
        x, y = (
            alt.X(f"{a}:Q", title=title[a], scale=alt.Scale(zero=False)),
            alt.Y(f"{b}:Q", title=title[b], scale=alt.Scale(zero=False)),
        )
        words = alt.Chart(centres).encode(x=x, y=y, text="group:N")
        return alt.layer(
            _dots(shown, x, y, colour, legend, sizes=(46, 18)).encode(opacity=alt.value(0.55)),
            words.mark_text(fontSize=11, fontWeight="bold", stroke="white", strokeWidth=3.5),
            words.mark_text(fontSize=11, fontWeight="bold").encode(color=colour),
        ).properties(width=size, height=size * 0.85)

    return alt.hconcat(plot("x", "y"), plot("y", "z"), spacing=24).resolve_scale(color="shared", shape="shared")
