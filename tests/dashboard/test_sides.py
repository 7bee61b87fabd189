"""The pages of swaps by side and by dose, and of growth: what they show is what the library computes."""

from __future__ import annotations

import json

import pytest
import stores

import qkstore
from qkstore import analysis, charts
from qkstore.analysis import evidence, swaps, variations


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store")


def specs(app) -> list[dict]:
    return [json.loads(c.proto.spec) for kind in ("vega_lite_chart", "arrow_vega_lite_chart") for c in app.get(kind)]


def said(app) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def test_swaps_of_queries_are_shown_on_request(show, store, monkeypatch):
    monkeypatch.chdir(store.parent)
    found = swaps.intervene_queries(*_asked(store, "order", "lexical"), 0, 0)
    app = show(store, "interventions", run="boxes", contrast="order", layer=0, head=0, side="queries")
    assert not app.exception
    assert not app.error
    assert not app.warning
    assert "takes on the coordinates of another" in said(app)
    assert f"{found.stored:.0%}".replace("%", " %") in said(app)
    assert {m.label: m.value for m in app.metric}["Queries"] == f"{found.n:,}"
    keys = show(store, "interventions", run="boxes", contrast="order", layer=0, head=0)
    assert "equals a re-run of the model" in said(keys)
    assert "takes on the coordinates of another that" not in said(keys)
    assert any("--side queries" in c.value for c in app.code)
    assert not any("--side" in c.value for c in keys.code)
    for page, result in ((app, found), (keys, analysis.intervene(*_asked(store, "order", "lexical"), 0, 0))):
        (code,) = [c.value for c in page.code if c.language == "python"]
        assert _run(code)["swaps"].conditions == result.conditions


def _run(code: str) -> dict:
    names: dict = {}
    exec(code, names)
    return names


def _asked(store, *names):
    store = qkstore.open(store)
    run = store.run("boxes")
    return run, {name: store.feature(run, name) for name in names}


def test_doses_and_growth_are_charts_of_their_pages(show, store):
    run, features = _asked(store, "order", "lexical")
    app = show(store, "interventions", run="boxes", contrast="lexical", layer=0, head=0)
    found = variations.response(run, features["lexical"], 0, 0)
    assert f"subspace of rank {found.rank}" in said(app)
    assert any("Dose" in json.dumps(s) for s in specs(app))
    app = show(store, "subspaces", run="boxes", contrast="lexical", layer=0, head=0)
    grown = evidence.growth(run, features["lexical"][0], 0, 0)
    assert f"of the {grown.total:,} values of queried_entity" in said(app)
    assert not app.error


@pytest.mark.parametrize("dark", [False, True])
def test_curves_have_every_coordinate_and_a_baseline(store, dark):
    run, features = _asked(store, "lexical")
    table = variations.response(run, features["lexical"], 0, 0, doses=(0.0, 1.0)).table
    spec = charts.dose_curves(table, dark).to_dict()
    domain = spec["layer"][1]["encoding"]["color"]["scale"]["domain"]
    assert domain[0] == "all coordinates"
    assert domain[-1] == "random, same rank"
    assert len(domain) == table["coordinate"].n_unique()
    assert len(set(spec["layer"][1]["encoding"]["color"]["scale"]["range"])) >= min(3, len(domain))
    grown = evidence.growth(run, features["lexical"][0], 0, 0, draws=2)
    text = json.dumps(charts.rank_growth(grown.table, grown.label, dark).to_dict())
    assert "Values of queried_entity" in text
    assert "99 % rank" in text
