"""Queries and keys on a canvas, in three dimensions or two, to be turned, pointed at and chosen from.

A triangle is a query, a circle a key.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import streamlit as st

from qkstore import charts
from qkstore.analysis.points import Context
from qkstore.charts import palette
from qkstore.text import visible

HERE = Path(__file__).parent
CSS = (HERE / "scatter.css").read_text(encoding="utf-8")
SCRIPT = "\n".join(
    (HERE / name).read_text(encoding="utf-8") for name in ("marks.js", "space.js", "plane.js", "plot.js")
)
MOST_BYTES = 900_000  # of what the browser is sent of points; a page is some tens of kB more
REACHES = (8, 5, 3, 1, 0)  # tokens told on either side of a point's own, as far as MOST_BYTES allow
GRID = 65_535  # steps of an axis, more than a screen has pixels

Plot = Literal["2d", "3d"]
_draw = st.components.v2.component("space", css=CSS, js=SCRIPT)


def scatter(data: dict, plot: Plot = "3d", key: str | None = None, tells: bool = False) -> np.ndarray | None:
    """Draw a `payload`. tells: points can be chosen; their positions in `ordered` are returned, None where none are.

    A drag turns or moves the points, or draws a rectangle or lasso about some; the arrow keys turn or move them, plus
    and minus and the wheel zoom, a double click resets; a label of the legend chooses its points.
    """
    drawn = _draw(data=data | {"plot": plot, "tells": tells}, key=key, on_chosen_change=lambda: None)
    return chosen(drawn.chosen, data)


def chosen(told: object, data: dict) -> np.ndarray | None:
    """The positions that a browser says were chosen of these data; None for none, and for what it chose of others."""
    if not isinstance(told, Mapping) or told.get("of") != data["stamp"]:
        return None
    try:
        packed = np.frombuffer(b64decode(str(told.get("bits")), validate=True), np.uint8)
    except NoBase64:
        return None
    return np.flatnonzero(np.unpackbits(packed)[: data["n"]])


def ordered(points: pl.DataFrame) -> pl.DataFrame:
    """The points in the order in which they are sent: keys, then queries."""
    return points.sort(pl.col("side") == "query", maintain_order=True)


def payload(
    points: pl.DataFrame,
    titles: tuple[str, str, str],
    legend: str,
    dark: bool = False,
    groups: Sequence[str] = (),
    context: Callable[[pl.DataFrame, int], Context] | None = None,
) -> dict:
    """What the browser is sent of points (side, x, y, z, group, prompt_id, text): keys, then queries.

    Colours are those of charts.grouped, all three axes on one scale. context: gives the tokens up to so many places
    about each point; the most that fit in MOST_BYTES are sent, without it each point's own text.
    xyz: n × 3 uint16, steps between low and high; group: n uint16, entries of `groups` ([label, colour]); both as
    base64. The rest is deflated first, byte by byte: prompt and at: n uint32, token: m uint32, entries of `texts`,
    follows: m bytes (see Context). stamp: the same for the same points in the same order, whatever their colours.
    """
    shown, colours, _ = charts.grouped(points, dark, groups)
    for reach in REACHES:
        told = context(shown, reach) if context else _alone(shown["text"])
        data = _packed(shown, colours, told) | {"reach": reach, **_said(shown, titles, legend, dark)}
        if not context or len(json.dumps(data)) <= MOST_BYTES:
            break
    return data


def _packed(shown: pl.DataFrame, colours: dict[str, str], told: Context) -> dict:
    xyz = shown.select("x", "y", "z").to_numpy().astype(np.float64)
    low, high = (xyz.min(axis=0), xyz.max(axis=0)) if len(xyz) else (np.zeros(3), np.zeros(3))
    span = np.where(high > low, high - low, 1)
    places = {label: i for i, label in enumerate(colours)}
    group = shown["group"].replace_strict(places, return_dtype=pl.Int32).to_numpy()
    sent = {"xyz": _bytes(np.rint((xyz - low) / span * GRID), "<u2"), "group": _bytes(group, "<u2")}
    return sent | {
        "stamp": hashlib.sha256("".join([*sent.values(), *map(str, (low, high))]).encode()).hexdigest()[:16],
        "low": low.tolist(),
        "high": high.tolist(),
        "n": len(shown),
        "keys": int((shown["side"] == "key").sum()),
        "groups": [list(pair) for pair in colours.items()],
        "others": charts.OTHERS,
        "texts": [visible(text) for text in told.texts],
        "token": _deflated(told.token, "<u4"),
        "follows": _deflated(told.follows, "u1"),
        "at": _deflated(told.at, "<u4"),
        "prompt": _deflated(shown["prompt_id"].to_numpy(), "<u4"),
    }


def _said(shown: pl.DataFrame, titles: tuple[str, str, str], legend: str, dark: bool) -> dict:
    """What stands about the points, made safe to show, and read out in their place."""
    titles, legend = [visible(title) for title in titles], visible(legend)
    queries = int((shown["side"] == "query").sum())
    about = (
        f"{queries:,} queries (triangles) and {len(shown) - queries:,} keys (circles): {', '.join(titles)}; "
        f"colour: {legend}. Arrow keys turn or move the points, plus and minus zoom, 0 resets, Escape clears a choice."
    )
    return {"titles": titles, "legend": legend, "ink": palette.ink(dark), "about": about}


def _alone(texts: pl.Series) -> Context:
    """Each point's own token, without neighbours."""
    names, token = np.unique(texts.to_numpy().astype(str), return_inverse=True)
    return Context(tuple(names.tolist()), token, np.zeros(len(token), bool), np.arange(len(token)))


def _bytes(values: np.ndarray, kind: str) -> str:
    return b64encode(np.ascontiguousarray(values, kind)).decode()


def _deflated(values: np.ndarray, kind: str) -> str:
    """All first bytes, then all second ones, deflated: the high ones are mostly zeros."""
    planes = np.ascontiguousarray(values, kind).view(np.uint8).reshape(-1, np.dtype(kind).itemsize).T
    return b64encode(zlib.compress(planes.tobytes(), 6)).decode()
