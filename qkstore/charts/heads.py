"""The map of all heads, and their scores with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from qkstore.analysis.heads import MEASURES
from qkstore.charts import palette
from qkstore.charts.palette import WIDTH
from qkstore.text import visible

FORMATS = {"accuracy": ".0%", "selectivity": ",.1f", "strength": ",.1f", "rank": "d"}
FEW_CELLS = 80  # up to this many heads, each cell has room for its value


def head_map(scores: pl.DataFrame, by: str, chosen: tuple[int, int], dark: bool = False) -> alt.LayerChart:
    """A cell for each head, layer by head, coloured by a column of MEASURES; the chosen head is ringed.

    Clicking selects layer and head.
    """
    layers, n = scores["layer"].unique().sort(descending=True).to_list(), scores["head"].n_unique()
    top = 1.0 if by == "accuracy" else float(scores[by].max() or 1)
    colour = alt.Color(
        f"{by}:Q",
        title=MEASURES[by][0],
        scale=alt.Scale(range=palette.ramp(dark), domain=[0, top], clamp=True, interpolate="rgb"),
        legend=alt.Legend(
            orient="top",
            titleOrient="left",
            titleFontWeight="normal",
            format=FORMATS[by],
            gradientLength=180,
            gradientThickness=9,
            tickCount=4,
        ),
    )
    pick = alt.selection_point(name="pick", fields=["layer", "head"], toggle=False, empty=False)
    at = dict(
        x=alt.X("head:O", title="Head", axis=sparse_axis(sorted(set(scores["head"])))),
        y=alt.Y("layer:O", title="Layer", sort=layers, axis=sparse_axis(layers[::-1])),
    )
    tooltip = [
        "layer:O",
        "head:O",
        *(alt.Tooltip(f"{m}:Q", title=t, format=FORMATS[m]) for m, (t, _) in MEASURES.items()),
    ]
    base = alt.Chart(scores)
    cells = (
        base.mark_rect(cornerRadius=2, cursor="pointer").encode(**at, color=colour, tooltip=tooltip).add_params(pick)
    )
    ring = base.transform_filter((alt.datum.layer == chosen[0]) & (alt.datum.head == chosen[1]))
    parts = [cells, ring.mark_rect(filled=False, stroke=palette.CHOSEN, strokeWidth=3, cornerRadius=2).encode(**at)]
    if len(scores) <= FEW_CELLS:
        strong = alt.datum[by] > top / 2
        text = alt.condition(strong, alt.value(palette.ramp(dark)[0]), alt.value(palette.ink(dark)))
        parts.append(base.mark_text(fontSize=13).encode(**at, text=alt.Text(f"{by}:Q", format=FORMATS[by]), color=text))
    height = min(len(layers) * (72 if n <= 16 else 34), 480) + 110  # 110: legend and axis
    return (
        alt.layer(*parts)
        .properties(height=height, width="container")
        .configure_axis(grid=False)
        .configure_scale(bandPaddingInner=0.06)
    )


def sparse_axis(values: Sequence[int]) -> alt.Axis:
    """Every label where there are few, every fourth or so where there are many."""
    return alt.Axis(values=values[:: max(1, len(values) // 8)], labelAngle=0, domain=False, ticks=False, labelPadding=6)


def head_intervals(
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
            scale=alt.Scale(domain=groups, range=palette.clusters(len(groups))),
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
