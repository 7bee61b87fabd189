"""Charts of attribution: the parts of one prompt's logits, and of the gap over many prompts."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from qkstore.analysis.attribution import distributed
from qkstore.attribution import Distribution
from qkstore.charts import palette
from qkstore.charts.palette import WIDTH
from qkstore.text import visible

PAPER = WIDTH - 160  # of the boxes, without the names beside them
ACROSS = 70  # letters of all labels of bars in one line, where the page is narrow


def attribution_bars(
    tokens: Sequence[dict], features: Sequence[str], dark: bool = False, across: int = ACROSS
) -> alt.LayerChart:
    """A stacked, signed bar for each key token: what each feature and the rest add to its logit.

    A tick marks their sum, the logit. across: letters of all labels that its place has room for in one line; more are
    slanted.
    """
    names = [*features, "rest"]
    place = [f"{t['pos']}\u2002{_short(visible(t.get('word') or t['text']))}" for t in tokens]
    rows = pl.DataFrame(
        [
            {"token": place[i], "part": name, "value": t["parts"][name], "order": names.index(name)}
            for i, t in enumerate(tokens)
            for name in names
        ]
    )
    sums = pl.DataFrame(
        {"token": place, "logit": [t["logit"] for t in tokens], "attention": [t["attention"] for t in tokens]}
    )
    axis = alt.Axis(
        labelAngle=-90 if len(tokens) > 16 else -50 if len(place) * max(map(len, place), default=0) > across else 0,
        labelLimit=110,
        labelFont="Source Code Pro, monospace",
        ticks=False,
        labelOverlap=False,
    )
    x = alt.X(
        "token:N", title=None, sort=place, axis=axis, scale=alt.Scale(paddingInner=0.2 if len(tokens) > 10 else 0.5)
    )
    bars = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=x,
            y=alt.Y("value:Q", title="Attention logit", stack="zero"),
            order="order:Q",
            color=alt.Color(
                "part:N",
                title=None,
                sort=names,
                scale=alt.Scale(domain=names, range=palette.features(names)),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["token:N", alt.Tooltip("part:N", title="feature"), alt.Tooltip("value:Q", format=".4f")],
        )
    )
    tick = (
        alt.Chart(sums)
        .mark_tick(color=palette.ink(dark), thickness=2, size=18)
        .encode(
            x=x,
            y="logit:Q",
            tooltip=["token:N", alt.Tooltip("logit:Q", format=".4f"), alt.Tooltip("attention:Q", format=".3f")],
        )
    )
    return alt.layer(bars, tick).properties(height=320, width="container")


def _short(text: str, most: int = 12) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def logit_distribution(distribution: Distribution, dark: bool = False, width: int | str = PAPER) -> alt.LayerChart:
    """Box plots of the gap and of every part of it.

    The box goes from quartile to quartile, whiskers from 5 to 95 %; a stroke is the median, a dot the mean.
    """
    rows = distributed(distribution).with_columns(
        part=pl.Series([visible(n) for n in ["whole gap", *distribution.parts]])
    )
    names = rows["part"].to_list()
    colours = alt.Scale(domain=names, range=[palette.GREY, *palette.features(list(distribution.parts))])
    base = alt.Chart(rows).encode(
        y=alt.Y("part:N", title=None, sort=names, axis=alt.Axis(domain=False, ticks=False, labelLimit=220)),
        color=alt.Color("part:N", scale=colours, legend=None),
    )
    title = "logit of the positive key less the mean of the others"
    said = f"Over {len(distribution.gap):,} queries, mean " + ", ".join(
        f"{row['part']} {row['mean']:.2f}" for row in rows.to_dicts()
    )
    return alt.layer(
        base.mark_rule(strokeWidth=1.6).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_bar(size=20, opacity=0.45).encode(x=alt.X("q1:Q", title=title), x2="q3:Q"),
        base.mark_tick(thickness=2, size=20).encode(x="median:Q"),
        base.mark_point(filled=True, size=42, opacity=1, fill=palette.ink(dark)).encode(x="mean:Q"),
        alt.Chart(pl.DataFrame({"at": [0.0]})).mark_rule(color=palette.GREY, strokeDash=[4, 3]).encode(x="at:Q"),
    ).properties(width=width, height=alt.Step(36), description=said)
