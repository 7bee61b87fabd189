"""The chart of a live result: how far each swap moves this head's attention, later heads' and the model's answers."""

from __future__ import annotations

import json

import altair as alt
import polars as pl

from qkstore import palette
from qkstore.analysis.live import Live, Outcome
from qkstore.text import visible

MEASURES = {
    "closed": "Attention, closed form",
    "live": "Attention, live",
    "later": "Attention of later heads",
    "answers": "Answers",
}
COLOURS = {"closed": palette.GREY, "live": palette.BLUE, "later": palette.GREEN, "answers": palette.ORANGE}


def rows(found: Live, head: str) -> pl.DataFrame:
    """A row a condition and measure: the mean share that the target has after the swap, with its 95 % interval."""
    out = []
    for i, c in enumerate(_beside(found)):
        parts = {"closed": c.closed[head], "live": c.attention[head], "later": c.downstream, "answers": c.answers}
        for name, part in parts.items():
            if part is not None:
                low, high = part.ci["target_after"]
                told = {
                    "condition": str(i),
                    "name": c.name,
                    "rank": c.ranks[head],
                    "bases": c.bases,
                    "measure": MEASURES[name],
                }
                out.append(told | {"before": part.target_before, "target": part.target_after, "low": low, "high": high})
    return pl.DataFrame(out, infer_schema_length=None)


def _beside(found: Live) -> list[Outcome]:
    """Each feature's condition, followed by the random one of its rank."""
    features, randoms = [c for c in found.conditions if not c.bases], [c for c in found.conditions if c.bases]
    return [c for pair in zip(features, randoms, strict=True) for c in pair]


def target(found: Live, head: str, dark: bool = False) -> alt.LayerChart:
    """What the target has after each swap: this head's and the later heads' attention, and the answers.

    This head's attention is given in closed form and live.
    """
    table = rows(found, head)
    here = [name for name, title in MEASURES.items() if title in set(table["measure"])]
    titles = json.dumps(
        [[f"random × {c.bases}" if c.bases else visible(c.name), f"rank {c.ranks[head]}"] for c in _beside(found)]
    )
    axis = alt.Axis(
        labelExpr=f"{titles}[+datum.value]", labelAngle=0, ticks=False, domain=False, labelPadding=8, labelLimit=190
    )
    order = [str(i) for i in range(len(found.conditions))]
    base = alt.Chart(table).encode(
        x=alt.X("condition:N", title=None, sort=order, axis=axis, scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15)),
        xOffset=alt.XOffset("measure:N", sort=[MEASURES[n] for n in here], scale=alt.Scale(paddingInner=0.08)),
    )
    colours = alt.Scale(domain=[MEASURES[n] for n in here], range=[COLOURS[n] for n in here])
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
