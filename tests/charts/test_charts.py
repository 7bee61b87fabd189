"""The charts: each is rendered by Vega itself, and says what it must say: the numbers, the colours, the marks."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert

from qkstore import charts
from qkstore.analysis import swaps
from qkstore.charts import palette


def svg(chart: alt.Chart) -> str:
    """What a browser draws. Charts that fill their place get a width, as the page gives them one."""
    spec = json.loads(chart.to_json().replace('"width": "container"', '"width": 600'))
    return vl_convert.vegalite_to_svg(spec)


def scores(n_layers: int = 2, n_heads: int = 4, accuracy: float | None = None) -> pl.DataFrame:
    rows = [
        {
            "layer": i,
            "head": h,
            "accuracy": (i + h) / 10 if accuracy is None else accuracy,
            "selectivity": 1.0 + h,
            "strength": 0.5 + i,
            "rank": 1 + h,
        }
        for i in range(n_layers)
        for h in range(n_heads)
    ]
    return pl.DataFrame(rows)


def condition(name: str, rank: int, after: float, bases: int | None = None) -> dict:
    means = {"original_before": 0.9, "target_before": 0.05, "original_after": 0.95 - after, "target_after": after}
    return {
        "name": name,
        "rank": rank,
        "bases": bases,
        "ci": {m: (v - 0.02, v + 0.02) for m, v in means.items()},
    } | means


CONDITIONS = [condition("order", 3, 0.8), condition("random", 3, 0.1, 10)]
TOKENS = [
    {"pos": 3, "text": "Z", "logit": 1.5, "attention": 0.6, "parts": {"order": 2.0, "lexical": -1.0, "rest": 0.5}},
    {
        "pos": 9,
        "text": "<script>\u202e",
        "logit": -0.25,
        "attention": 0.1,
        "parts": {"order": -0.5, "lexical": 0.5, "rest": -0.25},
    },
]


def points(groups: list[str], rank: int = 3) -> pl.DataFrame:
    n = len(groups)
    xyz = np.random.default_rng(0).normal(size=(n, 3)) * (np.arange(3) < rank)
    sides = ["query" if i % 2 else "key" for i in range(n)]
    return pl.DataFrame(
        {
            "side": sides,
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": groups,
            "prompt_id": range(n),
            "text": ["a\u202eb"] * n,
        }
    )


ALL = {
    "heads": lambda dark: charts.head_map(scores(), "accuracy", (1, 2), dark),
    "many heads": lambda dark: charts.head_map(scores(32, 32), "rank", (20, 7), dark),
    "no accuracy": lambda dark: charts.head_map(
        scores().with_columns(accuracy=pl.lit(None, pl.Float64)), "accuracy", (0, 0), dark
    ),
    "singular values": lambda dark: charts.singular_values(np.array([3.0, 1.0, 0.1]), 2, dark),
    "canonical": lambda dark: charts.canonical_correlations(np.array([0.9, 0.3, 0.1]), 0.25, dark),
    "matrix": lambda dark: charts.matrix(np.random.default_rng(0).normal(size=(16, 16)), "ΔC", dark),
    "zero matrix": lambda dark: charts.matrix(np.zeros((4, 4)), "ΔC", dark),
    "null": lambda dark: charts.null_strip(5.0, np.random.default_rng(0).normal(2, 0.1, 99), dark),
    "angles": lambda dark: charts.angles(
        pl.DataFrame({"side": ["query", "key"], "index": [1, 1], "angle": [10.0, 80.0]}), dark
    ),
    "swaps": lambda dark: charts.swap_bars(CONDITIONS, dark),
    "attribution": lambda dark: charts.attribution_bars(TOKENS, ["order", "lexical"], dark),
    "points": lambda dark: charts.point_pairs(
        points(list("abcabc")), charts.axes("pca", [0.5, 0.3, 0.1]), "label", dark
    ),
    "umap": lambda dark: charts.point_pairs(points(["1", "2", "10"]), charts.axes("umap", None), "label", dark),
    "one direction": lambda dark: charts.point_pairs(
        points(list("abcabc"), rank=1), charts.axes("pca", [1.0]), "label", dark
    ),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ALL)
def test_vega_draws_every_chart(name, dark):
    drawn = svg(ALL[name](dark))
    assert drawn.startswith("<svg")
    assert drawn.count("<path") + drawn.count("<text") > 3


def test_a_cell_a_head_and_the_chosen_one_ringed():
    drawn = svg(charts.head_map(scores(), "accuracy", (1, 2)))
    assert drawn.count(palette.CHOSEN) == 1
    # L1 H3, and L1 H2 which is ringed
    assert "40%" in drawn
    assert ">30%<" in drawn
    assert svg(charts.head_map(scores(), "accuracy", (9, 9))).count(palette.CHOSEN) == 0


def test_values_are_written_into_few_cells_only():
    few, many = (charts.head_map(scores(*shape), "accuracy", (0, 0)) for shape in ((2, 4), (32, 32)))
    assert [layer.mark.type for layer in few.layer if layer.mark.type == "text"] == ["text"]
    assert not [layer for layer in many.layer if layer.mark.type == "text"]


def test_layer_0_is_at_the_bottom():
    assert charts.head_map(scores(3, 2), "accuracy", (0, 0)).to_dict()["layer"][0]["encoding"]["y"]["sort"] == [2, 1, 0]


def test_shrinking_keeps_the_strongest_cell_of_a_block_with_its_sign():
    C = np.zeros((128, 128))
    C[70, 3], C[71, 2] = -5.0, 4.0
    small = charts.shrunk(C, 64)
    assert small.shape == (64, 64)
    assert small[35, 1] == -5.0
    assert C.reshape(64, 2, 64, 2).mean((1, 3))[35, 1] == -0.25, "a mean would have hidden it"
    assert charts.shrunk(C, 128) is C
    assert charts.shrunk(np.ones((65, 65)), 64).shape == (33, 33)


def test_canonical_correlations_above_chance_are_blue_and_the_line_is_chance():
    drawn = svg(charts.canonical_correlations(np.array([0.9, 0.6, 0.1]), 0.25))
    assert drawn.count(f'fill="{palette.BLUE}"') == 2
    assert drawn.count(f'stroke="{palette.CHOSEN}"') == 1
    assert svg(charts.canonical_correlations(np.array([0.2, 0.1]), 0.25)).count(f'fill="{palette.BLUE}"') == 0
    bars = charts.canonical_correlations(np.linspace(1, 0, 128), 0.9).layer[0]
    assert len(bars.data if isinstance(bars.data, pl.DataFrame) else []) == 2 * 13 + 8, "not all of many small ones"


def test_the_parts_of_a_bar_sum_to_the_logit_drawn_on_it():
    chart = charts.attribution_bars(TOKENS, ["order", "lexical"])
    bars, tick = (layer.data for layer in chart.layer)
    sums = bars.group_by("token").agg(pl.col("value").sum()).join(tick, on="token")
    np.testing.assert_allclose(sums["value"], sums["logit"])
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["stack"] == "zero"


def test_features_keep_their_colour_on_every_page():
    assert palette.features(["order", "lexical", "rest"]) == [palette.BLUE, palette.ORANGE, palette.GREEN]
    assert palette.features(["lexical", "order", "rest"]) == [palette.ORANGE, palette.BLUE, palette.GREEN]
    mine = palette.features(["order", "mine", "other", "rest"])
    assert len(set(mine)) == 4
    assert mine[0] == palette.BLUE
    assert len(palette.features([f"c{i}" for i in range(12)])) == 12


def test_hostile_tokens_are_drawn_as_text():
    drawn = svg(charts.attribution_bars(TOKENS, ["order", "lexical"]))
    assert "<script" not in drawn
    assert "\u202e" not in drawn
    spec = charts.point_pairs(points(list("ab")), ("x", "y", "z"), "label").to_json(ensure_ascii=False)
    assert "\u202e" not in spec
    assert "U+202E" in spec


def test_random_bars_stand_beside_their_feature():
    told = swaps.beside(
        [
            condition("a", 1, 0.5),
            condition("b", 2, 0.5),
            condition("random of a's rank", 1, 0.1, 10),
            condition("random", 2, 0.1, 10),
        ]
    )
    assert [c["name"] for c in told] == ["a", "random of a's rank", "b", "random"]
    drawn = svg(charts.swap_bars(CONDITIONS))
    assert "order" in drawn
    assert "random × 10" in drawn
    assert "rank 3" in drawn


def test_the_more_swaps_there_are_the_narrower_their_names_stand_and_none_is_left_out():
    names = ["group 0,1,2,3,4,5,9,15", "the other components", "all", "all others"]
    many = [condition(name, i + 1, 0.5) for i, name in enumerate(names)]
    many += [condition("random", i + 1, 0.1, 10) for i in range(4)]
    few = [condition(names[0], 1, 0.5), condition("random", 1, 0.1, 10)]
    for conditions, lines in (
        (many, [["group 0,", "1, 2, 3,", "4, 5, 9,", "15"], ["the other", "components"]]),
        (few, []),
    ):
        axis = charts.swap_bars(conditions).to_dict()["layer"][0]["encoding"]["x"]["axis"]
        told = json.loads(axis["labelExpr"].removesuffix("[+datum.value]"))
        assert axis["labelOverlap"] is False
        assert len(told) == len(conditions)
        assert all(line in [one[:-1] for one in told] for line in lines)
    assert told[0] == ["group 0, 1, 2, 3, 4, 5, 9, 15", "rank 1"]


def test_small_attention_fills_the_plot():
    top = [
        charts.swap_bars([condition("a", 1, after), condition("random", 1, after, 10)]).to_dict()["layer"][0][
            "encoding"
        ]["y"]["scale"]["domain"][1]
        for after in (0.1, 0.9)
    ]
    low = condition("a", 1, 0.1) | {
        "ci": {f"{k}_{w}": (0.0, 0.2) for k in ("original", "target") for w in ("before", "after")}
    }
    assert top == [min(1, 1.05 * 0.92), min(1, 1.05 * 0.92)]
    assert charts.swap_bars([low, low | {"bases": 10}]).to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"][
        1
    ] == pytest.approx(0.21)


def test_a_contrast_name_cannot_break_out_of_the_axis():
    name = "a'\"];alert(1)//"
    drawn = svg(charts.swap_bars([condition(name, 1, 0.5), condition("random", 1, 0.1, 10)]))
    assert "alert(1)" in drawn  # as text


def test_numbers_get_a_ramp_in_their_order_and_rare_words_are_others():
    numbers = charts.point_pairs(points(["10", "9", "1"]), ("x", "y", "z"), "label").to_dict()
    colour = numbers["hconcat"][0]["encoding"]["color"]
    assert colour["scale"]["domain"] == ["1", "9", "10"]
    assert len(set(colour["scale"]["range"])) == 3
    words = [w for i, w in enumerate("abcdefghijk") for _ in range(12 - i)]
    colour = charts.point_pairs(points(words), ("x", "y", "z"), "label").to_dict()["hconcat"][0]["encoding"]["color"]
    assert colour["scale"]["domain"] == [*"abcdefghi", "others"]


def test_a_plane_has_one_plot_and_a_line_one_strip():
    plots = [
        len(charts.point_pairs(points(list("abab"), rank=r), ("x", "y", "z"), "label").to_dict()["hconcat"])
        for r in (1, 2, 3)
    ]
    assert plots == [1, 1, 2]
    line = charts.point_pairs(points(list("abab"), rank=1), ("x", "y", "z"), "label").to_dict()["hconcat"][0]
    assert line["encoding"]["y"]["field"] == "group"


def test_queries_are_triangles_and_keys_circles():
    shape = charts.point_pairs(points(list("ab")), ("x", "y", "z"), "label").to_dict()["hconcat"][0]["encoding"][
        "shape"
    ]["scale"]
    assert dict(zip(shape["domain"], shape["range"])) == {"query": "triangle-up", "key": "circle"}
