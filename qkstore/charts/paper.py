"""A chart as a still figure for a paper: its width in inches, its text in the sizes that print has, and no hover.

Lengths here are pixels of CSS, 96 to an inch; a point of type is 4/3 of one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from textwrap import wrap
from xml.etree import ElementTree

WIDTHS = (3.25, 6.75)  # inches: a column of a page of two, and the page
INCH, POINT = 96, 96 / 72
LEAST_TYPE, MOST_TYPE = 7 * POINT, 8 * POINT
PLACE = 560  # the width that a chart of the width "container" was drawn for
NO_WIDTH = 300  # that Vega-Lite gives where none is named
LEAST, TRIES = 40, 6  # the least width of a chart without its axes and legends, and how often it is drawn to fit
LOW = 0.62  # of its height a chart keeps in a single column, where its width does not decide
EM = 0.52  # the mean width of a sign in ems
ASPECT = "aspect"  # in a chart's usermeta: its height over its width, where the two say the same, as of a matrix
INTERACTIVE = ("tooltip", "cursor")
TEXT = {"labelColor": "#1b2330", "titleColor": "#1b2330", "titleFontWeight": "normal"}
TYPE = {"labelFontSize": LEAST_TYPE, "titleFontSize": MOST_TYPE}
CONFIG = {
    "background": "white",
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "padding": 2,
    "view": {"stroke": None},
    "axis": {"gridColor": "#e8edf2", "titlePadding": 4, **TEXT, **TYPE},
    "legend": {"labelOverlap": True, "symbolStrokeWidth": 1, "padding": 0, "offset": 6, **TEXT, **TYPE},
    "header": {**TEXT, **TYPE},
    "title": {"fontSize": MOST_TYPE, "color": "#1b2330", "fontWeight": "normal"},
    "text": {"fontSize": LEAST_TYPE},
}
NOT_OURS = ("data", "datasets", "usermeta")  # parts of a chart that hold others' values


@dataclass(frozen=True)
class Layout:
    """How a figure is laid out: the share of its widths, columns of its legends, and whether labels along x lean."""

    share: float
    columns: int | None
    leaning: bool


def fitted(chart: dict, inches: float, draw: Callable[[dict], str]) -> tuple[str, float, float]:
    """A chart's Vega-Lite as SVG, as near to the width as it gets and not over it, with its size in pixels.

    draw: from Vega-Lite to SVG. Legends get fewer columns, and labels along x lean, only where there is no room.
    """
    still, most, low = _still(chart), inches * INCH, inches < WIDTHS[1]
    best: tuple[str, float, float] | None = None
    for columns in (None, 4, 3, 2, 1):
        for leaning in (False, True):
            found = _fit(still, most, low, columns, leaning, draw)
            if best is None or found[1] < best[1]:
                best = found
            if found[1] > most:
                break  # labels are not what is too wide
            if leaning or not _crowded(found[0]):
                return found
    assert best is not None
    return best


def _fit(
    still: dict, most: float, low: bool, columns: int | None, leaning: bool, draw: Callable[[dict], str]
) -> tuple[str, float, float]:
    """Find the share of the chart's own widths that gives a whole figure of the width, by a few drawings.

    A pixel more within is one more outside, unless something else, as a legend, is what is wide.
    """
    own = _own_width(still)
    least, largest = LEAST / own, most / own
    share, before = (most - 60) / own, 0.0
    for _ in range(TRIES):
        svg = draw(_laid_out(still, Layout(share, columns, leaning), low))
        width, height = _size(svg)
        if most - 1.5 <= width <= most or (width > most and share == least):
            break
        stuck = before > most and width > most
        share = least if stuck else min(max(share + (most - 0.7 - width) / own, least), largest)
        before = width
    return svg, width, height


def _still(chart: dict) -> dict:
    """The chart without what only a pointer shows, in the type of print."""
    chart = copy.deepcopy(chart)
    for part in _parts(chart):
        for name in INTERACTIVE:
            part.pop(name, None)
        for name, value in part.items():
            if name.endswith("ontSize") and isinstance(value, int | float):
                part[name] = min(max(value, LEAST_TYPE), MOST_TYPE)
            if name.endswith("Font") and "mono" in str(value):
                part[name] = "Liberation Mono, Courier New, monospace"
    chart["config"] = _merged(CONFIG, chart.get("config", {}))
    return chart


def _parts(part: object) -> Iterator[dict]:
    """Every object within a chart, itself too, but not its data."""
    if isinstance(part, dict):
        yield part
        for name, value in part.items():
            if name not in NOT_OURS:
                yield from _parts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _parts(value)


def _views(part: dict) -> Iterator[dict]:
    """Every view that has a size of its own: a chart, or the layers of one together."""
    inner = next((part[name] for name in ("hconcat", "vconcat", "concat") if name in part), None)
    if inner is not None:
        for one in inner:
            yield from _views(one)
    elif "spec" in part:
        yield from _views(part["spec"])
    else:
        yield part


def _width(view: dict) -> float:
    width = view.get("width", NO_WIDTH)
    return width if isinstance(width, int | float) else PLACE


def _own_width(chart: dict) -> float:
    """The widths that stand beside each other, about."""
    if "hconcat" in chart:
        return sum(_own_width(one) for one in chart["hconcat"])
    if "vconcat" in chart:
        return max(_own_width(one) for one in chart["vconcat"])
    return max(_width(view) for view in _views(chart))


def _laid_out(still: dict, layout: Layout, low: bool) -> dict:
    """The chart in a layout. low: for a single column, where charts that fill a place are lower too."""
    chart = copy.deepcopy(still)
    aspect = still.get("usermeta", {}).get(ASPECT)
    for view in _views(chart):
        wide, high = _width(view), view.get("height")
        fills = view.get("width") == "container"
        view["width"] = wide * layout.share
        if aspect:
            view["height"] = view["width"] * aspect
        elif isinstance(high, int | float):
            view["height"] = high * ((LOW if low else 1) if fills else layout.share)
        for part in _parts(view):
            mark, encoding = part.get("mark"), part.get("encoding")
            if isinstance(mark, dict) and mark.get("type") == "tick" and "size" in mark:
                mark["size"] *= min(layout.share, 1)  # it is as long as the bar that it lies on is wide
            if isinstance(encoding, dict):
                _wrap_titles(encoding, view)
                _lean(encoding) if layout.leaning else None
                _shrink(encoding, 1 if fills else layout.share)
    for part in _parts(chart) if layout.columns else ():
        legend = part.get("legend")
        if isinstance(legend, dict) and legend.get("orient") in ("top", "bottom"):
            legend["columns"] = layout.columns
    return chart


def _wrap_titles(encoding: dict, view: dict) -> None:
    """Titles of axes that are longer than their side, on several lines."""
    for channel, side in (("x", "width"), ("y", "height")):
        place, length = encoding.get(channel), view.get(side)
        title = place.get("title") if isinstance(place, dict) else None
        if title and isinstance(title, str) and isinstance(length, int | float):
            place["title"] = wrap(title, max(int(length / (EM * MOST_TYPE)), 8))


def _lean(encoding: dict) -> None:
    x = encoding.get("x")
    if isinstance(x, dict) and x.get("type") in ("nominal", "ordinal") and x.get("axis", {}) is not None:
        x["axis"] = {**x.get("axis", {}), "labelAngle": -40}


def _shrink(encoding: dict, share: float) -> None:
    """Points of a chart that is drawn smaller, smaller too: their area by the share of its width."""
    size = encoding.get("size")
    if isinstance(size, dict):
        for part in (size, size.get("condition")):
            if isinstance(part, dict) and isinstance(part.get("value"), int | float):
                part["value"] *= min(share, 1)


def _size(svg: str) -> tuple[float, float]:
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()  # type: ignore[union-attr]
    return float(width), float(height)


def _crowded(svg: str) -> bool:
    """Whether two labels along an x axis touch."""
    for group in ElementTree.fromstring(svg).findall(".//{*}g"):
        if "role-axis-label" in group.get("class", ""):
            labels = sorted(filter(None, map(_extent, group)))
            if any(a[1] > b[0] for a, b in pairwise(labels)):
                return True
    return False


def _extent(label: ElementTree.Element) -> tuple[float, float] | None:
    """(left, right) of a label that is seen, upright, and centred as those along x are."""
    at = re.fullmatch(r"translate\(([-\d.]+),[-\d.]+\)", label.get("transform", ""))
    lines = [text for text in (label.text, *(line.text for line in label)) if text]
    if not at or not lines or label.get("text-anchor") != "middle" or label.get("opacity") == "0":
        return None
    half = max(map(len, lines)) * EM * float(label.get("font-size", "10").removesuffix("px")) / 2
    return float(at[1]) - half, float(at[1]) + half


def _merged(base: dict, more: dict) -> dict:
    out = dict(base)
    for key, value in more.items():
        out[key] = _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out
