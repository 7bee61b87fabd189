"""qkstore.show: the page's own chart, of names and of values, and one line for what is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import get_args

import pytest
import stores
import vl_convert
from conftest import ROOT

import qkstore
from qkstore import analysis
from qkstore.analysis import evidence
from qkstore.charts.show import _CHARTS, What
from qkstore.contrast import example
from qkstore.errors import QKStoreError

PAGES = {
    "heads": ("heads", 0),
    "singular_values": ("subspaces", 0),
    "correlations": ("subspaces", 1),
    "matrix": ("subspaces", 4),
    "null": ("subspaces", 5),
    "angles": ("subspaces", 6),
    "growth": ("subspaces", 7),
    "swaps": ("interventions", 0),
    "query_swaps": ("interventions", 0),
    "doses": ("interventions", -1),
    "attribution": ("attributions", 0),
}  # {what: page, which of its charts}


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("show") / "store")


@pytest.fixture(scope="module")
def store(where):
    return qkstore.open(where)


def spec(chart) -> dict:
    return json.loads(json.dumps(chart.to_dict()))


def rows(chart) -> list[dict]:
    """A chart's data, of one table."""
    (table,) = chart.to_dict()["datasets"].values()
    return table


def drawn(spec: dict) -> dict:
    """What a chart says, without what differs between a page and a notebook: its size, theme, and how data travel."""
    if isinstance(spec, list):
        return [drawn(part) for part in spec]
    if not isinstance(spec, dict):
        return None if spec == " " else spec  # Streamlit's word for a colour without a title
    aside = {
        "width",
        "height",
        "data",
        "datasets",
        "config",
        "autosize",
        "$schema",
        "padding",
        "name",
        "views",
        "usermeta",
    }
    return {key: drawn(value) for key, value in spec.items() if key not in aside}


def specs(app) -> list[dict]:
    return [json.loads(c.proto.spec) for kind in ("vega_lite_chart", "arrow_vega_lite_chart") for c in app.get(kind)]


def test_there_is_a_chart_for_every_name_and_only_for_those():
    assert list(_CHARTS) == list(get_args(What)) == sorted(get_args(What), key=list(_CHARTS).index)
    assert {*PAGES, "projection"} == set(_CHARTS), "the page draws its points by a component of its own"


@pytest.mark.parametrize("what", PAGES)
def test_it_is_the_chart_of_the_page(show, where, what):
    page, number = PAGES[what]
    side = {"side": "queries"} if what == "query_swaps" else {}
    app = show(where, page, run="boxes", contrast="order", layer=0, head=3, **{"and": "lexical"}, **side)
    chart = qkstore.show("boxes", "order", 0, 3, what, other="lexical", store=where)
    assert drawn(spec(chart)) == drawn(specs(app)[number])


def test_points_are_those_of_the_page_in_its_colours(show, where):
    app = show(where, "projections", run="boxes", contrast="order", layer=0, head=3)
    (data,) = [json.loads(e.proto.json) for e in app.get("bidi_component") if "xyz" in e.proto.json]
    chart = qkstore.show("boxes", "order", 0, 3, "projection", store=where).to_dict()
    assert len(next(iter(chart["datasets"].values()))) == data["n"]
    first = chart["hconcat"][0]["encoding"]
    assert data["titles"][:2] == [first["x"]["title"], first["y"]["title"]]
    scale = first["color"]["scale"]
    assert data["groups"] == [list(pair) for pair in zip(scale["domain"], scale["range"])]


@pytest.mark.parametrize("what", get_args(What))
def test_a_notebook_gets_a_width_and_vega_draws_it(store, what):
    chart = qkstore.show(store.run("boxes"), "order", 0, 3, what, other="lexical", dark=True)
    text = chart.to_json()
    assert '"container"' not in text
    root = vl_convert.vegalite_to_svg(text)
    assert 300 < float(root.split('width="')[1].split('"')[0].removesuffix("px")) < 1000


def test_the_numbers_are_the_librarys(store):
    run = store.run("boxes")
    (order,) = store.feature(run, "order")
    bars = rows(qkstore.show(run, "order", 1, 2, "singular_values"))
    assert [bar["value"] for bar in bars] == analysis.covariance(run, order, 1, 2).subspace.S[: len(bars)].tolist()
    angles = rows(qkstore.show(run, "order", 1, 2, "angles", other="lexical"))
    lexical = store.feature(run, "lexical")
    assert angles == evidence.compare(run, (order,), lexical, 1, 2).angles.to_dicts()
    moved = analysis.intervene(run, {"order": (order,)}, 1, 2).conditions[0].target_after
    assert moved in [bar["attention"] for bar in rows(qkstore.show(run, "order", 1, 2))], (
        "swaps, where nothing is named, and without a second contrast"
    )


def test_names_values_and_a_run_file_outside_a_store_give_the_same_chart(store, where, monkeypatch, tmp_path):
    run = store.run("boxes")
    (order,) = store.feature(run, "order")
    wanted = spec(qkstore.show("boxes", "order", 0, 3, store=store))
    assert spec(qkstore.show(run, "order", 0, 3)) == wanted
    assert spec(qkstore.show(run, order, 0, 3)) == wanted
    monkeypatch.setenv("QKSTORE", str(where))
    monkeypatch.chdir(tmp_path)
    assert spec(qkstore.show("boxes", order, 0, 3)) == wanted
    alone = tmp_path / "boxes.duckdb"
    alone.write_bytes(run.path.read_bytes())
    run = qkstore.Run(alone)
    assert spec(qkstore.show(run, "order", 0, 3)) == wanted, "a built-in contrast needs no store"
    assert qkstore.show(run, order, 0, 3, "heads").to_dict()["layer"]


def test_a_saved_contrast_is_found_by_its_name(tmp_path):
    path = stores.write(tmp_path / "store")
    store = qkstore.open(path)
    (order,) = store.feature(store.run("boxes"), "order")
    store.catalog.save(order.replace(name="mine"))
    assert rows(qkstore.show(store.run("boxes"), "mine", 0, 3))[0]["name"] == "mine"


def test_attribution_is_of_the_prompt_that_is_asked_for(store):
    run = store.run("boxes")
    default, first, other = (qkstore.show(run, "order", 0, 3, "attribution", prompt=p) for p in (None, *_judged(run)))
    assert spec(default) == spec(first), "the first prompt that is judged"
    assert spec(default) != spec(other)


def _judged(run) -> list[int]:
    return [row["prompt_id"] for row in example.prompts(run, analysis.judge_split(run), 2)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"what": "swap"}, "no chart 'swap' to show; did you mean 'swaps'"),
        ({"what": None}, "no chart None to show; there are: angles"),
        ({"run": "boxs"}, "no run 'boxs' in the store; did you mean 'boxes'?"),
        ({"contrast": "ordr"}, "no contrast 'ordr' for run 'boxes'; did you mean 'order'"),
        ({"other": "lexicl"}, "no contrast 'lexicl' for run 'boxes'; did you mean 'lexical'"),
        ({"layer": 9}, "9"),
        ({"head": -1}, "-1"),
        ({"what": "angles"}, "name a second contrast beside 'order'"),
        ({"what": "attribution", "prompt": 10**6}, "1000000"),
        ({"store": "nowhere"}, "no store at 'nowhere'"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(where, changed, said):
    asked = {"run": "boxes", "contrast": "order", "layer": 0, "head": 3, "store": where} | changed
    with pytest.raises(QKStoreError) as error:
        qkstore.show(**asked)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


NOTEBOOK = """
import qkstore
store = qkstore.open({store!r})
chart = qkstore.show(store.run("boxes"), "order", 0, 3)
chart
"""


@pytest.mark.slow
def test_in_a_notebook_of_another_folder_the_chart_is_displayed(where, tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    pytest.importorskip("nbconvert", reason="nbconvert is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    cell = nbformat.v4.new_code_cell(NOTEBOOK.format(store=str(where)).strip())
    path = tmp_path / "elsewhere.ipynb"
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    execute = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", path.name]
    said = subprocess.run(
        execute, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240
    )
    assert said.returncode == 0, said.stderr[-2000:]
    (cell,) = nbformat.read(path, as_version=4).cells
    (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
    page = output.data["text/html"]
    shown, _ = json.JSONDecoder().raw_decode(page[page.index('({"config"') + 1 :])
    assert shown["width"] == 640
    assert drawn(shown) == drawn(spec(qkstore.show("boxes", "order", 0, 3, store=where)))
