"""The report's charts: what is drawn is what was handed in, on white paper.

Every whisker, name and order is as given.
"""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from qkstore import charts as qkstore_charts
from qkstore.attribution import Distribution
from qkstore.charts import palette
from qkstore.report.document import Figure
from qkstore.report.render import CONFIG, WIDTH, spec, svg

ROWS = [
    {"name": n, "group": g, "value": v, "low": v - 0.5, "high": v + 0.25}
    for n, g, v in (
        ("L1 H0", "order", 3.0),
        ("L1 H0", "lexical", 2.0),
        ("L0 H1", "order", 1.0),
        ("L0 H1", "lexical", 0.0),
    )
]
GAP = np.arange(101.0)
FOUND = Distribution(
    GAP,
    {"order": 0.75 * GAP, "rest": 0.25 * GAP},
    {"order": 0.75, "rest": 0.25},
    {"order": (0.7, 0.8), "rest": (0.2, 0.3)},
)
GROWN = pl.DataFrame(
    {
        "feature": ["a", "a", "b", "b"],
        "head": ["L1", "L1", "L0", "L0"],
        "values": [2, 4, 2, 8],
        "rank": [1.0, 2.0, 3.0, 4.0],
        "low": [1, 1, 2, 4],
        "high": [1, 3, 4, 4],
    }
)
DOSED = pl.DataFrame(
    {
        "feature": ["order, rank 3"] * 4,
        "coordinate": ["all", "all", "random", "random"],
        "dose": [0.0, 1.0] * 2,
        "target": [0.1, 0.9, 0.1, 0.2],
        "low": [0.05, 0.85, 0.05, 0.1],
        "high": [0.15, 0.95, 0.15, 0.3],
    }
)


def points(n: int = 24, sides=("query", "key")) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(n, 3))
    return pl.DataFrame(
        {
            "side": [sides[i % len(sides)] for i in range(n)],
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": [f"g{i % 3}" for i in range(n)],
            "prompt_id": range(n),
            "text": ["token"] * n,
        }
    )


def tables(chart) -> list[list[dict]]:
    return sorted(chart.to_dict()["datasets"].values(), key=len)


def layers(chart) -> dict[str, dict]:
    """{mark: its layer} of a layered chart; the first of several."""
    found = {}
    for layer in chart.to_dict()["layer"]:
        found.setdefault(layer["mark"]["type"], layer)
    return found


# -- estimates ---------------------------------------------------------------------------------------------------


def test_estimates_draw_every_row_with_its_own_interval():
    chart = qkstore_charts.head_intervals(ROWS, "rank", legend="feature")
    assert tables(chart)[-1] == ROWS
    rule, point = layers(chart)["rule"]["encoding"], layers(chart)["point"]["encoding"]
    assert (rule["x"]["field"], rule["x2"]["field"], point["x"]["field"], point["x"]["title"]) == (
        "low",
        "high",
        "value",
        "rank",
    )
    assert point["y"]["sort"] == ["L1 H0", "L0 H1"], "in the order given, not by name"
    assert point["color"]["scale"]["domain"] == ["order", "lexical"]
    assert point["color"]["title"] == "feature"
    assert point["yOffset"]["field"] == "group"


def test_one_group_needs_no_legend_and_one_row_a_name_no_offset():
    chart = qkstore_charts.head_intervals([r for r in ROWS if r["group"] == "order"], "x")
    point = layers(chart)["point"]["encoding"]
    assert point["color"]["legend"] is None
    assert "yOffset" not in point
    assert "tick" not in layers(chart)
    several = layers(qkstore_charts.head_intervals(ROWS, "x"))["point"]["encoding"]
    assert several["color"]["legend"]["orient"] == "top", "the control"


def test_a_null_is_a_stroke_and_a_reference_a_line():
    chart = qkstore_charts.head_intervals([r | {"null": 0.5 * r["value"]} for r in ROWS], "x", reference=1.0)
    assert layers(chart)["tick"]["encoding"]["x"]["field"] == "null"
    assert [r["null"] for r in tables(chart)[-1]] == [
        1.5,
        1.0,
        0.5,
        0.0,
    ]
    assert tables(chart)[0] == [{"at": 1.0}], "beneath the whiskers"
    assert layers(chart)["rule"]["encoding"]["x"]["field"] == "at", "beneath the whiskers"


def test_some_rows_may_lack_a_null():
    rows = [ROWS[0] | {"null": None}, ROWS[2] | {"null": 0.5}]
    assert [r["null"] for r in tables(qkstore_charts.head_intervals(rows, "x"))[-1]] == [None, 0.5]
    ElementTree.fromstring(svg(Figure("f", "t", "s", qkstore_charts.head_intervals(rows, "x", log=True))))


def test_a_logarithm_has_no_zero_and_loses_no_row():
    chart = qkstore_charts.head_intervals(ROWS, "x", log=True)
    rows = tables(chart)[-1]
    assert len(rows) == 4
    assert all(r["low"] > 0 and r["value"] > 0 for r in rows)
    assert [r["value"] for r in rows[:3]] == [3.0, 2.0, 1.0]
    assert [r["high"] for r in rows] == [r["high"] for r in ROWS]
    assert layers(chart)["point"]["encoding"]["x"]["scale"] == {"type": "log"}
    zeros = tables(qkstore_charts.head_intervals([ROWS[3]], "x", log=True))[-1]
    assert 0 < zeros[0]["value"] <= 1, "where all are zero too"


def test_an_axis_begins_at_zero_unless_it_may_not():
    assert layers(qkstore_charts.head_intervals(ROWS, "x"))["point"]["encoding"]["x"]["scale"] == {"zero": True}
    assert layers(qkstore_charts.head_intervals(ROWS, "x", zero=False))["point"]["encoding"]["x"]["scale"] == {
        "zero": False
    }


def test_hidden_characters_of_names_are_spelled_out():
    rows = [ROWS[0] | {"name": "\u202egnp", "group": "a\nb"}]
    (row,) = tables(qkstore_charts.head_intervals(rows, "x"))[-1]
    assert (row["name"], row["group"]) == ("U+202Egnp", "a↵b")
    text = svg(Figure("f", "t", "s", qkstore_charts.head_intervals(rows + ROWS, "x")))
    assert "\u202e" not in text
    assert "U+202Egnp" in text


# -- distribution ------------------------------------------------------------------------------------------------


def test_a_box_has_the_quantiles_of_its_part():
    rows = {r["part"]: r for r in tables(qkstore_charts.logit_distribution(FOUND))[-1]}
    assert list(rows) == ["whole gap", "order", "rest"]
    for name, scale in (("whole gap", 1), ("order", 0.75), ("rest", 0.25)):
        found = [rows[name][q] / scale for q in ("low", "q1", "median", "q3", "high", "mean")]
        assert found == pytest.approx([5, 25, 50, 75, 95, 50])
    skewed = Distribution(np.r_[GAP, 10_000.0], {"rest": np.r_[GAP, 10_000.0]}, {"rest": 1.0}, {"rest": None})
    (row, _) = tables(qkstore_charts.logit_distribution(skewed))[-1]
    assert row["mean"] > row["q3"] > row["median"], "the dot is the mean, the stroke the median"


def test_parts_have_the_features_colours():
    colour = layers(qkstore_charts.logit_distribution(FOUND))["bar"]["encoding"]["color"]["scale"]
    assert dict(zip(colour["domain"], colour["range"])) == {
        "whole gap": palette.GREY,
        "order": palette.BLUE,
        "rest": palette.GREEN,
    }


# -- growth, doses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chart", "table"),
    [(qkstore_charts.rank_growths(GROWN, "values"), GROWN), (qkstore_charts.dose_panels(DOSED), DOSED)],
    ids=["growth", "doses"],
)
def test_lines_and_bands_are_of_every_row(chart, table):
    found = chart.to_dict()
    assert next(iter(found["datasets"].values())) == table.to_dicts()
    band, line = found["spec"]["layer"]
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")
    assert band["mark"]["opacity"] < 0.3
    assert line["encoding"]["y"]["field"] in ("rank", "target")
    assert line["mark"]["type"] == "line"
    assert found["facet"]["column"]["sort"] == table["feature"].unique(maintain_order=True).to_list()


def test_heads_have_their_colours_in_the_order_given_and_random_is_grey():
    colour = qkstore_charts.rank_growths(GROWN, "values").to_dict()["spec"]["layer"][1]["encoding"]["color"]["scale"]
    assert colour["domain"] == ["L1", "L0"]
    assert colour["range"] == palette.clusters(2)
    dosed = qkstore_charts.dose_panels(DOSED).to_dict()["spec"]["layer"][1]["encoding"]["color"]["scale"]
    assert dict(zip(dosed["domain"], dosed["range"])) == {"all": palette.BLUE, "random": palette.GREY}


def test_growth_has_an_axis_a_feature_and_doses_share_one():
    assert qkstore_charts.rank_growths(GROWN, "values").to_dict()["resolve"]["scale"] == {"x": "independent"}
    assert "resolve" not in qkstore_charts.dose_panels(DOSED).to_dict()


# -- clusters ----------------------------------------------------------------------------------------------------


def test_clusters_draw_all_points_twice_and_name_groups_at_the_centre_of_their_keys():
    some = points()
    chart = qkstore_charts.clusters(some, ("PC 1", "PC 2", "PC 3"))
    found = chart.to_dict()
    centres, drawn = sorted(found["datasets"].values(), key=len)
    assert len(drawn) == 24
    assert "text" not in drawn[0], "tokens' texts are not carried along"
    for c in centres:
        keys = some.filter(pl.col("side") == "key", pl.col("group") == c["group"])
        assert [c[a] for a in "xyz"] == pytest.approx([keys[a].mean() for a in "xyz"])
    axes = [
        [(p["layer"][0]["encoding"][a]["field"], p["layer"][0]["encoding"][a]["title"]) for a in "xy"]
        for p in found["hconcat"]
    ]
    assert axes == [[("x", "PC 1"), ("y", "PC 2")], [("y", "PC 2"), ("z", "PC 3")]]


def test_queries_and_keys_are_told_apart_and_keys_alone_need_no_legend():
    drawn = (qkstore_charts.clusters(points(sides=s), ("a", "b", "c")).to_dict() for s in (("query", "key"), ("key",)))
    both, keys = (chart["hconcat"][0]["layer"][0]["encoding"]["shape"] for chart in drawn)
    assert both["scale"] == keys["scale"] == {"domain": ["query", "key"], "range": ["triangle-up", "circle"]}
    assert both["legend"] == {"orient": "bottom"}
    assert keys["legend"] is None


def test_the_same_points_give_the_same_clusters_every_time():
    many = points(60).with_columns(group=pl.Series([f"g{i % 30}" for i in range(60)]))
    first, *more = (json.dumps(qkstore_charts.clusters(many, ("a", "b", "c")).to_dict()) for _ in range(5))
    assert all(spec == first for spec in more), "names stand in one order, so a report is the same file twice"


def test_more_groups_than_colours_are_drawn_all_the_same():
    many = points(60).with_columns(group=pl.Series([f"g{i}" for i in range(60)]))
    plot = qkstore_charts.clusters(many, ("a", "b", "c")).to_dict()["hconcat"][0]
    scale = plot["layer"][0]["encoding"]["color"]["scale"]
    assert len(scale["domain"]) == len(scale["range"]) == 60
    assert scale["range"][16:32] == scale["range"][:16] == list(palette.CLUSTERS)


# -- on paper ----------------------------------------------------------------------------------------------------

CHARTS = {
    "estimates": qkstore_charts.head_intervals(ROWS, "x"),
    "growth": qkstore_charts.rank_growths(GROWN, "values"),
    "doses": qkstore_charts.dose_panels(DOSED),
    "distribution": qkstore_charts.logit_distribution(FOUND),
    "clusters": qkstore_charts.clusters(points(), ("a", "b", "c")),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_figure_is_drawn_on_white_with_ink(name):
    text = svg(Figure(name, "t", "s", CHARTS[name]))
    root = ElementTree.fromstring(text)
    assert "white" in [root[0].get("fill"), *(e.get("fill") for e in root.iter() if e.tag.endswith("rect"))]
    assert palette.ink(True) not in text, "nothing of the dark theme's ink"
    assert palette.ink() in text, "the light theme's ink"
    width = float(root.get("width").removesuffix("px"))
    assert 300 < width <= 800


def test_a_chart_that_fills_its_place_gets_a_width_and_keeps_its_own_settings():
    from qkstore import charts

    heads = pl.DataFrame(
        [{"layer": 0, "head": h, "accuracy": h / 2, "selectivity": 1.0, "strength": 1.0, "rank": 1} for h in range(2)]
    )
    chart = charts.head_map(heads, "accuracy", (0, 0))
    assert chart.to_dict()["width"] == "container"
    assert spec(Figure("f", "t", "s", chart))["width"] == WIDTH - 100
    assert spec(Figure("f", "t", "s", CHARTS["estimates"]))["width"] == palette.WIDTH - 160
    own = CHARTS["estimates"].configure_axis(labelFontSize=7).configure_view(stroke="red")
    config = spec(Figure("f", "t", "s", own))["config"]
    assert config["axis"]["labelFontSize"] == 7
    assert config["axis"]["gridColor"] == CONFIG["axis"]["gridColor"]
    assert config["view"]["stroke"] == "red"
    assert CONFIG["axis"]["labelFontSize"] == 11, "the settings for all are not changed"
    assert CONFIG["view"] == {"stroke": None}, "the settings for all are not changed"
