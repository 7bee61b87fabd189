"""The map of components: a head with some is coloured by them, one that has nothing to choose is struck through."""

from __future__ import annotations

import pytest
from test_charts import svg

from qkstore import charts
from qkstore.analysis.decomposition import COUNTED, HeadCount, table
from qkstore.analysis.decomposition.across.counted import Named
from qkstore.charts.heads import STROKE


def head(layer: int, number: int, named: bool) -> HeadCount:
    names = (Named("order", "q.order", 0.8, named),) * number
    rho, share = (0.9,) * number, (0.5 / max(number, 1),) * number
    return HeadCount(
        layer,
        0,
        number=number,
        interval=(number, number + 1),
        clear=number,
        rho=rho,
        share=share,
        names=names,
        n_built=9,
    )


ROWS = table([head(0, 12, True), head(1, 0, True), HeadCount(2, 0, why="nothing to choose")])


@pytest.mark.parametrize(
    ("by", "told"), [("number", "12"), ("explained", "80%"), ("unnamed", "0%"), ("carried", "50%")]
)
def test_each_measure_is_drawn_with_its_value_in_the_cell(by, told):
    drawn = svg(charts.component_map(ROWS, by, (0, 0)))
    assert f">{told}<" in drawn
    assert drawn.count(f">{STROKE}<") == ROWS[by].null_count() > 0
    assert COUNTED[by][0] in drawn


def test_a_head_that_is_clear_of_none_has_an_edge():
    cells = charts.component_map(ROWS, "number", (0, 0)).to_dict()["datasets"]
    edges = {row["layer"]: row["is_clear"] for rows in cells.values() for row in rows}
    assert edges == {0: True, 1: False, 2: False}


def test_why_there_is_none_and_which_label_are_told():
    chart = charts.component_map(ROWS, "number", (0, 0)).to_dict()
    rows = {row["layer"]: row for data in chart["datasets"].values() for row in data if "why" in row}
    assert (rows[2]["why"], rows[0]["label"], rows[0]["interval"]) == ("nothing to choose", "q.order", "12 to 13")
    assert "from 0 (layer 1, head 0) to 12 (layer 0, head 0)" in chart["description"]


def test_shares_have_the_same_colours_whatever_the_largest_is():
    few = table([head(0, 2, True), head(1, 3, False)])
    for rows in (ROWS, few):
        chart = charts.component_map(rows, "explained", (0, 0)).to_dict()
        scales = [
            layer["encoding"]["color"]["scale"]
            for layer in chart["layer"]
            if "scale" in str(layer["encoding"].get("color"))
        ]
        assert scales[0]["domain"] == [0.0, 0.33, 0.67, 1.0]
