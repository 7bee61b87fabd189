"""Heads and runs on which figures have no value: layer 0, whose queries are all alike, and a run of one prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import stores
from test_pages import html

from dashboard import shell
from qkstore.text import percent

PAGES = [name for names in shell.GROUPS.values() for name in names if name != "toy"]  # of toy runs
FAULT = "This view failed"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Runs whose queries of layer 0 are one vector, as of one token at one place, and runs of one prompt."""
    path = tmp_path_factory.mktemp("alike") / "store"
    for name, data in (("boxes", stores.boxes()), ("lists", stores.lists())):
        data.q[0] = data.q[0, :, :1]
        stores.write(path, f"{name}-alike", data)
    stores.write(path, "boxes-one", stores.boxes(1))
    stores.write(path, "lists-one", stores.lists(1))
    return path


@pytest.fixture
def no_fault(show, store):
    """no_fault(page, **choices) -> the page, on which no view failed."""

    def run(page: str, **choices):
        app = show(store, page, **choices)
        assert not app.exception, (page, choices)
        assert not [e.value for e in app.error if FAULT in e.value], (page, choices)
        assert app.title
        return app

    return run


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("run", "contrast"), [("boxes", "order"), ("lists", "category")])
def test_every_page_shows_a_head_whose_queries_are_alike(no_fault, page, run, contrast):
    app = no_fault(page, run=f"{run}-alike", contrast=contrast, layer=0, head=0)
    assert not app.error
    no_fault(page, run=f"{run}-alike", contrast=contrast, layer=1, head=0)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("run", "contrast"), [("boxes", "order"), ("boxes", "order-centred"), ("boxes", "lexical"), ("lists", "category")]
)
def test_every_page_shows_a_run_of_one_prompt(no_fault, page, run, contrast):
    no_fault(page, run=f"{run}-one", contrast=contrast, layer=0, head=0)


def test_a_null_of_zero_is_told_in_place_of_a_ratio(no_fault):
    """The control is a head of the same run whose queries differ."""
    chosen = {"run": "boxes-alike", "contrast": "order", "head": 0}
    alike, differ = (no_fault("subspaces", layer=layer, **chosen) for layer in (0, 1))
    assert alike.metric[1].delta.replace("\\", "") == "its null is 0: queries or key contrasts alike"
    assert "× null" in differ.metric[1].delta
    size = no_fault("head", layer=0, **chosen).metric[1]
    assert (size.value, size.delta) == ("–", alike.metric[1].delta)
    assert alike.metric[2].value == percent(1), "ΔC is of the mean query alone"


def test_what_no_other_contrast_has_pairs_for_is_compared_with_nothing_and_is_no_alert(no_fault):
    """The control has another contrast with pairs, which is then the one beside it."""
    app = no_fault("subspaces", run="boxes-alike", contrast="order", layer=1, head=0)
    assert app.selectbox(key="url-and").value == "lexical"
    assert app.metric[3].value != "–"
    for page in ("subspaces", "attributions", "interventions"):
        app = no_fault(page, run="boxes-one", contrast="order", layer=0, head=0)
        assert app.selectbox(key="url-and").value != "lexical", "which has no negative pair on one prompt"
        assert not app.error, page


def test_a_contrast_of_one_value_grows_by_nothing_which_is_a_note(no_fault):
    app = no_fault("subspaces", run="lists-alike", contrast="category:fruit", layer=1, head=1)
    assert "nothing grows" in html(app)
    assert not [e.value for e in app.info if "grows" in e.value]


def test_components_says_what_its_contrast_is_for(no_fault):
    """No component depends on it: the first head shown does."""
    assert "the one chosen tells which head is shown first" in html(no_fault("components", run="boxes-alike"))
    at = {"run": "boxes-alike", "layer": 1, "head": 0}
    one, other = (no_fault("components", contrast=name, **at) for name in ("order", "lexical"))
    assert [m.value for m in one.metric] == [m.value for m in other.metric]
