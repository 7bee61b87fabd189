"""Charts of the report alone: estimates with whiskers, ranks that grow, doses, distributions, clusters with names."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from qkstore import palette
from qkstore.attribution import Distribution
from qkstore.text import column, visible

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLOURS = (
    *palette.CATEGORIES,
    "#7B5EA7",
    "#8C6D31",
    "#4D7A8C",
    "#B5485D",
    "#5F8F3E",
    "#A0522D",
    "#33475B",
    "#B8860B",
    "#6B6BD6",
    "#2F6F62",
)
WIDTH = 640


def estimates(
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
            scale=alt.Scale(domain=groups, range=list(COLOURS[: len(groups)])),
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


def growth(table: pl.DataFrame, title: str) -> alt.FacetChart:
    """Rank against the number of values: the mean over draws, and their range as a band.

    table: feature, head, values, rank, low, high.
    """
    heads = table["head"].unique(maintain_order=True).to_list()
    colour = alt.Color(
        "head:N",
        title=None,
        sort=heads,
        scale=alt.Scale(domain=heads, range=list(COLOURS[: len(heads)])),
        legend=alt.Legend(orient="top", columns=8, symbolOpacity=1),
    )
    base = alt.Chart(table).encode(
        x=alt.X("values:Q", title=title, axis=alt.Axis(tickCount=6, format="d")), color=colour
    )
    band = base.mark_area(opacity=0.15, line=False).encode(y=alt.Y("low:Q", title="rank, 99 %"), y2="high:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=34), strokeWidth=1.8).encode(
        y=alt.Y("rank:Q", title="rank, 99 %", axis=alt.Axis(tickMinStep=1))
    )
    return _faceted(alt.layer(band, line), table["feature"].unique(maintain_order=True).to_list(), free_x=True)


def doses(table: pl.DataFrame) -> alt.FacetChart:
    """The target's attention against the dose, one line for each coordinate, with 95 % bands.

    table: feature, coordinate, dose, target, low, high.
    """
    names = table["coordinate"].unique(maintain_order=True).to_list()
    colours = [palette.GREY if n == "random" else c for n, c in zip(names, COLOURS * 2)]
    colour = alt.Color(
        "coordinate:N",
        title="coordinates swapped",
        sort=names,
        scale=alt.Scale(domain=names, range=colours),
        legend=alt.Legend(orient="top", symbolOpacity=1),
    )
    base = alt.Chart(table).encode(
        x=alt.X("dose:Q", title="dose (1 is the whole swap)", axis=alt.Axis(values=[0, 0.5, 1, 1.5])), color=colour
    )
    band = base.mark_area(opacity=0.15, line=False).encode(y=alt.Y("low:Q", title="target's attention"), y2="high:Q")
    line = base.mark_line(strokeWidth=1.8).encode(
        y=alt.Y("target:Q", title="target's attention", axis=alt.Axis(format=".0%", tickCount=5))
    )
    return _faceted(alt.layer(band, line), table["feature"].unique(maintain_order=True).to_list())


def _faceted(chart: alt.LayerChart, features: Sequence[str], free_x: bool = False) -> alt.FacetChart:
    width = (WIDTH - 60 * len(features)) // max(2, len(features))
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold")
    faceted = chart.properties(width=width, height=200).facet(
        column=alt.Column("feature:N", sort=list(features), header=header)
    )
    return faceted.resolve_scale(x="independent") if free_x else faceted


def distribution(found: Distribution) -> alt.LayerChart:
    """Box plots of the gap and of every part of it.

    The box goes from quartile to quartile, whiskers from 5 to 95 %; a stroke is the median, a dot the mean.
    """
    values = {"whole gap": found.gap} | found.parts
    rows = pl.DataFrame(
        [
            {"part": visible(name), "mean": float(v.mean())}
            | dict(zip(("low", "q1", "median", "q3", "high"), map(float, np.quantile(v, QUANTILES))))
            for name, v in values.items()
        ]
    )
    names = rows["part"].to_list()
    colours = alt.Scale(domain=names, range=[palette.GREY, *palette.features(list(found.parts))])
    base = alt.Chart(rows).encode(
        y=alt.Y("part:N", title=None, sort=names, axis=alt.Axis(domain=False, ticks=False, labelLimit=220)),
        color=alt.Color("part:N", scale=colours, legend=None),
    )
    title = "logit of the positive key less the mean of the others"
    return alt.layer(
        base.mark_rule(strokeWidth=1.6).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_bar(size=20, opacity=0.45).encode(x=alt.X("q1:Q", title=title), x2="q3:Q"),
        base.mark_tick(thickness=2, size=20).encode(x="median:Q"),
        base.mark_point(filled=True, size=42, opacity=1, fill=palette.ink()).encode(x="mean:Q"),
        alt.Chart(pl.DataFrame({"at": [0.0]})).mark_rule(color=palette.GREY, strokeDash=[4, 3]).encode(x="at:Q"),
    ).properties(width=WIDTH - 160, height=alt.Step(36))


def clusters(points: pl.DataFrame, names: tuple[str, str, str], size: int = 330) -> alt.HConcatChart:
    """Coordinates x–y and y–z of points (side, x, y, z, group), a colour a group, which is named where its keys lie."""
    shown = points.with_columns(group=column(points["group"])).drop("text")
    groups = sorted(shown["group"].unique())
    centres = shown.filter(pl.col("side") == "key").group_by("group").agg(pl.col(c).mean() for c in "xyz")
    colour = alt.Color(
        "group:N",
        scale=alt.Scale(domain=groups, range=[COLOURS[i % len(COLOURS)] for i in range(len(groups))]),
        legend=None,
    )
    sides = shown["side"].unique().sort(descending=True).to_list()
    shape = alt.Shape(
        "side:N",
        title=None,
        scale=alt.Scale(domain=["query", "key"], range=["triangle-up", "circle"]),
        legend=alt.Legend(orient="bottom") if len(sides) > 1 else None,
    )
    title = dict(zip("xyz", names))

    def plot(a: str, b: str) -> alt.LayerChart:
        x, y = (
            alt.X(f"{a}:Q", title=title[a], scale=alt.Scale(zero=False)),
            alt.Y(f"{b}:Q", title=title[b], scale=alt.Scale(zero=False)),
        )
        dots = (
            alt.Chart(shown)
            .mark_point(filled=True, strokeWidth=0.5)
            .encode(
                x=x,
                y=y,
                color=colour,
                shape=shape,
                opacity=alt.value(0.55),
                size=alt.condition("datum.side == 'query'", alt.value(46), alt.value(18)),
                stroke=alt.condition("datum.side == 'query'", alt.value(palette.ink()), alt.value("transparent")),
            )
        )
        words = alt.Chart(centres).encode(x=x, y=y, text="group:N")
        return alt.layer(
            dots,
            words.mark_text(fontSize=11, fontWeight="bold", stroke="white", strokeWidth=3.5),
            words.mark_text(fontSize=11, fontWeight="bold").encode(color=colour),
        ).properties(width=size, height=size * 0.85)

    return alt.hconcat(plot("x", "y"), plot("y", "z"), spacing=24).resolve_scale(color="shared", shape="shared")
