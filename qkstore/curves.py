"""Curves: attention against the dose of a swap, and rank against the number of values that went in."""

from __future__ import annotations

import altair as alt
import polars as pl

from qkstore import palette
from qkstore.analysis.variations import ALL, RANDOM


def dose(table: pl.DataFrame, dark: bool = False) -> alt.LayerChart:
    """Attention on the target against the dose: all coordinates, each of the first alone, and random subspaces."""
    singles = [c for c in table["coordinate"].unique(maintain_order=True) if c not in (ALL, RANDOM)]
    names = {ALL: "all coordinates", RANDOM: "random, same rank"} | {c: f"coordinate {c}" for c in singles}
    shown = table.with_columns(curve=pl.col("coordinate").replace_strict(names))
    order, fade = [names[c] for c in (ALL, *singles, RANDOM)], palette.ramp(dark)
    blues = [fade[1 + (2 * i >= len(singles))] for i in range(len(singles))][::-1]
    colours = alt.Scale(domain=order, range=[palette.RED, *blues, palette.quiet(dark)])
    legend = alt.Legend(orient="top", symbolOpacity=1, symbolStrokeWidth=3, columns=5)
    base = alt.Chart(shown).encode(
        x=alt.X("dose:Q", title="Dose (1: the coordinates are exchanged)", scale=alt.Scale(nice=False)),
        color=alt.Color("curve:N", title=None, scale=colours, sort=order, legend=legend),
    )
    y = alt.Y(
        "target:Q",
        title="Attention on the target",
        axis=alt.Axis(format=".0%", tickCount=5),
        scale=alt.Scale(zero=True),
    )
    tooltip = [
        "curve:N",
        alt.Tooltip("dose:Q", format=".3g"),
        *(alt.Tooltip(f"{v}:Q", format=".3f") for v in ("original", "target", "low", "high")),
    ]
    lines = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        y=y,
        tooltip=tooltip,
        strokeWidth=alt.condition(alt.datum.coordinate == ALL, alt.value(3), alt.value(1.5)),
        strokeDash=alt.condition(alt.datum.coordinate == RANDOM, alt.value([5, 4]), alt.value([0])),
    )
    bands = (
        base.mark_area(opacity=0.15)
        .encode(y=alt.Y("low:Q", title=""), y2="high:Q")
        .transform_filter(alt.FieldOneOfPredicate("coordinate", [ALL, RANDOM]))
    )
    return alt.layer(bands, lines).properties(width="container", height=340)


def growth(table: pl.DataFrame, label: str, dark: bool = False) -> alt.LayerChart:
    """The 99 % rank against the number of values of a label: the mean of the draws, and a dot each."""
    scale = alt.Scale(type="log", base=2, nice=False, padding=12)
    x = alt.X(
        "values:Q",
        title=f"Values of {label} that go in",
        scale=scale,
        axis=alt.Axis(values=sorted(set(table["values"])), format="d"),
    )
    y = alt.Y("rank:Q", title="99 % rank", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(zero=True))
    base = alt.Chart(table)
    colour = palette.SKY if dark else palette.BLUE
    mean = base.mark_line(color=colour, strokeWidth=2).encode(x=x, y=alt.Y("mean(rank):Q"))
    dots = base.mark_circle(color=colour, size=40, opacity=0.6).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("values:Q", title=f"values of {label}"),
            "draw:Q",
            "rank:Q",
            alt.Tooltip("queries:Q", format=","),
        ],
    )
    return alt.layer(dots, mean).properties(width="container", height=190)
