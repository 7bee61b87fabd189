"""Charts of swaps: bars of attention before and after, live beside closed form, dose and response."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from operator import attrgetter

import altair as alt
import polars as pl

from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.live import Live
from qkstore.analysis.variations import ALL, RANDOM
from qkstore.charts import palette
from qkstore.charts.curves import band, by_feature
from qkstore.text import visible

LIVE_MEASURES = {
    "closed": "Attention, closed form",
    "live": "Attention, live",
    "later": "Attention of later heads",
    "answers": "Answers",
}
LIVE_COLOURS = {"closed": palette.GREY, "live": palette.BLUE, "later": palette.GREEN, "answers": palette.ORANGE}
ACROSS = 80  # letters of all labels in one line, where the page is narrow
SWAP_KEYS = {"original": "original key", "target": "target key"}


def swap_bars(conditions: Sequence[dict], dark: bool = False) -> alt.LayerChart:
    """Attention on the original and the target key, before (pale) and after each swap, with 95 % intervals.

    conditions: of Intervention.to_dict(); each feature stands beside the random subspaces of its rank.
    """
    told = analysis_swaps.beside(conditions)
    rows = _swap_rows(told)
    order = [f"{key} {when}" for key in SWAP_KEYS for when in ("before", "after")]
    y = alt.Y(
        "attention:Q",
        title="Attention",
        scale=alt.Scale(domain=[0, min(1, 1.05 * rows["high"].max())]),
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    colour = alt.Color(
        "key:N",
        title=None,
        scale=alt.Scale(domain=[*SWAP_KEYS.values()], range=[palette.ORANGE, palette.BLUE]),
        legend=alt.Legend(orient="top"),
    )
    tooltip = ["name:N", "rank:Q", "key:N", "when:N", *_figures("attention", "low", "high")]
    titles = [(c["name"], c["bases"], c["rank"]) for c in told]
    bars = (
        _beside(rows, titles, "bar", order)
        .mark_bar()
        .encode(y=y, color=colour, opacity=_pale_before(dark), tooltip=tooltip)
    )
    return _whiskered(bars, 350, dark)


def _swap_rows(told: Sequence[dict]) -> pl.DataFrame:
    """A row a bar: condition, key and time, with the mean attention and its interval."""
    rows = [
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
    return pl.DataFrame(rows)


def gap_bars(conditions: Sequence[dict], dark: bool = False) -> alt.LayerChart:
    """The logit gap between target and original, before (pale) and after each swap, with 95 % intervals.

    conditions: as of `swap_bars`. A random subspace may raise both attentions; of the gap it turns round its share.
    """
    told = analysis_swaps.beside(conditions)
    rows = pl.DataFrame(
        [
            {
                "condition": str(i),
                "name": c["name"],
                "rank": c["rank"],
                "when": when,
                "gap": c[f"gap_{when}"],
                "low": c["ci"][f"gap_{when}"][0],
                "high": c["ci"][f"gap_{when}"][1],
            }
            for i, c in enumerate(told)
            for when in ("before", "after")
        ]
    )
    y = alt.Y("gap:Q", title="Logit of the target less the original's", axis=alt.Axis(tickCount=6))
    tooltip = ["name:N", "rank:Q", "when:N", *_figures("gap", "low", "high")]
    titles = [(c["name"], c["bases"], c["rank"]) for c in told]
    bars = _beside(rows, titles, "when", ["before", "after"]).mark_bar(color=palette.BLUE)
    return _whiskered(bars.encode(y=y, opacity=_pale_before(dark), tooltip=tooltip), 350, dark)


def _pale_before(dark: bool) -> alt.Opacity:
    """Bars of before a swap are pale."""
    return alt.Opacity(
        "when:N",
        title=None,
        sort=["before", "after"],
        scale=alt.Scale(domain=["before", "after"], range=[0.4, 1]),
        legend=alt.Legend(orient="top", symbolFillColor=palette.ink(dark), symbolStrokeWidth=0),
    )


def live_bars(live: Live, head: str, dark: bool = False) -> alt.LayerChart:
    """What the target has after each swap: this head's and the later heads' attention, and the answers.

    head: '1:0' for layer 1, head 0; its attention is given in closed form and live.
    """
    rows, told = live_rows(live, head), analysis_swaps.beside(live.conditions, attrgetter("bases"))
    here = [name for name, title in LIVE_MEASURES.items() if title in set(rows["measure"])]
    measures = [LIVE_MEASURES[name] for name in here]
    y = alt.Y(
        "target:Q",
        title="Target, after the swap",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    colours = alt.Scale(domain=measures, range=[LIVE_COLOURS[name] for name in here])
    colour = alt.Color("measure:N", title=None, scale=colours, legend=alt.Legend(orient="top", labelLimit=220))
    tooltip = ["name:N", "measure:N", *_figures("before", "target", "low", "high")]
    titles = [(c.name, c.bases, c.ranks[head]) for c in told]
    bars = _beside(rows, titles, "measure", measures).mark_bar().encode(y=y, color=colour, tooltip=tooltip)
    return _whiskered(bars, 300, dark)


def live_rows(live: Live, head: str) -> pl.DataFrame:
    """A row a condition and measure: the mean share that the target has after the swap, with its 95 % interval."""
    rows = []
    for i, c in enumerate(analysis_swaps.beside(live.conditions, attrgetter("bases"))):
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
                rows.append(
                    told | {"before": part.target_before, "target": part.target_after, "low": low, "high": high}
                )
    return pl.DataFrame(rows, infer_schema_length=None)


def _beside(
    rows: pl.DataFrame, titles: Sequence[tuple[str, int | None, int]], within: str, order: Sequence[str]
) -> alt.Chart:
    """Rows at their condition along x, side by side there by the column `within`.

    titles: (name, number of random bases or None, rank) of each condition, numbered as in the column `condition`.
    """
    broad = max(9, ACROSS // len(titles))
    names = [f"random × {bases}" if bases else visible(name).replace(",", ", ") for name, bases, _ in titles]
    told = [[*textwrap.wrap(name, broad), f"rank {rank}"] for name, (_, _, rank) in zip(names, titles, strict=True)]
    axis = alt.Axis(
        labelExpr=f"{json.dumps(told)}[+datum.value]",
        labelAngle=0,
        ticks=False,
        domain=False,
        labelPadding=8,
        labelLimit=190,
        labelOverlap=False,
    )
    places = [str(i) for i in range(len(titles))]
    scale = alt.Scale(paddingInner=0.3, paddingOuter=0.15)
    return alt.Chart(rows).encode(
        x=alt.X("condition:N", title=None, sort=places, axis=axis, scale=scale),
        xOffset=alt.XOffset(f"{within}:N", sort=list(order), scale=alt.Scale(paddingInner=0.08)),
    )


def _whiskered(bars: alt.Chart, height: int, dark: bool) -> alt.LayerChart:
    """Bars with their intervals, as wide as their place."""
    whisker = alt.Chart(bars.data).mark_rule(color=palette.ink(dark), strokeWidth=1.2)
    whisker = whisker.encode(x=bars.encoding.x, xOffset=bars.encoding.xOffset, y="low:Q", y2="high:Q")
    return alt.layer(bars, whisker).properties(width="container", height=height)


def _figures(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", format=".3f") for name in names]


def dose_curves(table: pl.DataFrame, dark: bool = False) -> alt.LayerChart:
    """Attention on the target against the dose: all coordinates, each of the first alone, and random subspaces.

    table: of variations.response. All coordinates and random ones have 95 % bands.
    """
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
    title = "Attention on the target"
    lines = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        y=_share(title),
        tooltip=["curve:N", alt.Tooltip("dose:Q", format=".3g"), *_figures("original", "target", "low", "high")],
        strokeWidth=alt.condition(alt.datum.coordinate == ALL, alt.value(3), alt.value(1.5)),
        strokeDash=alt.condition(alt.datum.coordinate == RANDOM, alt.value([5, 4]), alt.value([0])),
    )
    bands = band(base, title).transform_filter(alt.FieldOneOfPredicate("coordinate", [ALL, RANDOM]))
    return alt.layer(bands, lines).properties(width="container", height=340)


def dose_panels(table: pl.DataFrame) -> alt.FacetChart:
    """The target's attention against the dose, for paper: a panel a feature, a line a coordinate, with 95 % bands.

    table: feature, coordinate, dose, target, low, high.
    """
    names = table["coordinate"].unique(maintain_order=True).to_list()
    colours = [palette.GREY if name == RANDOM else c for name, c in zip(names, palette.clusters(len(names)))]
    legend = alt.Legend(orient="top", symbolOpacity=1)
    base = alt.Chart(table).encode(
        x=alt.X("dose:Q", title="dose (1 is the whole swap)", axis=alt.Axis(values=[0, 0.5, 1, 1.5])),
        color=alt.Color(
            "coordinate:N",
            title="coordinates swapped",
            sort=names,
            scale=alt.Scale(domain=names, range=colours),
            legend=legend,
        ),
    )
    title = "target's attention"
    lines = base.mark_line(strokeWidth=1.8).encode(y=_share(title))
    return by_feature(alt.layer(band(base, title), lines), table["feature"].unique(maintain_order=True).to_list())


def _share(title: str) -> alt.Y:
    """The target's attention, in percent from 0."""
    return alt.Y("target:Q", title=title, axis=alt.Axis(format=".0%", tickCount=5), scale=alt.Scale(zero=True))
