"""All heads of a layer as small pictures of points, each of which opens its head."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import streamlit as st

from dashboard import job, results, state
from dashboard.results import identity, remember
from dashboard.state import View
from qkstore import charts
from qkstore.analysis import layer_points
from qkstore.analysis.head import Split
from qkstore.analysis.heads import HeadScore, selected
from qkstore.analysis.points import Method, Points
from qkstore.charts import palette
from qkstore.text import percent, visible

HERE = Path(__file__).parent
CSS, SCRIPT = ((HERE / name).read_text(encoding="utf-8") for name in ("heads.css", "heads.js"))
MOST_LAYERS = 16  # kept, of a tenth of a MB for each ten heads
GRID = 65_535
_draw = st.components.v2.component("layer_heads", css=CSS, js=SCRIPT)


def show(view: View, q_label: str, k_label: str, method: Method, split: Split, dark: bool) -> dict[int, Points]:
    """Draw the heads of the view's layer; a press on one opens it. Returns their points."""
    points = layer(view, q_label, k_label, method, split)
    scores = results.heads(view.run, view.contrast)
    drawn = _draw(
        data=payload(points, scores, view.layer, view.head, f"{q_label} / {k_label}", dark),
        key=f"heads-{view.layer}",
        on_opened_change=lambda: None,
    )
    if drawn.opened in points:
        state.put(head=drawn.opened, plot="2d")
        st.rerun()
    return points


def layer(view: View, q_label: str, k_label: str, method: Method, split: Split) -> dict[int, Points]:
    """The points of each head; the first time with a progress bar that counts, and a button that ends it."""
    asked = view.layer, q_label, k_label, method, split
    key = (identity(view.run), tuple(c.key for c in view.contrasts), *asked)
    if (known := _kept().get(key)) is not None:
        return known
    found = job.done(
        ("layer", key),
        lambda progress: layer_points(view.run, view.contrasts, *asked, progress=progress),
        f"Projecting the heads of layer {view.layer}",
        "Projected {done} of {of} heads",
        "Cancelled. Choose another layer or picture.",
    )
    return remember(_kept(), MOST_LAYERS, key, found)


@st.cache_resource(max_entries=1)
def _kept() -> dict:
    return {}


def payload(
    points: Mapping[int, Points], scores: Sequence[HeadScore], layer: int, shown: int, legend: str, dark: bool = False
) -> dict:
    """What the browser is sent: of each head its name, what it is told by, and its points on two axes, keys first.

    xy: n × 2 uint16, steps of the head's own axes; group: n uint16, entries of `groups` ([label, colour]), which all
    heads share; both as base64.
    """
    together = pl.concat([p.table.with_columns(head=pl.lit(head)) for head, p in points.items()])
    groups = next(iter(points.values())).groups
    table, colours, _ = charts.grouped(together, dark, groups)
    places = {label: i for i, label in enumerate(colours)}
    numbered = table.with_columns(number=table["group"].replace_strict(places, return_dtype=pl.Int32))
    by_head, kinds = {s.head: s for s in scores if s.layer == layer}, selected(scores)
    heads = [
        _head(head, numbered.filter(pl.col("head") == head), by_head.get(head), kinds.get((layer, head), ""))
        | {"shown": head == shown}
        for head in points
    ]
    return {
        "heads": heads,
        "groups": [list(pair) for pair in colours.items()],
        "legend": visible(legend),
        "ink": palette.ink(dark),
    }


def _head(head: int, table: pl.DataFrame, score: HeadScore | None, kind: str) -> dict:
    xy = table.select("x", "y").to_numpy()
    low, high = xy.min(axis=0), xy.max(axis=0)
    steps = np.rint((xy - low) / np.where(high > low, high - low, 1) * GRID)
    lines = [*([kind] if kind else []), *told(score)]
    return {
        "head": head,
        "name": f"Head {head}",
        "lines": lines,
        "about": f"Open head {head}: {'; '.join(lines) or 'without a score'}",
        "xy": b64encode(np.ascontiguousarray(steps, "<u2")).decode(),
        "group": b64encode(np.ascontiguousarray(table["number"].to_numpy(), "<u2")).decode(),
        "keys": int((table["side"] == "key").sum()),
    }


def told(score: HeadScore | None) -> list[str]:
    """What a head does under the contrast, with what chance gives."""
    if score is None:
        return []
    if score.accuracy is None:
        return [] if score.strength is None else [f"‖ΔC‖ {score.strength:.1f} × null"]
    return [f"accuracy {percent(score.accuracy)}", *([f"chance {percent(score.chance)}"] if score.chance else [])]
