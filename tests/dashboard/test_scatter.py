"""What the scatter of points is sent, and what it tells.

Every point once, the colours of the charts, its token in its prompt, and no text that could do harm.
"""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode, b64encode

import numpy as np
import polars as pl
import pytest
import stores

import qkstore
from dashboard.points import heads, scatter
from qkstore import charts
from qkstore.analysis import project
from qkstore.analysis.points import Context, around
from qkstore.charts import palette
from qkstore.contrast import Contrast
from qkstore.text import visible

TITLES = ("PC1 (50%)", "PC2 (30%)", "PC3 (10%)")
ORDER = Contrast(
    "order",
    "k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot'",
    "k.order_id = q.queried_order",
    "k.order_id <> q.queried_order",
)
HOSTILE = "<img src=x onerror=alert(1)>\u202e"
WORDS = [w for i, w in enumerate("abcdefghijk") for _ in range(12 - i)]
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


def sent(table: pl.DataFrame, legend: str = "label", dark: bool = False, context=None) -> dict:
    """The payload after its way to the browser."""
    return json.loads(json.dumps(scatter.payload(table, TITLES, legend, dark, context=context)))


def unpacked(data: dict, name: str, kind: str) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(b64decode(data[name])), np.uint8)
    return np.ascontiguousarray(planes.reshape(np.dtype(kind).itemsize, -1).T).view(kind).ravel()


def decoded(data: dict) -> pl.DataFrame:
    """The points that a payload holds."""
    grid, group = (np.frombuffer(b64decode(data[name]), "<u2") for name in ("xyz", "group"))
    xyz = data["low"] + grid.reshape(-1, 3) / scatter.GRID * np.subtract(data["high"], data["low"])
    prompt, token = (unpacked(data, name, "<u4") for name in ("prompt", "token"))
    token = token[unpacked(data, "at", "<u4")]
    sides = ["key"] * data["keys"] + ["query"] * (len(xyz) - data["keys"])
    return pl.DataFrame(
        {
            "side": sides,
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": [data["groups"][g][0] for g in group],
            "prompt_id": prompt,
            "text": [data["texts"][t] for t in token],
        }
    )


@pytest.mark.parametrize("rank", [3, 2, 1])
def test_every_point_is_sent_once_with_what_is_told_of_it(rank):
    table = points(list("abc") * 5, rank)
    found = decoded(sent(table)).sort("prompt_id")
    np.testing.assert_allclose(
        found.select("x", "y", "z").to_numpy(), table.select("x", "y", "z").to_numpy(), atol=1e-4
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
    assert set(found["group"]) == {*"abcdefghi", charts.OTHERS}
    assert (found["group"] == charts.OTHERS).sum() == sum(w in "jk" for w in WORDS) + 1
    assert decoded(sent(points(["1", None, "2"])))["group"].to_list().count(charts.OTHERS) == 1


def test_which_words_get_a_colour_does_not_hang_on_the_order_of_points():
    ties = [w for w in "abcdefghijkl" for _ in range(4)]
    assert len({json.dumps(sent(points(order))["groups"]) for order in (ties, ties[::-1], sorted(ties, key=ord))}) == 1


def test_what_a_reader_could_not_see_is_spelled_out():
    data = sent(points([HOSTILE, "b"] * 2, text=HOSTILE), legend=HOSTILE)
    whole = json.dumps(data, ensure_ascii=False)
    assert "\u202e" not in whole
    assert "U+202E" in data["legend"]
    assert "<img src=x onerror=alert(1)>U+202E0" in data["texts"]  # otherwise as it is: the browser shows it as text
    assert data["groups"][0][0] == "<img src=x onerror=alert(1)>U+202E"


def test_the_picture_has_a_description_with_its_counts():
    about = sent(points(list("ab") * 1500 + ["a"]), legend="order")["about"]
    assert "1,500 queries (triangles) and 1,501 keys (circles)" in about
    assert "colour: order" in about
    assert all(title in about for title in TITLES)


def told_about(words: list[str], apart: int):
    """Neighbours of points that stand `apart` tokens from each other in one long prompt of these words."""

    def context(table: pl.DataFrame, reach: int) -> Context:
        places = apart * np.arange(len(table))
        near = np.unique((places[:, None] + np.arange(-reach, reach + 1)).clip(0))
        texts, token = np.unique(np.array(words)[near % len(words)], return_inverse=True)
        return Context(tuple(texts.tolist()), token, np.diff(near, prepend=-9) == 1, np.searchsorted(near, places))

    return context


@pytest.mark.parametrize(("apart", "least"), [(1, 8), (40, 3)])
def test_thirty_thousand_points_with_their_neighbours_are_less_than_a_megabyte(apart, least):
    """Points close together share neighbours; of points far apart as many are sent as there is room for."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"word{i}" for i in range(20_000)])
    words = vocabulary[(rng.zipf(1.2, 200_000) - 1) % len(vocabulary)].tolist()  # of natural text, few are many
    table = points([f"w{i % 9}" for i in range(30_000)])
    data = sent(table, context=told_about(words, apart))
    assert len(json.dumps(data)) <= scatter.MOST_BYTES < 1_000_000 < len(json.dumps(table.rows()))
    assert data["n"] == 30_000
    assert data["reach"] >= least
    own = told_about(words, apart)(scatter.ordered(table), 0)
    token = unpacked(data, "token", "<u4")[unpacked(data, "at", "<u4")]
    assert [data["texts"][t] for t in token[:50]] == [own.texts[t] for t in own.token[own.at[:50]]]


def test_a_point_is_told_with_its_neighbours_in_its_prompt(store):
    run = qkstore.open(store).run("boxes")
    table = project(run, (ORDER,), 1, 0, "queried_order", "order_id").table
    data = sent(table, context=lambda t, reach: around(run, t["prompt_id"].to_numpy(), t["pos"].to_numpy(), reach))
    token, at, follows = (unpacked(data, n, k) for n, k in (("token", "<u4"), ("at", "<u4"), ("follows", "u1")))
    shown = scatter.ordered(table)
    for i in (0, 17, len(table) - 1):
        texts = [t["text"] for t in run.tokens(shown["prompt_id"][i])]
        pos, own, start, end = shown["pos"][i], at[i], at[i], at[i] + 1
        while own - start < data["reach"] and follows[start]:
            start -= 1
        while end - own <= data["reach"] and end < len(token) and follows[end]:
            end += 1
        near = [visible(t) for t in texts[max(0, pos - data["reach"]) : pos + data["reach"] + 1]]
        assert [data["texts"][t] for t in token[start:end]] == near


def test_what_was_chosen_is_read_back_and_nothing_else_is():
    data = sent(points(list("abcabcabc")))
    packed = b64encode(np.packbits([0, 1, 0, 0, 0, 0, 0, 1, 1]).tobytes()).decode()
    assert scatter.chosen({"of": data["stamp"], "bits": packed}, data).tolist() == [1, 7, 8]
    for told in (None, 7, {}, {"of": "other", "bits": packed}, {"of": data["stamp"], "bits": "%"}):
        assert scatter.chosen(told, data) is None
    moved = sent(points(list("abcabcabc"), seed=1))
    assert scatter.chosen({"of": data["stamp"], "bits": packed}, moved) is None, "those are other points"
    assert sent(points(list("abcabcabc")), dark=True)["stamp"] == data["stamp"], "colours change no choice"


def test_the_browsers_part_makes_no_html_of_data_and_asks_for_nothing():
    for source in (scatter.SCRIPT, heads.SCRIPT):
        assert not UNSAFE.search(source)
        assert not OUTSIDE.search(source)
    assert not OUTSIDE.search(scatter.CSS + heads.CSS)
    # the check can fail
    assert UNSAFE.search("a.innerHTML = b")
    assert OUTSIDE.search('import x from "y"')
    assert OUTSIDE.search("url(https://a)")


# -- the page ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store")


def drawn(app) -> list[dict]:
    """What the pictures of a page are sent."""
    return [json.loads(e.proto.json) for e in app.get("bidi_component") if "xyz" in e.proto.json]


@pytest.mark.parametrize("plot", ["2d", "3d"])
def test_the_page_draws_all_points(show, store, plot):
    app = show(store, "projections", plot=plot)
    assert not app.exception
    assert not app.error
    (data,) = drawn(app)
    assert data["plot"] == plot
    told = int(app.metric[0].value.replace(",", ""))
    assert len(decoded(data)) == told == 375


def test_an_address_with_another_plot_is_told_and_the_plane_shown(show, store):
    app = show(store, "projections", plot="4d")
    assert drawn(app)[0]["plot"] == "2d"
    assert "4d" in app.warning[0].value
    assert "3d" in app.warning[0].value
