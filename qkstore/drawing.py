"""Drawing: a chart as static SVG, or as PNG where it has thousands of points.

Where it is shown, nothing is fetched and no script runs.
"""

from __future__ import annotations

import re

from qkstore.document import Figure

WIDTH = 720
CONFIG = {
    "background": "white",
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#e8edf2",
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "labelColor": "#1b2330",
        "titleColor": "#1b2330",
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelOverlap": True,
        "labelFontSize": 11.5,
        "titleFontSize": 11.5,
        "labelColor": "#1b2330",
        "titleColor": "#1b2330",
        "titleFontWeight": "normal",
    },
}


def spec(figure: Figure) -> dict:
    """The chart's Vega-Lite, of a fixed width: a static picture has no container."""
    found = figure.chart.to_dict()
    if found.get("width") == "container":
        found["width"] = WIDTH - 100
    found["config"] = _merged(CONFIG, found.get("config", {}))
    return found


def svg(figure: Figure) -> str:
    """The figure as an <svg> element whose ids are its own, with its text for readers who do not see it."""
    import vl_convert

    return named(vl_convert.vegalite_to_svg(spec(figure)), figure.name)


def png(figure: Figure, scale: float = 1.2) -> bytes:
    import vl_convert

    return vl_convert.vegalite_to_png(spec(figure), scale=scale)


def named(text: str, name: str) -> str:
    """An SVG whose ids begin with `name`: two pictures in one page would otherwise clip each other's marks."""
    return re.sub(r"<[^>]+>", lambda tag: _tag(tag.group(), name), text)


def _tag(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", tag)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', tag)


def _merged(base: dict, more: dict) -> dict:
    out = dict(base)
    for key, value in more.items():
        out[key] = _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out
