"""Queries and keys in three dimensions, on a canvas that a drag turns: a triangle is a query, a circle a key."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import numpy as np
import polars as pl
import streamlit as st

from dashboard.share import made
from qkstore import charts
from qkstore.charts import palette
from qkstore.text import visible

CSS, SCENE, PLOT = (
    (Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("space.css", "space_scene.js", "space.js")
)
ALONE = "The points in three dimensions are drawn by the browser alone; those in two dimensions can be a figure."
_draw = st.components.v2.component("space", css=CSS, js=SCENE + PLOT)


def space(
    points: pl.DataFrame, titles: tuple[str, str, str], legend: str, dark: bool = False, key: str | None = None
) -> None:
    """Draw `points` (side, x, y, z, group, prompt_id, text), all three axes on one scale.

    Colours are those of charts.point_pairs. A drag or the arrow keys turn the points, the wheel zooms, a double click
    resets; a click in the legend dims the other groups.
    """
    made.now().left_out["space"] = ALONE
    _draw(data=payload(points, titles, legend, dark), key=key)


def payload(points: pl.DataFrame, titles: tuple[str, str, str], legend: str, dark: bool = False) -> dict:
    """What the browser is sent: keys, then queries.

    xyz: n × 3 float32; group, prompt, token: n int32, all little-endian as base64. `group` and `token` number the
    entries of `groups` ([label, colour]) and `tokens`.
    """
    shown, colours, _ = charts.grouped(points, dark)
    titles, legend = [visible(title) for title in titles], visible(legend)
    tokens, token = np.unique(shown["text"].to_numpy().astype(str), return_inverse=True)
    places = {label: i for i, label in enumerate(colours)}
    queries = int((shown["side"] == "query").sum())
    keys = len(shown) - queries
    about = (
        f"{queries:,} queries (triangles) and {keys:,} keys (circles) in three dimensions: {', '.join(titles)}; "
        f"colour: {legend}. Arrow keys turn the points, plus and minus zoom, 0 resets."
    )
    return {
        "xyz": _bytes(shown.select("x", "y", "z").to_numpy(), "<f4"),
        "keys": keys,
        "group": _bytes(shown["group"].replace_strict(places, return_dtype=pl.Int32).to_numpy(), "<i4"),
        "groups": [list(pair) for pair in colours.items()],
        "token": _bytes(token, "<i4"),
        "tokens": tokens.tolist(),
        "prompt": _bytes(shown["prompt_id"].to_numpy(), "<i4"),
        "titles": titles,
        "legend": legend,
        "ink": palette.ink(dark),
        "about": about,
    }


def _bytes(values: np.ndarray, kind: str) -> str:
    return b64encode(np.ascontiguousarray(values, kind)).decode()
