"""What must be seen in a chart: labels that stand apart, and cells that the page's colour does not hide."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import altair as alt
import polars as pl
import pytest
import vl_convert
from test_charts import TOKENS, scores, svg

from qkstore import charts
from qkstore.charts import palette

LABEL = re.compile(r'<text [^>]*transform="translate\(([\d.-]+),[\d.-]+\)( rotate[^"]*)?"[^>]*>(\d+\u2002[^<]*)<')


def labels(chart: alt.Chart, width: int) -> list[tuple[float, str, str]]:
    """(place, turn, text) of each label of a bar, left to right, where the chart is so wide."""
    spec = json.loads(chart.to_json().replace('"width": "container"', f'"width": {width}'))
    return sorted((float(x), turn, text) for x, turn, text in LABEL.findall(vl_convert.vegalite_to_svg(spec)))


@pytest.mark.parametrize(
    "words", [["Z", "T", "B", "X", "C", "P"], ["stork", "spanner", "a word so long", "e", "f", "g"]]
)
def test_labels_of_bars_stand_apart_in_a_quarter_of_a_page_and_on_a_narrow_one(words):
    """A letter of this type and size is 6 pixels wide; two labels that lie need as much room as their letters."""
    tokens = [TOKENS[0] | {"pos": 13 + 4 * i, "text": word} for i, word in enumerate(words)]
    few = tokens[:2]
    for chart, width in (
        (charts.small_attribution(tokens, ["order", "lexical"]), 130),
        (charts.attribution_bars(tokens, ["order", "lexical"]), 480),
        (charts.attribution_bars(few, ["order", "lexical"]), 480),
    ):
        found = labels(chart, width)
        assert len(found) in (len(tokens), len(few)), "none is left out"
        for (left, turn, one), (right, _, two) in pairwise(found):
            assert turn or right - left >= 6 * (len(one) + len(two)) / 2, (one, two)
    assert not labels(charts.attribution_bars(few, ["order", "lexical"]), 480)[0][1], "few lie"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_cell_at_chance_has_an_edge_that_is_seen_and_a_clear_one_a_stronger(dark):
    """At chance a cell has the colour of the page."""
    table = scores(1, 2).with_columns(accuracy=pl.Series([0.5, 1.0]), chance=0.5, clear=pl.Series([False, True]))
    drawn = svg(charts.head_map(table, "accuracy", (9, 9), dark))
    cells = {
        re.search(r'fill="([^"]+)"', cell)[1]: re.search(r'stroke="([^"]+)" stroke-width="([^"]+)"', cell).groups()
        for cell in re.findall(r'<path aria-label="[^"]*"[^>]*>', drawn)
        if "Accuracy" in cell
    }
    (quiet, thin), (ink, thick) = cells.values()
    assert quiet == palette.quiet(dark) != palette.signed(dark)[1]
    assert (ink, float(thin) < float(thick)) == (palette.ink(dark), True)
