"""The charts of toy runs: recovered ranks and accuracy over a grid of true ranks, and G with its two blocks."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from qkstore.charts import palette, paper
from qkstore.interaction import Interaction
from qkstore.toy import Recovered, Toy

FAR = 3  # the distance from the true ranks at which the colour is full
LOW = 0.5  # the accuracy at which it is empty
CELL = 46  # pixels, at least


def cell_table(toys: Sequence[Toy], recovered: Sequence[Recovered]) -> pl.DataFrame:
    """One row for each toy run: true and recovered ranks, how far they are apart, its accuracy and the bound."""
    rows = [
        {
            "run": t.name,
            "r1": t.r1,
            "r2": t.r2,
            "found_r1": of.ranks[0],
            "found_r2": of.ranks[1],
            "distance": of.distance,
            "accuracy": t.accuracy,
            "bound": t.bound,
            "superposed": t.room < 0,
        }
        for t, of in zip(toys, recovered, strict=True)
    ]
    return pl.DataFrame(rows)


def rank_map(rows: pl.DataFrame, chosen: tuple[int, int], dark: bool = False) -> alt.LayerChart:
    """Fig. 2: true r1 across, true r2 down, the recovered ranks as text.

    The darker a cell, the farther the recovered ranks are from the true ones. Cells of more coordinates than the head
    has dimensions have a dashed edge. Clicking selects r1 and r2; the chosen cell is ringed.
    """
    scale = alt.Scale(range=palette.ramp(dark), domain=[0, FAR], clamp=True, interpolate="rgb")
    colour = alt.Color("distance:Q", title="Off by", scale=scale, legend=_legend("d", [*range(FAR + 1)]))
    text = rows.with_columns(text=pl.format("{}, {}", "found_r1", "found_r2"))
    return _map(text, colour, alt.datum.distance > FAR / 2, chosen, dark)


def accuracy_map(rows: pl.DataFrame, chosen: tuple[int, int], dark: bool = False) -> alt.LayerChart:
    """The accuracy of each head over the bound that none can beat, in percent. Otherwise as `rank_map`."""
    scale = alt.Scale(range=palette.ramp(dark), domain=[LOW, 1], clamp=True, interpolate="rgb")
    colour = alt.Color("accuracy:Q", title="Accuracy", scale=scale, legend=_legend(".0%", [LOW, (1 + LOW) / 2, 1]))
    text = rows.with_columns(
        text=(100 * pl.col("accuracy")).round(1).cast(pl.String),
        under=pl.format("of {}", (100 * pl.col("bound")).round(1)),
    )
    return _map(text, colour, alt.datum.accuracy > (1 + LOW) / 2, chosen, dark)


def _map(rows: pl.DataFrame, colour: alt.Color, strong, chosen: tuple[int, int], dark: bool) -> alt.LayerChart:
    pick = alt.selection_point(name="pick", fields=["r1", "r2"], toggle=False, empty=False)
    axis = alt.Axis(labelAngle=0, domain=False, ticks=False, labelPadding=6)
    at = dict(x=alt.X("r1:O", title="r1, true", axis=axis), y=alt.Y("r2:O", title="r2, true", axis=axis))
    told = [
        "run:N",
        "r1:O",
        "r2:O",
        *(alt.Tooltip(f"found_{r}:O", title=f"recovered {r}") for r in ("r1", "r2")),
        *(alt.Tooltip(f"{share}:Q", format=".3f") for share in ("accuracy", "bound")),
    ]
    base = alt.Chart(rows)
    outline = dict(filled=False, cornerRadius=2)
    superposed, ringed = (
        base.transform_filter(f)
        for f in (alt.datum.superposed, (alt.datum.r1 == chosen[0]) & (alt.datum.r2 == chosen[1]))
    )
    parts = [
        base.mark_rect(cornerRadius=2, cursor="pointer").encode(**at, color=colour, tooltip=told).add_params(pick),
        superposed.mark_rect(**outline, stroke=palette.ink(dark), strokeDash=[3, 3], strokeWidth=1, opacity=0.6).encode(
            **at
        ),
        ringed.mark_rect(**outline, stroke=palette.CHOSEN, strokeWidth=3).encode(**at),
    ]
    ink = alt.condition(strong, alt.value(palette.ramp(dark)[0]), alt.value(palette.ink(dark)))
    lines = [name for name in ("text", "under") if name in rows.columns]
    for i, name in enumerate(lines):
        place = dict(dy=14 * i - 7 * (len(lines) - 1), fontSize=12 if name == "text" else 9)
        parts.append(base.mark_text(**place).encode(**at, text=f"{name}:N", color=ink))
    height = CELL * max(2, rows["r2"].n_unique()) + 75  # 75: legend and axis
    return (
        alt.layer(*parts)
        .properties(height=height, width="container")
        .configure_axis(grid=False)
        .configure_scale(bandPaddingInner=0.06)
    )


def _legend(form: str, values: Sequence[float]) -> alt.Legend:
    more = dict(titleFontWeight="normal", gradientLength=140, gradientThickness=9)
    return alt.Legend(orient="top", titleOrient="left", format=form, values=values, titleLimit=220, **more)


def interaction_matrix(interaction: Interaction, dark: bool = False, size: int = 300) -> alt.LayerChart:
    """G (Fig. 5, 13): coordinates of the query's latents down, of the key's across.

    Blue is above zero, orange below; the blocks of z1 and z2 are framed.
    """
    G, r = interaction.G, len(interaction.G)
    limit = float(np.abs(G).max()) or 1.0
    row, column = np.divmod(np.arange(r * r), r)
    names = np.array(interaction.names)
    cells = pl.DataFrame(
        {
            "row": row,
            "column": column,
            "row_end": row + 1,
            "column_end": column + 1,
            "query": names[row],
            "key": names[column],
            "value": G.ravel().astype(float),
        }
    )
    blocks = pl.DataFrame(
        [{"row": a, "column": a, "row_end": b, "column_end": b} for a, b in ((0, interaction.r1), (interaction.r1, r))]
    )
    at = dict(x=_side("column", "key", names), x2="column_end", y=_side("row", "query", names), y2="row_end")
    colour = alt.Color(
        "value:Q",
        scale=alt.Scale(range=palette.signed(dark), domain=[-limit, 0, limit], clamp=True, interpolate="rgb"),
        legend=None,
    )
    drawn = (
        alt.Chart(cells)
        .mark_rect()
        .encode(**at, color=colour, tooltip=["query:N", "key:N", alt.Tooltip("value:Q", format=".3g")])
    )
    frame = alt.Chart(blocks).mark_rect(filled=False, stroke=palette.ink(dark), strokeWidth=1.6).encode(**at)
    square = {paper.ASPECT: 1}
    chart = alt.layer(drawn, frame).properties(width="container", height=size, usermeta=square)
    return chart.configure_axis(grid=False)


def _side(field: str, title: str, names: np.ndarray):
    """An axis from 0 to r whose labels stand in the middle of the cells; that of the queries goes down."""
    channel = alt.X if field == "column" else alt.Y
    middles = [i + 0.5 for i in range(len(names))]
    turn = -90 if field == "column" else 0
    axis = alt.Axis(
        values=middles,
        labelExpr=f"{names.tolist()}[floor(datum.value)]",
        labelAngle=turn,
        domain=False,
        ticks=False,
        labelFontSize=10,
    )
    return channel(
        f"{field}:Q",
        title=title,
        axis=axis,
        scale=alt.Scale(domain=[0, len(names)], nice=False, zero=False, reverse=field == "row"),
    )
