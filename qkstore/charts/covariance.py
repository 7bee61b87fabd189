"""Charts of ΔC: its singular values, its matrices, its null, and how its rank grows."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from qkstore.charts import palette, paper
from qkstore.charts.curves import band, by_feature
from qkstore.charts.heads import sparse_axis

alt.data_transformers.disable_max_rows()

MOST_CELLS = 64  # a side of a drawn matrix


def singular_values(S: np.ndarray, rank: int, dark: bool = False, height: int = 190) -> alt.LayerChart:
    """The singular values of ΔC; those that hold 99 % of ‖ΔC‖² in blue, the others grey; not all of the small ones."""
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4))
    bars = _descending(S, np.arange(len(S)) < rank, "Singular value", y, ".4g", dark)
    return alt.layer(bars).properties(height=height, width="container")


def canonical_correlations(values: np.ndarray, chance: float, dark: bool = False, height: int = 150) -> alt.LayerChart:
    """Canonical correlations in descending order.

    Those above the largest that chance gives (a line) are blue, the others grey.
    """
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=[0, 0.5, 1]))
    bars = _descending(values, values > chance, "Canonical correlation", y, ".3f", dark)
    rule = (
        alt.Chart(pl.DataFrame({"chance": [chance]}))
        .mark_rule(color=palette.CHOSEN, strokeWidth=1.5)
        .encode(y="chance:Q", tooltip=[alt.Tooltip("chance:Q", title="largest by chance", format=".3f")])
    )
    return alt.layer(bars, rule).properties(height=height, width="container")


def _descending(values: np.ndarray, kept: np.ndarray, title: str, y: alt.Y, form: str, dark: bool) -> alt.Chart:
    """A bar a value, blue where it is kept (n,) bool; of many only the first, about twice as many as are kept."""
    rows = pl.DataFrame({"index": np.arange(1, len(values) + 1), "value": values, "kept": kept})
    rows = rows.head(max(16, 2 * int(kept.sum()) + 8))
    blue = alt.value(palette.SKY if dark else palette.BLUE)
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("index:O", title=title, axis=sparse_axis(rows["index"].to_list())),
            y=y,
            color=alt.condition("datum.kept", blue, alt.value(palette.quiet(dark))),
            tooltip=[alt.Tooltip("index:O", title="number"), alt.Tooltip("value:Q", format=form)],
        )
    )


def matrix(C: np.ndarray, title: str, dark: bool = False, size: int = 210) -> alt.Chart:
    """A (d, d) matrix: query dimensions down, key dimensions across; blue above zero, orange below, white at zero."""
    C = shrunk(C)
    limit = float(np.abs(C).max()) or 1.0
    d = len(C)
    rows = pl.DataFrame(
        {"query": np.repeat(np.arange(d), d), "key": np.tile(np.arange(d), d), "value": C.ravel().astype(float)}
    )
    hidden = alt.Axis(labels=False, ticks=False, domain=False)
    return (
        alt.Chart(rows, title=alt.TitleParams(title, fontSize=13, anchor="middle"))
        .mark_rect()
        .encode(
            x=alt.X("key:O", title="key dimension", axis=hidden, scale=alt.Scale(padding=0)),
            y=alt.Y("query:O", title="query dimension", axis=hidden, scale=alt.Scale(padding=0)),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(range=palette.signed(dark), domain=[-limit, 0, limit], clamp=True, interpolate="rgb"),
                legend=None,
            ),
            tooltip=["query:O", "key:O", alt.Tooltip("value:Q", format=".3g")],
        )
        .properties(width="container", height=size, usermeta={paper.ASPECT: 1})
    )


def shrunk(C: np.ndarray, most: int = MOST_CELLS) -> np.ndarray:
    """C reduced to at most (most, most) cells.

    Of each block of cells the one farthest from zero is kept, so that no line of a matrix is averaged away.
    """
    step = -(-len(C) // most)
    if step == 1:
        return C
    d = -(-len(C) // step)
    blocks = np.zeros((d * step, d * step))
    blocks[: len(C), : len(C)] = C
    blocks = blocks.reshape(d, step, d, step).swapaxes(1, 2).reshape(d, d, -1)
    return np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)[..., 0]


def null_strip(norm: float, norms: np.ndarray, dark: bool = False) -> alt.LayerChart:
    """‖ΔC‖ (a line) against what it is when signs are dealt at random (bars)."""
    counts, edges = np.histogram(norms, bins=10)
    rows = pl.DataFrame({"low": edges[:-1], "high": edges[1:], "deals": counts, "none": 0})
    seen = pl.DataFrame({"norm": [norm], "label": ["observed"]})
    x = alt.X("low:Q", title="‖ΔC‖", scale=alt.Scale(domain=[0, 1.08 * max(norm, edges[-1])], nice=False))
    deals = alt.Y("deals:Q", title="random deals", axis=alt.Axis(tickCount=3, format="d"))
    bars = alt.Chart(rows).mark_rect(color=palette.quiet(dark)).encode(x=x, x2="high:Q", y=deals, y2="none:Q")
    rule = (
        alt.Chart(seen)
        .mark_rule(color=palette.CHOSEN, strokeWidth=2.5)
        .encode(x="norm:Q", tooltip=[alt.Tooltip("norm:Q", format=".4g")])
    )
    label = (
        alt.Chart(seen)
        .mark_text(align="right", dx=-6, color=palette.CHOSEN, fontWeight="bold")
        .encode(x="norm:Q", y=alt.value(8), text="label:N")
    )
    return alt.layer(bars, rule, label).properties(height=190, width="container")


def angles(rows: pl.DataFrame, dark: bool = False) -> alt.Chart:
    """Principal angles between two subspaces, in degrees: 0 is shared, 90 has nothing in common. ▲ query, ● key.

    rows: side, index, angle.
    """
    sides, legend = list(palette.SHAPES), alt.Legend(orient="top")
    colours = alt.Scale(domain=sides, range=[palette.RED, palette.BLUE])
    shapes = alt.Scale(domain=sides, range=list(palette.SHAPES.values()))
    return (
        alt.Chart(rows)
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            x=alt.X("index:O", title="Principal angle", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("angle:Q", title="degrees", scale=alt.Scale(domain=[0, 90]), axis=alt.Axis(values=[0, 30, 60, 90])),
            color=alt.Color("side:N", title=None, scale=colours, legend=legend),
            shape=alt.Shape("side:N", title=None, scale=shapes, legend=legend),
            tooltip=["side:N", "index:O", alt.Tooltip("angle:Q", format=".1f")],
        )
        .properties(height=230, width="container")
    )


def rank_growth(table: pl.DataFrame, label: str, dark: bool = False) -> alt.LayerChart:
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


def rank_growths(table: pl.DataFrame, title: str) -> alt.FacetChart:
    """Rank against the number of values, for paper: a panel a feature, a line a head.

    The line is the mean over draws, the band their range. table: feature, head, values, rank, low, high.
    """
    heads = table["head"].unique(maintain_order=True).to_list()
    colour = alt.Color(
        "head:N",
        title=None,
        sort=heads,
        scale=alt.Scale(domain=heads, range=palette.clusters(len(heads))),
        legend=alt.Legend(orient="top", columns=8, symbolOpacity=1),
    )
    x = alt.X("values:Q", title=title, axis=alt.Axis(tickCount=6, format="d"))
    base, rank = alt.Chart(table).encode(x=x, color=colour), "rank, 99 %"
    lines = base.mark_line(point=alt.OverlayMarkDef(size=34), strokeWidth=1.8).encode(
        y=alt.Y("rank:Q", title=rank, axis=alt.Axis(tickMinStep=1))
    )
    features = table["feature"].unique(maintain_order=True).to_list()
    return by_feature(alt.layer(band(base, rank), lines), features, free_x=True)
