"""The foot of every page: what it offers, each of it made and read back, and what is made before that: nothing."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace
from urllib.parse import parse_qs, parse_qsl, urlencode

import duckdb
import polars as pl
import pytest
from leaving import about, offers, svg, texts  # noqa: F401 -- a fixture
from PIL import Image
from test_pages import IMAGE, PAGES, SCRIPT, own, store  # noqa: F401 -- fixtures

import qkstore
from dashboard import panel
from dashboard.share import files, foot
from dashboard.share.notebook import notebook, text
from qkstore.charts import palette

DARK = {colour.lower() for colour in (*palette.ramp(True), palette.ink(True), palette.quiet(True))}
LIGHT = {colour.lower() for colour in (*palette.ramp(), palette.ink(), palette.quiet())}
OF_A_STORE = ("overview", "runs", "discover", "notes", "team")  # or of a run whatever the contrast
OF_A_RUN = [page for page in PAGES if page not in OF_A_STORE]


def made(app):
    return app.session_state["made"]


def query(app) -> str:
    """What the component of the link is given."""
    (link,) = [e for e in app.get("bidi_component") if "query" in e.proto.json]
    return json.loads(link.proto.json)["query"]


def drawn(app) -> int:
    """Charts, and pictures of points, which the browser draws and a chart is given for."""
    pictures = [e for e in app.get("bidi_component") if "xyz" in e.proto.json]
    return len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")) + len(pictures)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_ends_with_one_expander_that_lists_all_it_drew(show, store, page):
    app = show(store, page)
    assert [e.label for e in app.expander].count("Share") == 1
    assert len(made(app).figures) == drawn(app)
    listed = app.selectbox(key="share-figure").options if drawn(app) else []
    assert list(listed) == list(made(app).figures)
    assert not [b for b in app.get("download_button") if not b.proto.id.count("share-")]


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_made_before_it_is_asked_for(show, store, page, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("made unasked")

    for name in ("drawn", "csv_bytes", "parquet", "npz"):
        monkeypatch.setattr(files, name, asked)
    monkeypatch.setattr(foot, "notebook", asked)
    assert not show(store, page).error


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_of_every_page_in_every_format(show, store, page, monkeypatch):
    """In light colours from a page that is dark."""
    monkeypatch.setattr(panel, "dark", lambda: True)
    app = show(store, page)
    for what, draw in made(app).figures.items():
        data = files.drawn(draw, "svg", 3.25, what, {"run": "boxes"})
        colours = set(re.findall("#[0-9a-f]{6}", data.decode().lower()))
        assert not colours & DARK, what
        assert svg(data).get("width") == "3.25in", what
        assert texts(data), what
        image = Image.open(io.BytesIO(files.drawn(draw, "png", 6.75, what, {})))
        assert image.width == 2025
        assert files.drawn(draw, "pdf", 3.25, what, {}).startswith(b"%PDF")


def test_a_chart_drawn_for_the_dark_would_be_found(show, store):
    app = show(store, "heads")
    dark = made(app).figures["map"](dark=True)
    data = files.figure(dark, "svg")
    assert set(re.findall("#[0-9a-f]{6}", data.decode().lower())) & DARK
    light = files.drawn(made(app).figures["map"], "svg", 3.25, "map", {}).decode().lower()
    assert set(re.findall("#[0-9a-f]{6}", light)) & LIGHT


@pytest.mark.parametrize("page", OF_A_RUN)
def test_the_buttons_make_files_that_say_what_they_are_of(show, store, offers, page):
    app = show(store, page, contrast="lexical")
    run = qkstore.open(store).run("boxes")
    for label, offer in offers.items():
        data = offer.data
        assert len(data) > 300, label
        assert re.fullmatch(r"boxes-lexical(-L1H\d)?-[\w.-]+\.(svg|png|pdf|csv|parquet|npz|ipynb)", offer.name)
    if drawn(app):
        told = about(offers["SVG"].data)
        assert told["run"] == "boxes"
        assert told["run digest"] == run.digest
        assert told["contrast"] == "lexical"
        assert told["contrast key"] == qkstore.open(store).feature(run, "lexical")[0].key
        assert told["code"].startswith("qkstore 0.")
        assert "contrast=lexical" in told["address"]


@pytest.mark.parametrize("page", PAGES)
def test_every_table_of_every_page_comes_back(show, store, page):
    told = {"run": "boxes", "where": "a\nb"}
    for what, table in made(show(store, page)).tables.items():
        text = io.BytesIO(files.csv_bytes(table, told))
        back = pl.read_csv(text, comment_prefix="#", schema=table.schema)
        numbers = [name for name in table.columns if table[name].dtype.is_numeric()]
        assert (back.columns, back.height) == (table.columns, table.height), what
        assert back.select(numbers).equals(table.select(numbers)), what
        assert pl.read_parquet(io.BytesIO(files.parquet(table, told))).equals(table), what


def test_parquet_says_what_it_was_made_of_to_duckdb(show, store, offers, tmp_path):
    show(store, "interventions", contrast="order")
    (tmp_path / "x.parquet").write_bytes(offers["Parquet"].data)
    rows = duckdb.sql(f"select decode(key), decode(value) from parquet_kv_metadata('{tmp_path}/x.parquet')").fetchall()
    told = dict(rows)
    order, lexical = (qkstore.open(store).feature(qkstore.open(store).run("boxes"), n)[0] for n in ("order", "lexical"))
    assert told["contrast positive"] == order.positive
    assert (told["and"], told["and key"]) == ("lexical", lexical.key), "the second contrast is chosen by default"
    assert told["address"].startswith(("http", "?"))


# -- the link ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_the_link_of_a_page_opens_that_page_as_it_is(show, store, page):
    first = show(store, page)
    asked = dict(parse_qsl(query(first)))
    if page in OF_A_RUN:
        assert {"run", "contrast"} <= asked.keys()
    again = show(store, page, **asked)
    assert not again.warning
    assert query(again) == query(first)
    assert [m.value for m in again.metric] == [m.value for m in first.metric]


def test_the_link_names_what_the_address_does_not(show, store):
    asked = parse_qs(query(show(store, "projections")))
    assert asked["contrast"] == ["order"]
    assert asked["method"] == ["pca"]
    assert asked["plot"] == ["2d"]
    assert {"layer", "head", "q", "k"} <= asked.keys()


def test_the_link_keeps_its_version_when_there_is_a_newer_one(show, own):
    saved = qkstore.open(own).catalog
    order = qkstore.open(own).feature(qkstore.open(own).run("boxes"), "order")[0]
    saved.save(order.replace(name="mine"))
    asked = dict(parse_qsl(query(show(own, "heads", contrast="mine"))))
    assert asked["contrast"] == "mine@1"
    saved.save(order.replace(name="mine", weighting="query"))
    app = show(own, "heads", **asked)
    assert app.selectbox(key="url-contrast").value == "mine@1"
    assert dict(parse_qsl(query(app)))["contrast"] == "mine@1"


# -- what others wrote ---------------------------------------------------------------------------------------------

HOSTILE = [
    f"a {IMAGE} **b** {SCRIPT}",
    "../../etc/passwd",
    'x"; rm -rf ~',
    "a\\(b\\) $x$ ~y~",
    "=1+1",
    "#x, #y",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_break_no_file(show, own, offers, name):
    order = qkstore.open(own).feature(qkstore.open(own).run("boxes"), "order")[0]
    qkstore.open(own).catalog.save(order.replace(name=name))
    app = show(own, "heads", contrast=name)
    assert not app.exception
    for offer in offers.values():
        assert re.fullmatch(r"[\w+-][\w.+-]{0,130}", offer.name), offer.name
    assert about(offers["SVG"].data)["contrast"] == f"{name}@1"
    assert not [e for e in svg(offers["SVG"].data).iter() if e.tag.endswith("script")]
    markdown = json.loads(offers["Notebook"].data)["cells"][0]["source"]
    assert not re.findall(r"[!<>$*\\\[`]", markdown)
    assert pl.read_csv(io.BytesIO(offers["CSV"].data), comment_prefix="#").height == 8


@pytest.mark.parametrize("told", ["a\nb", "\u202egnp", "<script>", "# x\n", "[a](b)", "\\begin{x}", "a\0", "---"])
def test_a_hostile_name_stays_in_its_line_of_a_notebook(told):
    made = json.loads(notebook("Heads", "why?", {"run": told, told: "x"}, "x = 1\n", "chart"))
    lines = made["cells"][0]["source"].splitlines()
    assert len([line for line in lines if line.startswith("- ")]) == 2
    assert len(lines) == 8
    assert not re.search(r"[<>\[\]#\\\u202e\0]", text(told).replace("&#", ""))


@pytest.mark.parametrize("name", ["../x", "a/b\\c", "a\nb\r\0", "\u202egnp", "...", "", "x" * 500, 'a"b;c', "-rf"])
def test_a_files_name_is_one_of_a_file(name):
    view = SimpleNamespace(run=SimpleNamespace(name=name), name=name, layer=1, head=2)
    for told in (files.name(view, name, "csv"), files.name(None, name, "csv")):
        assert re.fullmatch(r"[\w+-][\w.+-]{0,120}\.csv", told), told


# -- logins --------------------------------------------------------------------------------------------------------


def test_a_choice_in_the_foot_asks_again_who_is_there(show, store, monkeypatch):
    """What a fragment runs does not pass app.py."""
    asked = []
    real = foot.shell.login
    monkeypatch.setattr(foot.shell, "login", lambda: asked.append(1) or real())
    show(store, "overview")
    before = len(asked)
    monkeypatch.setattr(foot, "_foot", lambda page: None)
    asked.clear()
    show(store, "overview")
    assert before == len(asked) + 1


def test_an_address_of_many_signs_is_one_query(show, store):
    asked = dict(parse_qsl(query(show(store, "heads", note="a&b=c#d\ne"))))
    assert asked["note"] == "a&b=c#d\ne"
    assert urlencode(asked)
