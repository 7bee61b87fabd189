"""The charts of toy runs: rendered by Vega itself, with the numbers, rings and frames that they must show."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import vl_convert

from qkstore import charts
from qkstore.charts import palette
from qkstore.interaction import Interaction
from qkstore.toy import Recovered


def svg(chart) -> str:
    spec = json.loads(chart.to_json().replace('"width": "container"', '"width": 600'))
    return vl_convert.vegalite_to_svg(spec)


def cell(r1: int, r2: int, d_head: int = 8, accuracy: float = 0.912, bound: float = 0.934) -> SimpleNamespace:
    return SimpleNamespace(name=f"toy-{r1}-{r2}", r1=r1, r2=r2, accuracy=accuracy, bound=bound, room=d_head - r1 - r2)


CELLS = [cell(2, 3), cell(3, 3, accuracy=0.625), cell(6, 6)]
FOUND = [Recovered((2, 3), (2, 3)), Recovered((3, 2), (3, 3)), Recovered((4, 5), (6, 6))]
ROWS = charts.cell_table(CELLS, FOUND)
ALL = {
    "ranks": lambda dark: charts.rank_map(ROWS, (2, 3), dark),
    "accuracy": lambda dark: charts.accuracy_map(ROWS, (2, 3), dark),
    "one head": lambda dark: charts.rank_map(ROWS.head(1), (2, 3), dark),
    "interaction": lambda dark: charts.interaction_matrix(
        Interaction(np.random.default_rng(0).normal(size=(5, 5)), 2, 8), dark
    ),
    "zero": lambda dark: charts.interaction_matrix(Interaction(np.zeros((2, 2)), 1, 8), dark),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ALL)
def test_vega_draws_every_chart(name, dark):
    drawn = svg(ALL[name](dark))
    assert drawn.startswith("<svg")
    assert drawn.count("<path") > 3


def test_a_row_a_head_with_how_far_its_ranks_are_off():
    assert ROWS["distance"].to_list() == [0, 1, 3]
    assert ROWS["superposed"].to_list() == [False, False, True]
    assert ROWS.row(2, named=True)["found_r1"] == 4
    with pytest.raises(ValueError):
        charts.cell_table(CELLS, FOUND[:2])


def test_a_cell_says_its_recovered_ranks_and_the_chosen_one_is_ringed():
    drawn = svg(charts.rank_map(ROWS, (3, 3)))
    assert all(f">{a}, {b}<" in drawn for a, b in ((2, 3), (3, 2), (4, 5)))
    assert drawn.count(palette.CHOSEN) == 1
    assert svg(charts.rank_map(ROWS, (9, 9))).count(palette.CHOSEN) == 0


@pytest.mark.parametrize("dark", [False, True])
def test_an_exact_cell_is_the_empty_end_of_the_ramp_and_a_far_one_the_full_end(dark):
    spec = json.loads(charts.rank_map(ROWS, (2, 3), dark).to_json())
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [0, charts.FAR]
    assert scale["range"] == palette.ramp(dark)


def test_only_cells_beyond_the_heads_dimensions_have_a_dashed_edge():
    dashed = "stroke-dasharray"
    assert svg(charts.rank_map(ROWS, (2, 3))).count(dashed) == 1
    assert svg(charts.rank_map(ROWS.filter(~pl.col("superposed")), (2, 3))).count(dashed) == 0


def test_accuracy_stands_over_its_bound_in_percent():
    drawn = svg(charts.accuracy_map(ROWS, (2, 3)))
    assert all(f">{text}<" in drawn for text in ("91.2", "62.5", "of 93.4"))


def test_r1_goes_across_and_r2_down():
    drawn = svg(charts.rank_map(ROWS, (2, 3)))
    places = {
        (a, b): tuple(map(float, re.search(rf'translate\(([\d.]+),([\d.]+)\)"[^>]*>{a}, {b}<', drawn).groups()))
        for a, b in ((2, 3), (3, 2), (4, 5))
    }
    assert places[2, 3][0] < places[3, 2][0] < places[4, 5][0], "r1 = 2, 3, 6"
    assert places[2, 3][1] == places[3, 2][1] < places[4, 5][1], "r2 = 3, 3, 6"


def test_a_click_selects_both_ranks():
    for chart in (charts.rank_map(ROWS, (2, 3)), charts.accuracy_map(ROWS, (2, 3))):
        (pick,) = json.loads(chart.to_json())["params"]
        assert pick["name"] == "pick"
        assert pick["select"]["fields"] == ["r1", "r2"]


def test_g_has_queries_down_keys_across_and_a_frame_around_each_block():
    G = np.zeros((3, 3))
    G[0, 2] = 5.0  # a coordinate of z1's query with one of z2's key
    spec = json.loads(charts.interaction_matrix(Interaction(G, 1, 8)).to_json())
    cells, frames = (spec["datasets"][layer["data"]["name"]] for layer in spec["layer"])
    (full,) = [c for c in cells if c["value"]]
    assert (full["query"], full["key"]) == ("z1[0]", "z2[1]")
    assert (full["row"], full["column"]) == (0, 2)
    assert spec["layer"][0]["encoding"]["y"]["scale"]["reverse"]
    assert not spec["layer"][0]["encoding"]["x"]["scale"].get("reverse")
    assert [(f["row"], f["row_end"], f["column"], f["column_end"]) for f in frames] == [(0, 1, 0, 1), (1, 3, 1, 3)]
    drawn = svg(charts.interaction_matrix(Interaction(G, 1, 8)))
    assert palette.BLUE.lower() in drawn.lower() or "rgb(0, 114, 178)" in drawn
    assert all(f">{name}<" in drawn for name in ("z1[0]", "z2[0]", "z2[1]"))
