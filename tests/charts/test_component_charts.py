"""Charts of components: what counts is told from what does not, and every point has its side and group."""

from __future__ import annotations

import polars as pl
import pytest

from qkstore import charts
from qkstore.components import STRONG

POINTS = pl.DataFrame(
    {
        "side": ["query", "query", "key", "key"],
        "x": [0.0, 1.0, 2.0, -1.0],
        "y": [1.0, 0.0, -1.0, 2.0],
        "z": [0.0] * 4,
        "group": ["a", "b", "a", "b"],
        "prompt_id": [0, 1, 0, 1],
        "text": ["<b>", "\u202e", "x", "y"],
    }
)


def rows(chart, at: int = 0) -> list[dict]:
    return list(chart.to_dict()["datasets"].values())[at]


@pytest.mark.parametrize("dark", [False, True])
def test_the_elbow_tells_what_counts_and_what_chance_gives(dark):
    held = [0.9, 0.8, 0.4, *[0.1] * 60]
    drawn = charts.elbow(held, 2, 0.2, dark=dark)
    dots, limits = sorted(drawn.to_dict()["datasets"].values(), key=len, reverse=True)
    assert [row["kind"] for row in dots[:4]] == ["counts", "counts", "does not", "does not"]
    assert len(dots) == 16, "of the rest only the first"
    assert [row["at"] for row in limits] == [0.2, STRONG]


@pytest.mark.parametrize("dark", [False, True])
def test_histogram_and_scatter_have_every_point_in_the_colour_of_its_group(dark):
    bars, dots = charts.score_histogram(POINTS, "score", dark=dark), charts.score_scatter(POINTS, ("a", "b"), dark=dark)
    for drawn in (bars, dots):
        assert sorted((r["side"], r["group"]) for r in rows(drawn)) == sorted(POINTS.select("side", "group").rows())
    colours = [c.to_dict()["spec"]["encoding"]["color"]["scale"] for c in (bars,)]
    assert dots.to_dict()["encoding"]["color"]["scale"] == colours[0]
    assert "U+202E" in {r["text"] for r in rows(dots)}, "what cannot be seen is told"
