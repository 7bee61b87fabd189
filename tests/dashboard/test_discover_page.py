"""The Discover page: what it lists, where its rows lead, what it saves, and how a long search begins."""

from __future__ import annotations

import pytest
import stores
from test_pages import html

import qkstore
from dashboard.discover import listing, search
from qkstore.analysis import discovery

NAME = "found-order_id-queried_order-box-apart"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("found") / "store", n=600)


def metric(app, label: str) -> str:
    return next(m.value for m in app.metric if m.label == label)


def test_it_lists_what_was_planted(show, store):
    app = show(store, "discover")
    assert not app.exception
    table = app.dataframe[0].value
    assert set(zip(table["layer"], table["head"])) == {(1, 0), (1, 1)}
    assert metric(app, "Found") == "2"
    assert metric(app, "Heads") == "2"
    assert "6 label pairs × 8 heads = 48 tests" in html(app)
    assert list(table.columns)[:4] == ["layer", "head", "feature", "swap"], "what a narrow screen shows"
    left = app.dataframe[1].value
    assert "it has one value" in set(left["why"])


def test_a_stricter_rate_and_the_best_of_each_head_are_in_the_address(show, store):
    app = show(store, "discover", fdr=0.01, each="best")
    assert app.selectbox(key="url-fdr").value == 0.01
    assert "--fdr 0.01 --best" in "\n".join(c.value for c in app.code)


def test_a_link_leads_to_the_head_under_the_contrast_that_nobody_has_saved(show, store):
    found = discovery.discover(qkstore.open(store).run("boxes"))
    top = found.found()[0]
    links = [e.proto for e in show(store, "discover").get("page_link")]
    (first,) = [p for p in links if p.label.startswith(f"L{top.layer}") and f"H{top.head}" in p.label]
    assert f"contrast={NAME}" in first.query_string
    app = show(store, "head", run="boxes", contrast=NAME, layer=top.layer, head=top.head)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="url-contrast").value == NAME
    assert not app.warning


@pytest.mark.parametrize("page", ["subspaces", "interventions"])
def test_the_python_of_a_page_finds_the_contrast_that_nobody_has_saved(show, store, page, monkeypatch, capsys):
    app = show(store, page, run="boxes", contrast=NAME, layer=1, head=0)
    code = next(c.value for c in app.code if c.language == "python")
    assert f"discovery.named(store, run, {NAME!r})" in code
    monkeypatch.chdir(store.parent)
    exec(code, {})
    assert capsys.readouterr().out


def test_a_name_that_no_match_has_is_told(show, store):
    app = show(store, "head", run="boxes", contrast="found-nothing")
    assert any("nothing" in w.value and "is not here" in w.value for w in app.warning)


def test_a_row_that_is_clicked_opens_its_head(show, store, monkeypatch):
    went = []
    monkeypatch.setattr(listing.st, "switch_page", lambda page, query_params: went.append((page.title, query_params)))
    app = show(store, "discover")
    app.session_state[listing.GO] = 0
    app.run()
    top = discovery.discover(qkstore.open(store).run("boxes")).found()[0]
    assert went == [("Head", {"run": "boxes", "contrast": NAME, "layer": str(top.layer), "head": str(top.head)})]


def test_one_button_saves_what_was_found(show, tmp_path):
    path = stores.write(tmp_path / "store", n=600)
    app = show(path, "discover")
    next(b for b in app.button if b.label == "Save it as a contrast").click()
    app.run()
    assert any("version 1" in t.value for t in app.toast)
    assert [c.name for c in qkstore.open(path).catalog.contrasts()] == [NAME]
    assert qkstore.open(path).catalog.contrast(NAME).pairs


def test_a_long_search_waits_for_a_button(show, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "AT_ONCE", 10)
    app = show(stores.write(tmp_path / "store", n=600), "discover")
    assert not app.metric
    (button,) = [b for b in app.button if b.label == "Look for what its heads match on"]
    button.click()
    app.run()
    assert metric(app, "Found") == "2"


def test_what_the_catalogue_keeps_needs_no_button(show, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "AT_ONCE", 10)
    path = stores.write(tmp_path / "store", n=600)
    discovery.kept(qkstore.open(path), qkstore.open(path).run("boxes"))
    assert metric(show(path, "discover"), "Found") == "2"


def test_nothing_found_is_said(show, tmp_path):
    import numpy as np

    data = stores.boxes(600)
    data.q = data.q[:, :, np.random.default_rng(0).permutation(data.q.shape[2])]
    app = show(stores.write(tmp_path / "store", data=data), "discover")
    assert any("No head was found to match" in i.value for i in app.info)
    assert metric(app, "Found") == "0"
