"""What the three-dimensional scatter is sent.

Every point once, the colours of the 2-D charts, and no text that could do harm.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode

import numpy as np
import polars as pl
import pytest
import stores

from dashboard import space
from qkstore import charts
from qkstore.charts import palette

TITLES = ("PC1 (50%)", "PC2 (30%)", "PC3 (10%)")
HOSTILE = "<img src=x onerror=alert(1)>\u202e"
WORDS = [w for i, w in enumerate("abcdefgh") for _ in range(9 - i)]
GROUPS = {
    "words": list("ab") * 4,
    "rare words": WORDS,
    "numbers": ["10", "9", "1", "-3"] * 3,
    "many numbers": [str(i) for i in range(300)],
}
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\b|new Function"
)
OUTSIDE = re.compile(r"https?:|\bfetch\(|\bimport\b|XMLHttpRequest|WebSocket|@import|url\(")


def points(groups: list[str | None], rank: int = 3, text: str = " a", seed: int = 0) -> pl.DataFrame:
    """Points whose sides alternate, the first a key; coordinates beyond the rank are 0."""
    n = len(groups)
    xyz = np.random.default_rng(seed).normal(size=(n, 3)) * (np.arange(3) < rank)
    return pl.DataFrame(
        {
            "side": ["query" if i % 2 else "key" for i in range(n)],
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": groups,
            "prompt_id": [7 * i for i in range(n)],
            "text": [f"{text}{i % 3}" for i in range(n)],
        },
        schema_overrides={"side": pl.String, "group": pl.String, "prompt_id": pl.Int64, "text": pl.String},
    )


def sent(table: pl.DataFrame, legend: str = "label", dark: bool = False) -> dict:
    """The payload after its way to the browser."""
    return json.loads(json.dumps(space.payload(table, TITLES, legend, dark)))


def decoded(data: dict) -> pl.DataFrame:
    """The points that a payload holds."""
    xyz = np.frombuffer(b64decode(data["xyz"]), "<f4").reshape(-1, 3)
    group, token, prompt = (np.frombuffer(b64decode(data[name]), "<i4") for name in ("group", "token", "prompt"))
    sides = ["key"] * data["keys"] + ["query"] * (len(xyz) - data["keys"])
    return pl.DataFrame(
        {
            "side": sides,
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": [data["groups"][g][0] for g in group],
            "prompt_id": prompt,
            "text": [data["tokens"][t] for t in token],
        }
    )


@pytest.mark.parametrize("rank", [3, 2, 1])
def test_every_point_is_sent_once_with_what_is_told_of_it(rank):
    table = points(list("abc") * 5, rank)
    found = decoded(sent(table)).sort("prompt_id")
    np.testing.assert_allclose(
        found.select("x", "y", "z").to_numpy(), table.select("x", "y", "z").to_numpy(), rtol=1e-6
    )
    for name in ("side", "group", "prompt_id"):
        assert found[name].to_list() == table[name].to_list()
    assert found["text"].to_list() == [t.replace(" ", "·") for t in table["text"]]
    assert (found["z"] != 0).any() == (rank == 3)


def test_no_points_are_no_error():
    assert decoded(sent(points([]))).is_empty()
    assert sent(points([]))["about"].startswith("0 queries (triangles) and 0 keys")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", GROUPS)
def test_labels_have_the_colours_and_the_order_of_the_plane(kind, dark):
    table = points(GROUPS[kind])
    scale = charts.point_pairs(table, TITLES, "label", dark).to_dict()["hconcat"][0]["encoding"]["color"]["scale"]
    assert sent(table, dark=dark)["groups"] == [
        list(pair) for pair in zip(scale["domain"], scale["range"], strict=True)
    ]


def test_colours_are_those_of_the_theme():
    light, dark = (sent(points(["1", "2"]), dark=dark) for dark in (False, True))
    assert light["groups"] != dark["groups"]
    assert (light["ink"], dark["ink"]) == (palette.ink(False), palette.ink(True))


def test_words_that_are_rare_or_missing_are_others():
    found = decoded(sent(points([*WORDS, None])))
    assert set(found["group"]) == {*"abcdef", charts.OTHERS}
    assert (found["group"] == charts.OTHERS).sum() == sum(w in "gh" for w in WORDS) + 1
    assert decoded(sent(points(["1", None, "2"])))["group"].to_list().count(charts.OTHERS) == 1


def test_which_words_get_a_colour_does_not_hang_on_the_order_of_points():
    ties = [w for w in "abcdefghij" for _ in range(4)]
    assert len({json.dumps(sent(points(order))["groups"]) for order in (ties, ties[::-1], sorted(ties, key=ord))}) == 1


def test_what_a_reader_could_not_see_is_spelled_out():
    data = sent(points([HOSTILE, "b"] * 2, text=HOSTILE), legend=HOSTILE)
    whole = json.dumps(data, ensure_ascii=False)
    assert "\u202e" not in whole
    assert "U+202E" in data["legend"]
    assert "<img src=x onerror=alert(1)>U+202E0" in data["tokens"]  # otherwise as it is: the browser shows it as text
    assert data["groups"][0][0] == "<img src=x onerror=alert(1)>U+202E"


def test_the_picture_has_a_description_with_its_counts():
    about = sent(points(list("ab") * 1500 + ["a"]), legend="order")["about"]
    assert "1,500 queries (triangles) and 1,501 keys (circles)" in about
    assert "colour: order" in about
    assert all(title in about for title in TITLES)


def test_thirty_thousand_points_are_about_a_megabyte():
    table = points([f"w{i % 6}" for i in range(30_000)]).with_columns(
        text=pl.Series([f" token{i % 2000}" for i in range(30_000)])
    )
    assert len(json.dumps(sent(table))) < 1.1e6 < len(json.dumps(table.rows()))


def test_the_browsers_part_makes_no_html_of_data_and_asks_for_nothing():
    for source in (space.SCENE, space.PLOT):
        assert not UNSAFE.search(source)
        assert not OUTSIDE.search(source)
    assert not OUTSIDE.search(space.CSS)
    # the check can fail
    assert UNSAFE.search("a.innerHTML = b")
    assert OUTSIDE.search('import x from "y"')
    assert OUTSIDE.search("url(https://a)")


# -- the page ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store")


def drawn(app) -> tuple[int, int]:
    """How many charts of two and of three dimensions a page has."""
    return len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")), len(app.get("bidi_component"))


def test_the_page_shows_the_plane_until_the_address_asks_for_space(show, store):
    assert drawn(show(store, "projections")) == (1, 0)
    app = show(store, "projections", plot="3d")
    assert drawn(app) == (0, 1)
    assert not app.exception
    assert not app.error
    told = int(app.metric[0].value.replace(",", ""))
    assert len(decoded(json.loads(app.get("bidi_component")[0].proto.json))) == told > 0


def test_an_address_with_another_plot_is_told_and_the_plane_shown(show, store):
    app = show(store, "projections", plot="4d")
    assert drawn(app) == (1, 0)
    assert "4d" in app.warning[0].value
    assert "3d" in app.warning[0].value
