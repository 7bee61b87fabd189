"""Discover in a real browser: from Overview to what a head matches on, saved in one click, and used on Heads."""

from __future__ import annotations

import re

import pytest
import stores
import synthetic
from planted import planted
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all
from test_swaps_browser import SIDEWAYS
from test_team_browser import press
from test_walk import Walk

NAME = "found-order_id-queried_order-box-apart"
MOST_CLICKS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A run of boxes, and one of random words with a known head type in three of its four heads."""
    folder = tmp_path_factory.mktemp("discover")
    stores.write(folder / "store", n=600)
    synthetic.write(folder / "store", "text", data=planted(80))
    server = Server(folder / "store", folder / "log")
    yield server
    server.end()


@pytest.fixture(scope="module")
def walk(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield Walk(tab.page.context, server)


def test_from_overview_to_a_find_that_is_saved_and_used_on_heads(walk):
    walk.open("?run=boxes")
    walk.ask()
    walk.page.locator("[data-testid=stSidebar]").get_by_role("link", name="Discover", exact=True).click(delay=150)
    walk.clicks += 1
    assert walk.becomes(walk.title, "Discover")
    if walk.chosen("Run") != "boxes":
        walk.pick("Run", "boxes")
    assert walk.becomes(lambda: walk.card("Heads").split()[:2], ["Heads", "2"])
    walk.page.get_by_role("link", name=re.compile(r"L1\sH[01]: .*k.order_id = q.queried_order")).first.wait_for()
    assert walk.becomes(lambda: walk.chosen("Contrast that was found"), NAME)
    press(walk, "Save it as a contrast")
    walk.clicks += 1
    walk.click("link", f"All heads under {NAME}")
    assert walk.becomes(walk.title, "Heads")
    assert walk.address()["contrast"] == [NAME]
    assert re.search(r"L1\sH[01]", walk.card("Best head"))
    assert walk.clicks <= MOST_CLICKS
    assert walk.told == []


def test_what_was_saved_is_among_the_contrasts_for_all(walk):
    walk.open("contrasts?run=boxes")
    assert walk.becomes(lambda: walk.page.get_by_text(NAME).count() > 0, True)


def test_a_find_leads_to_its_head_under_its_contrast(walk):
    walk.open("discover?run=boxes")
    walk.click("link", re.compile(r"L1\sH[01]: .*k.order_id = q.queried_order"))
    assert walk.becomes(walk.title, "Head")
    assert walk.address()["contrast"] == [NAME]
    assert walk.address()["layer"] == ["1"]


def test_known_types_are_named_first_and_what_is_beyond_them_apart(walk):
    walk.open("discover?run=text")
    walk.page.get_by_role("heading", name="Known types").wait_for()
    for name in ("induction", "previous-token", "same-token"):
        walk.page.get_by_role("link", name=re.compile(rf"L0\sH\d: {name}")).first.wait_for()
    walk.click("radio", "Beyond known types")
    assert walk.becomes(lambda: walk.address().get("each"), ["beyond"])
    assert walk.becomes(lambda: walk.page.get_by_role("link", name=re.compile(r"L0\sH\d: ")).count(), 0)


def test_nothing_scrolls_sideways_on_a_narrow_screen(walk):
    walk.page.set_viewport_size({"width": 820, "height": 960})
    walk.open("discover?run=text")
    assert walk.becomes(lambda: walk.page.evaluate(SIDEWAYS), [])
    walk.page.set_viewport_size({"width": 1440, "height": 960})
