"""What the study found, as tables of Markdown between the markers of docs/discovery.md, and the superposition meter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import polars as pl
import vl_convert

PARTS = (  # of the page, by its markers
    "numbers", "controls", "coordinates", "meter", "peers", "demo", "demo parts", "demo peers", "across",
    "across real", "claims", "claims by prompts",
)  # fmt: skip
PICTURE = "superposition.svg"
LINES = {
    "lost": "without a component of its own (0.8)",
    "untold": "variance not told by all components",
    "dropped": "not read at all (below 0.1)",
}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the header."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def inserted(text: str, parts: dict[str, str]) -> str:
    """The page with each part between its two markers; raises ValueError for a marker that is not there."""
    for name, part in parts.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, there, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not there or not closed:
            raise ValueError(f"no {begin} … {end}")
        text = f"{before}{begin}\n{part}\n{end}{after}"
    return text


def write(docs: Path, parts: dict[str, str], meter: Sequence[dict]) -> None:
    """Put the parts into docs/discovery.md, and draw the meter, where there is one, beside it."""
    page = docs / "discovery.md"
    page.write_text(inserted(page.read_text(), parts))
    if meter:
        (docs / PICTURE).write_text(picture(meter))


def picture(meter: Sequence[dict]) -> str:
    """An SVG: coordinates lost over r1 + r2 − d_head, for each d_head."""
    rows = [
        {"beyond": m["beyond"], "coordinates": m[name], "what": title, "d_head": f"d_head {m['d_head']}"}
        for m in meter
        for name, title in LINES.items()
        if m["beyond"] >= -4
    ]
    chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            alt.X("beyond:Q", title="r1 + r2 − d_head", axis=alt.Axis(tickMinStep=1)),
            alt.Y("coordinates:Q", title="coordinates, mean over heads"),
            alt.Color("what:N", title=None, legend=alt.Legend(labelLimit=260)),
            alt.Column("d_head:N", title=None, sort=["d_head 8", "d_head 16"]),
        )
        .properties(width=220, height=220)
    )
    return vl_convert.vegalite_to_svg(chart.to_json())
