"""What the check found about a contrast is carried to the pages that use it: small, once, and with a link."""

from __future__ import annotations

import pytest
import stores

import qkstore
from dashboard import results
from qkstore.contrast import Contrast, check

ALONE = "k.prompt_id = q.prompt_id and k.role = 'box'"
SIDES = {"positive": "k.order_id = q.queried_order", "negative": "k.order_id <> q.queried_order"}
EXPLAIN = ("heads", "subspaces", "projections", "interventions", "attributions")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A contrast of few queries, one of many, and one whose check fails as it has no pairs."""
    store = qkstore.open(stores.write(tmp_path_factory.mktemp("found") / "store"))
    few = f"{ALONE} and (q.prompt_id < 60 or q.split = 'test')"
    for name, where in (("few", few), ("many", ALONE), ("empty", f"{ALONE} and q.prompt_id < 0")):
        store.catalog.save(Contrast(name, where, **SIDES))
    return store.where


def carried(app) -> list[str]:
    return [line for e in app.get("html") if "Check of " in (line := e.proto.body)]


def links(app) -> list[str]:
    return [e.proto.label for e in app.get("page_link") if e.proto.label == "What it means"]


@pytest.mark.parametrize("page", EXPLAIN)
def test_a_warning_is_one_line_on_every_page_that_uses_the_contrast(show, store, page):
    app = show(store, page, contrast="few", layer=1, head=0)
    (line,) = carried(app)
    assert "Check of few: few queries: " in line
    assert "mostly noise" not in line, "what follows from it stands on the Contrasts page"
    assert links(app) == ["What it means"]


@pytest.mark.parametrize("page", EXPLAIN)
def test_control_a_contrast_that_nothing_is_wrong_with_carries_nothing(show, store, page):
    app = show(store, page, contrast="many", layer=1, head=0)
    assert carried(app) == links(app) == []
    assert not app.exception


def test_the_contrasts_page_has_its_own_preview_of_it(show, store):
    app = show(store, "contrasts", contrast="few")
    assert carried(app) == []
    assert any("few queries" in w.value for w in app.warning)


def test_the_second_contrast_s_finding_is_carried_too(show, store):
    app = show(store, "interventions", contrast="many", layer=1, head=0, **{"and": "few"})
    assert [("few queries" in line) for line in carried(app)] == [True]


def test_a_check_that_fails_is_told_by_the_page_itself_and_once(show, store):
    app = show(store, "subspaces", contrast="empty", layer=1, head=0)
    assert carried(app) == []
    assert len(app.error) == 1


def test_a_warm_rerun_checks_nothing(show, store, monkeypatch):
    app = show(store, "interventions", contrast="few", layer=1, head=0)
    monkeypatch.setattr(check, "_Sides", None)
    app.run()
    assert len(carried(app)) == 1
    assert not app.exception


def test_control_a_cold_one_does(store, monkeypatch):
    run = qkstore.open(store).run("boxes")
    monkeypatch.setattr(check, "_Sides", None)
    results.warned.clear()
    results.findings.clear()
    with pytest.raises(TypeError):
        results.warned(run, Contrast("few", ALONE, **SIDES), "train")
