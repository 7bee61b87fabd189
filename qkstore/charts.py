"""The charts of the pages. Each takes data and returns an Altair chart; `dark` says which theme it is drawn on."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from qkstore import palette
from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.heads import MEASURES
from qkstore.text import visible

alt.data_transformers.disable_max_rows()
FORMATS = {"accuracy": ".0%", "selectivity": ",.1f", "strength": ",.1f", "rank": "d"}
FEW_CELLS = 80  # up to this many heads, each cell has room for its value
MOST_CELLS = 64  # a side of a drawn matrix


def heads(scores: pl.DataFrame, by: str, chosen: tuple[int, int], dark: bool = False) -> alt.LayerChart:
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
        x=alt.X("head:O", title="Head", axis=_sparse(sorted(set(scores["head"])))),
        y=alt.Y("layer:O", title="Layer", sort=layers, axis=_sparse(layers[::-1])),
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


def _sparse(values: Sequence[int]) -> alt.Axis:
    """Every label where there are few, every fourth or so where there are many."""
    return alt.Axis(values=values[:: max(1, len(values) // 8)], labelAngle=0, domain=False, ticks=False, labelPadding=6)


def singular_values(S: np.ndarray, rank: int, dark: bool = False, height: int = 190) -> alt.LayerChart:
    """The singular values of ΔC; those that hold 99 % of ‖ΔC‖² in blue, the others grey; not all of the small ones."""
    most = max(16, 2 * rank + 8)
    rows = pl.DataFrame({"index": np.arange(1, len(S) + 1), "value": S, "kept": np.arange(len(S)) < rank}).head(most)
    bars = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("index:O", title="Singular value", axis=_sparse(rows["index"].to_list())),
            y=alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4)),
            color=alt.condition(
                "datum.kept", alt.value(palette.BLUE if not dark else palette.SKY), alt.value(palette.quiet(dark))
            ),
            tooltip=[alt.Tooltip("index:O", title="number"), alt.Tooltip("value:Q", format=".4g")],
        )
    )
    return alt.layer(bars).properties(height=height, width="container")


def canonical(values: np.ndarray, chance: float, dark: bool = False, height: int = 150) -> alt.LayerChart:
    """Canonical correlations in descending order.

    Those above the largest that chance gives (a line) are blue, the others grey.
    """
    most = max(16, 2 * int(np.sum(values > chance)) + 8)
    rows = pl.DataFrame({"index": np.arange(1, len(values) + 1), "value": values, "above": values > chance}).head(most)
    bars = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("index:O", title="Canonical correlation", axis=_sparse(rows["index"].to_list())),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(values=[0, 0.5, 1])),
            color=alt.condition(
                "datum.above", alt.value(palette.BLUE if not dark else palette.SKY), alt.value(palette.quiet(dark))
            ),
            tooltip=[alt.Tooltip("index:O", title="number"), alt.Tooltip("value:Q", format=".3f")],
        )
    )
    rule = (
        alt.Chart(pl.DataFrame({"chance": [chance]}))
        .mark_rule(color=palette.CHOSEN, strokeWidth=1.5)
        .encode(y="chance:Q", tooltip=[alt.Tooltip("chance:Q", title="largest by chance", format=".3f")])
    )
    return alt.layer(bars, rule).properties(height=height, width="container")


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
        .properties(width="container", height=size)
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


def null(norm: float, norms: np.ndarray, dark: bool = False) -> alt.LayerChart:
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
    """Principal angles between two subspaces, in degrees: 0 is shared, 90 has nothing in common. ▲ query, ● key."""
    return (
        alt.Chart(rows)
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            x=alt.X("index:O", title="Principal angle", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("angle:Q", title="degrees", scale=alt.Scale(domain=[0, 90]), axis=alt.Axis(values=[0, 30, 60, 90])),
            color=_side("color"),
            shape=_side("shape"),
            tooltip=["side:N", "index:O", alt.Tooltip("angle:Q", format=".1f")],
        )
        .properties(height=230, width="container")
    )


def _side(what: str):
    if what == "color":
        return alt.Color(
            "side:N",
            title=None,
            scale=alt.Scale(domain=["query", "key"], range=[palette.RED, palette.BLUE]),
            legend=alt.Legend(orient="top"),
        )
    return alt.Shape(
        "side:N",
        title=None,
        scale=alt.Scale(domain=["query", "key"], range=["triangle-up", "circle"]),
        legend=alt.Legend(orient="top"),
    )


SWAP_KEYS = {"original": "original key", "target": "target key"}


def swaps(conditions: Sequence[dict], dark: bool = False) -> alt.LayerChart:
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


def attribution(tokens: Sequence[dict], features: Sequence[str], dark: bool = False) -> alt.LayerChart:
    """A stacked, signed bar for each key token: what each feature and the rest add to its logit.

    A tick marks their sum, the logit.
    """
    names = [*features, "rest"]
    place = [f"{t['pos']}\u2002{_short(visible(t['text']))}" for t in tokens]
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
        labelAngle=-50 if len(tokens) > 10 else 0,
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
