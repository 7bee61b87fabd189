"""Charts of single prompts: how the swaps of many spread, each one before and after, and the keys of one."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from qkstore.analysis.moved import Moved
from qkstore.charts import palette
from qkstore.text import percent, visible

KEYS = ("original", "target")
COLOURS = {"original": palette.ORANGE, "target": palette.BLUE, "": palette.GREY}
RANDOM = "random subspaces"
SMALL = ".2~p"  # per cent, where all may be small
SHARES = np.linspace(0, 1, 101)


def gain_curves(of: Moved, condition: str, dark: bool = False) -> alt.LayerChart:
    """How many queries' targets gain at most so much attention, beside the same in random subspaces of that rank."""
    gains = of.of(condition)["delta_p"].to_numpy()
    drawn = {condition: gains, RANDOM: of.at_random[condition].ravel()}
    rows = pl.concat(
        [
            pl.DataFrame({"swapped": visible(name), "gain": np.quantile(values, SHARES), "share": SHARES})
            for name, values in drawn.items()
        ]
    )
    names = [visible(name) for name in drawn]
    axis = alt.Axis(format=".0%", tickCount=5)
    curves = (
        alt.Chart(rows)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("gain:Q", title="Attention that the target gains", axis=alt.Axis(format=SMALL, tickCount=6)),
            y=alt.Y("share:Q", title="Share of the queries", axis=axis, scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "swapped:N",
                title=None,
                sort=names,
                scale=alt.Scale(domain=names, range=[palette.features([condition])[0], palette.GREY]),
                legend=alt.Legend(orient="top", labelLimit=320),
            ),
            strokeDash=alt.StrokeDash("swapped:N", scale=alt.Scale(domain=names, range=[[1, 0], [5, 4]]), legend=None),
            tooltip=["swapped:N", alt.Tooltip("share:Q", format=".0%"), alt.Tooltip("gain:Q", format=".1%")],
        )
    )
    zero = alt.Chart(pl.DataFrame({"at": [0.0]})).mark_rule(color=palette.ink(dark), strokeDash=[2, 3]).encode(x="at:Q")
    said = (
        f"Distribution over {of.n:,} queries: swapping {visible(condition)}, half of the targets gain "
        f"{percent(float(np.median(gains)), 1)} or more, in random subspaces "
        f"{percent(float(np.median(of.at_random[condition])), 1)}."
    )
    return alt.layer(curves, zero).properties(width="container", height=260, description=said)


def before_and_after(rows: pl.DataFrame, chosen: int | None = None) -> alt.LayerChart:
    """The attention on both keys of each query, before (hollow) and after its swap (filled), a line between.

    rows: of Moved.of, a line each. A click picks a query_row, the param "pick".
    """
    place = [f"{row['prompt_id']}: {_cut(row['original'])} → {_cut(row['target'])}" for row in rows.to_dicts()]
    told = pl.concat(
        [
            rows.select(
                "query_row",
                place=pl.Series(place, dtype=pl.String),
                key=pl.lit(key),
                before=f"{key}_before",
                after=f"{key}_after",
            )
            for key in KEYS
        ]
    )
    pick = alt.selection_point(name="pick", fields=["query_row"])
    y = alt.Y("place:N", title=None, sort=place, axis=alt.Axis(labelLimit=260, ticks=False, domain=False, grid=True))
    colour = alt.Color(
        "key:N",
        title=None,
        scale=alt.Scale(domain=list(KEYS), range=[COLOURS[key] for key in KEYS]),
        legend=alt.Legend(orient="top", symbolType="circle"),
    )
    x = alt.X("before:Q", title="Attention", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5))
    shown = alt.condition(alt.datum.query_row == chosen, alt.value(1.0), alt.value(0.55 if chosen is not None else 1.0))
    offset = alt.YOffset("key:N", scale=alt.Scale(paddingInner=0.2))
    base = alt.Chart(told).encode(
        y=y,
        yOffset=offset,
        color=colour,
        opacity=shown,
        tooltip=["place:N", "key:N", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("before", "after"))],
    )
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=x, x2="after:Q"),
        base.mark_point(size=44, filled=False, strokeWidth=1.6).encode(x=x),
        base.mark_point(size=52, filled=True).encode(x=alt.X("after:Q")).add_params(pick),
    ).properties(
        width="container",
        height=alt.Step(13),
        description=f"Attention on the original and the target key of {len(rows)} queries, before and after.",
    )


def key_bars(tokens: Sequence[dict], dark: bool = False) -> alt.Chart:
    """The attention on each key of one query, before (pale) and after its swap; its text stands under it.

    tokens: of analysis.moved.prompt, or some of them in a row.
    """
    place = [f"{t['pos']}\u2002{_cut(visible(t['text']))}" for t in tokens]
    rows = pl.DataFrame(
        [
            {"token": at, "key": t["key"] or "other", "when": when, "attention": t[when]}
            for at, t in zip(place, tokens, strict=True)
            for when in ("before", "after")
        ]
    )
    names = ["original", "target", "other"]
    axis = alt.Axis(
        labelAngle=-90 if len(tokens) > 16 else -50 if len(tokens) > 10 else 0,
        labelLimit=110,
        labelFont="Source Code Pro, monospace",
        ticks=False,
        labelOverlap=False,
    )
    most = max(tokens, key=lambda t: t["after"])
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("token:N", title=None, sort=place, axis=axis),
            xOffset=alt.XOffset("when:N", sort=["before", "after"]),
            y=alt.Y("attention:Q", title="Attention", axis=alt.Axis(format=SMALL, tickCount=5)),
            color=alt.Color(
                "key:N",
                title=None,
                scale=alt.Scale(domain=names, range=[COLOURS.get(name, palette.GREY) for name in names]),
                legend=alt.Legend(orient="top"),
            ),
            opacity=alt.Opacity(
                "when:N",
                title=None,
                sort=["before", "after"],
                scale=alt.Scale(domain=["before", "after"], range=[0.4, 1]),
                legend=alt.Legend(orient="top", symbolFillColor=palette.ink(dark), symbolStrokeWidth=0),
            ),
            tooltip=["token:N", "key:N", "when:N", alt.Tooltip("attention:Q", format=".1%")],
        )
        .properties(
            width="container",
            height=320,
            description=f"Attention on {len(tokens)} keys before and after; most after: {visible(most['text'])}.",
        )
    )


def stretches(weights: Sequence[float], size: int, start: int, dark: bool = False) -> alt.Chart:
    """How much attention falls on each stretch of `size` keys of a long prompt; the one from `start` on is outlined.

    A click picks another, the param "pick".
    """
    parts = {i: weights[i : i + size] for i in range(0, len(weights), size)}
    rows = pl.DataFrame(
        [{"start": i, "keys": f"{i + 1}–{i + len(p)}", "attention": float(sum(p))} for i, p in parts.items()]
    )
    chosen = alt.datum.start == start
    axis = alt.Axis(labelOverlap=True, labelAngle=0, ticks=False)
    ramp = alt.Scale(range=palette.ramp(dark), domainMin=0)
    return (
        alt.Chart(rows)
        .mark_rect()
        .encode(
            x=alt.X("start:O", title=f"Keys of the prompt, {size} to a cell: the more attention, the bluer", axis=axis),
            color=alt.Color("attention:Q", scale=ramp, legend=None),
            stroke=alt.condition(chosen, alt.value(palette.CHOSEN), alt.value(None)),
            strokeWidth=alt.condition(chosen, alt.value(2.5), alt.value(0)),
            tooltip=["keys:N", alt.Tooltip("attention:Q", format=".1%")],
        )
        .add_params(alt.selection_point(name="pick", fields=["start"]))
        .properties(width="container", height=95, description=f"Attention along a prompt of {len(weights):,} keys.")
    )


def _cut(text: str, most: int = 14) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
