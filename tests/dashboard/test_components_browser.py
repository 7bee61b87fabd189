"""Components in a real browser: the prompts of an unnamed one in a few clicks; a group saved, and swapped."""

from __future__ import annotations

import re

import pytest
import stores
import synthetic
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all
from test_swaps_browser import SIDEWAYS
from test_team_browser import press
from test_walk import Walk

MOST_CLICKS = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A run of boxes whose labels were left out at ingest, so that what a head matches on has no name."""
    folder = tmp_path_factory.mktemp("components")
    synthetic.write(folder / "store", "bare", stores.bare())
    stores.write(folder / "store", "labelled")
    server = Server(folder / "store", folder / "log")
    yield server
    server.end()


@pytest.fixture(scope="module")
def walk(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield Walk(tab.page.context, server)


def table(walk) -> str:
    return walk.page.locator("[data-testid=stMetric]").nth(1).inner_text()


def test_from_overview_to_an_unnamed_components_prompts(walk):
    walk.open("")
    walk.ask()
    walk.click("link", "Components", exact=True)
    walk.pick("Head", "2")
    assert walk.becomes(lambda: walk.address().get("head"), ["2"])
    walk.page.get_by_role("heading", name=re.compile("Component 0: unnamed")).wait_for()
    walk.page.get_by_role("heading", name="Highest scores").wait_for()
    ends = walk.page.locator(".qk-tokens")
    assert walk.becomes(ends.count, 6)
    assert ends.first.locator(".qk-query").count() == 1
    assert ends.first.locator(".qk-key").count() == 1
    assert "of 4" in table(walk)
    assert walk.clicks <= MOST_CLICKS
    assert walk.told == []


def test_from_heads_in_one_click(walk):
    walk.open("heads?run=labelled&contrast=order&layer=1&head=0")
    walk.ask()
    walk.page.locator(".stMain").get_by_role("link", name="Components", exact=True).click(delay=150)
    walk.clicks += 1
    assert walk.becomes(walk.title, "Components")
    assert walk.becomes(lambda: walk.address().get("head"), ["0"])
    assert walk.clicks == 1


def test_a_group_is_saved_and_swapped_on_interventions(walk):
    walk.open("components?run=labelled&layer=1&head=0&group=0,1,2")
    walk.page.get_by_label("Name of the group").fill("what-it-matches")
    walk.page.keyboard.press("Tab")
    press(walk, "Save as a contrast")
    assert walk.becomes(lambda: walk.address().get("contrast"), ["what-it-matches@1"])
    walk.page.get_by_role("link", name=re.compile("Swap what-it-matches@1 on Interventions")).click(delay=150)
    assert walk.becomes(walk.title, "Interventions")
    gains = walk.card("Target gains, what-it-matches@1")
    assert "random subspaces of rank 3" in gains
    assert float(re.search(r"(\d+\.\d) ?%", gains)[1]) > 20
    assert walk.told == []


def test_back_goes_to_the_component_before(walk):
    walk.open("components?run=labelled&layer=1&head=0")
    first = walk.chosen("Component")
    walk.pick("Component", 1)
    assert walk.becomes(lambda: walk.chosen("Component") != first, True)
    walk.page.go_back()
    assert walk.becomes(lambda: walk.chosen("Component"), first)


def test_nothing_scrolls_sideways_on_a_narrow_screen(walk):
    walk.page.set_viewport_size({"width": 820, "height": 960})
    walk.open("components?run=bare&layer=1&head=2")
    assert walk.becomes(lambda: walk.page.evaluate(SIDEWAYS), [])
    walk.page.set_viewport_size({"width": 1440, "height": 960})
