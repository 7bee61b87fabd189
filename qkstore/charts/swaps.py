"""Charts of swaps: bars of attention before and after, live beside closed form, dose and response."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import polars as pl

from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.live import Live, Outcome
from qkstore.analysis.variations import ALL, RANDOM
from qkstore.charts import palette
from qkstore.charts.palette import WIDTH
from qkstore.charts.points import CLUSTER_COLOURS
from qkstore.text import visible

LIVE_MEASURES = {
    "closed": "Attention, closed form",
    "live": "Attention, live",
    "later": "Attention of later heads",
    "answers": "Answers",
}
LIVE_COLOURS = {"closed": palette.GREY, "live": palette.BLUE, "later": palette.GREEN, "answers": palette.ORANGE}

SWAP_KEYS = {"original": "original key", "target": "target key"}


def swap_bars(conditions: Sequence[dict], dark: bool = False) -> alt.LayerChart:
    """Attention on the original and the target key, before (pale) and after each swap, with 95 % intervals."""
    told = analysis_swaps.beside(conditions)
    rows = pl.DataFrame(
        [
            {
                "condition": str(i),
                "name": c["name"],
                "rank": c["rank"],
                "key": title,
                "when": when,
                "bar": f"{key} {when}",
                "attention": c[f"{key}_{when}"],
                "low": c["ci"][f"{key}_{when}"][0],
                "high": c["ci"][f"{key}_{when}"][1],
            }
            for i, c in enumerate(told)
            for key, title in SWAP_KEYS.items()
            for when in ("before", "after")
        ]
    )
    titles = json.dumps(
        [[f"random × {c['bases']}" if c["bases"] else visible(c["name"]), f"rank {c['rank']}"] for c in told]
    )
    axis = alt.Axis(
        labelExpr=f"{titles}[+datum.value]", labelAngle=0, ticks=False, domain=False, labelPadding=8, labelLimit=190
    )
    order = [f"{key} {when}" for key in SWAP_KEYS for when in ("before", "after")]
    base = alt.Chart(rows).encode(
        x=alt.X(
            "condition:N",
            title=None,
            sort=[str(i) for i in range(len(told))],
            axis=axis,
            scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15),
        ),
        xOffset=alt.XOffset("bar:N", sort=order, scale=alt.Scale(paddingInner=0.08)),
    )
    legend = alt.Legend(orient="top", symbolFillColor=palette.ink(dark), symbolStrokeWidth=0)
    bars = base.mark_bar().encode(
        y=alt.Y(
            "attention:Q",
            title="Attention",
            scale=alt.Scale(domain=[0, min(1, 1.05 * rows["high"].max())]),
            axis=alt.Axis(format=".0%", tickCount=5),
        ),
        color=alt.Color(
            "key:N",
            title=None,
            scale=alt.Scale(domain=[*SWAP_KEYS.values()], range=[palette.ORANGE, palette.BLUE]),
            legend=alt.Legend(orient="top"),
        ),
        opacity=alt.Opacity(
            "when:N",
            title=None,
            sort=["before", "after"],
            scale=alt.Scale(domain=["before", "after"], range=[0.4, 1]),
            legend=legend,
        ),
        tooltip=[
            "name:N",
            "rank:Q",
            "key:N",
            "when:N",
            *(alt.Tooltip(f"{v}:Q", format=".3f") for v in ("attention", "low", "high")),
        ],
    )
    whisker = base.mark_rule(color=palette.ink(dark), strokeWidth=1.2).encode(y="low:Q", y2="high:Q")
    return alt.layer(bars, whisker).properties(width="container", height=350)


def dose_curves(table: pl.DataFrame, dark: bool = False) -> alt.LayerChart:
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


def live_rows(found: Live, head: str) -> pl.DataFrame:
    """A row a condition and measure: the mean share that the target has after the swap, with its 95 % interval."""
    out = []
    for i, c in enumerate(_live_beside(found)):
        parts = {"closed": c.closed[head], "live": c.attention[head], "later": c.downstream, "answers": c.answers}
        for name, part in parts.items():
            if part is not None:
                low, high = part.ci["target_after"]
                told = {
                    "condition": str(i),
                    "name": c.name,
                    "rank": c.ranks[head],
                    "bases": c.bases,
                    "measure": LIVE_MEASURES[name],
                }
                out.append(told | {"before": part.target_before, "target": part.target_after, "low": low, "high": high})
    return pl.DataFrame(out, infer_schema_length=None)


def _live_beside(found: Live) -> list[Outcome]:
    """Each feature's condition, followed by the random one of its rank."""
    features, randoms = [c for c in found.conditions if not c.bases], [c for c in found.conditions if c.bases]
    return [c for pair in zip(features, randoms, strict=True) for c in pair]


def live_bars(found: Live, head: str, dark: bool = False) -> alt.LayerChart:
    """What the target has after each swap: this head's and the later heads' attention, and the answers.

    This head's attention is given in closed form and live.
    """
    table = live_rows(found, head)
    here = [name for name, title in LIVE_MEASURES.items() if title in set(table["measure"])]
    titles = json.dumps(
        [[f"random × {c.bases}" if c.bases else visible(c.name), f"rank {c.ranks[head]}"] for c in _live_beside(found)]
    )
    axis = alt.Axis(
        labelExpr=f"{titles}[+datum.value]", labelAngle=0, ticks=False, domain=False, labelPadding=8, labelLimit=190
    )
    order = [str(i) for i in range(len(found.conditions))]
    base = alt.Chart(table).encode(
        x=alt.X("condition:N", title=None, sort=order, axis=axis, scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15)),
        xOffset=alt.XOffset("measure:N", sort=[LIVE_MEASURES[n] for n in here], scale=alt.Scale(paddingInner=0.08)),
    )
    colours = alt.Scale(domain=[LIVE_MEASURES[n] for n in here], range=[LIVE_COLOURS[n] for n in here])
    bars = base.mark_bar().encode(
        y=alt.Y(
            "target:Q",
            title="Target, after the swap",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format=".0%", tickCount=5),
        ),
        color=alt.Color("measure:N", title=None, scale=colours, legend=alt.Legend(orient="top", labelLimit=220)),
        tooltip=[
            "name:N",
            "measure:N",
            *(alt.Tooltip(f"{v}:Q", format=".3f") for v in ("before", "target", "low", "high")),
        ],
    )
    whisker = base.mark_rule(color=palette.ink(dark), strokeWidth=1.2).encode(y="low:Q", y2="high:Q")
    return alt.layer(bars, whisker).properties(width="container", height=300)


def dose_panels(table: pl.DataFrame) -> alt.FacetChart:
    """The target's attention against the dose, one line for each coordinate, with 95 % bands.

    table: feature, coordinate, dose, target, low, high.
    """
    names = table["coordinate"].unique(maintain_order=True).to_list()
    colours = [palette.GREY if n == "random" else c for n, c in zip(names, CLUSTER_COLOURS * 2)]
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
