"""Swaps and attributions in a real browser: a prompt chosen is in the address, long ones move in a window."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
import stores
import synthetic
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all
from test_prompts_shown import stretched
from test_team_browser import press

import qkstore
from qkstore.contrast import Contrast

SWAPS = "interventions?run=boxes&contrast=order&layer=1&head=0&and=lexical"
LONG = "attributions?run=long&contrast=near&layer=1&head=0&prompt=5"
SIDEWAYS = (
    "[...document.querySelectorAll('.stMain *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
    "['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && !e.closest('[data-testid=stDataFrame]'))"
    ".map(e => e.dataset.testid || e.className)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swaps")
    stores.write(folder / "store")
    synthetic.publish(folder / "store", "long", stretched(6))
    sides = {"positive": "k.order_id = q.queried_order", "negative": "k.order_id <> q.queried_order"}
    few = Contrast("near", "k.prompt_id = q.prompt_id and k.role = 'box'", **sides)
    qkstore.open(folder / "store").catalog.save(few)
    server = Server(folder / "store", folder / "log")
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def asked(tab, name: str) -> str:
    return parse_qs(urlsplit(tab.page.url).query).get(name, [""])[0]


def shades(tab, panel: int) -> list[str]:
    """The shades of the tokens in the panel before (0) or after (1)."""
    texts = tab.page.locator(".qk-tokens").nth(panel).locator(".qk-token[style]")
    return texts.evaluate_all("all => all.map(e => e.style.getPropertyValue('--qk-share'))")


def test_a_prompt_clicked_in_the_chart_is_in_the_address_and_shown_before_and_after(tab):
    tab.open(SWAPS)
    assert asked(tab, "query") == ""
    first = tab.chosen("Prompt")
    assert shades(tab, 0) != shades(tab, 1), "a swap moves attention"
    points = tab.page.locator("[data-testid=stVegaLiteChart]").nth(2).locator("path[aria-roledescription=point]")
    points.nth(points.count() - 1).click(force=True)
    assert tab.becomes(lambda: asked(tab, "query") != "", True)
    assert tab.becomes(lambda: tab.chosen("Prompt") != first, True)
    second = tab.chosen("Prompt")
    tab.page.reload()
    assert tab.becomes(lambda: tab.chosen("Prompt"), second)
    tab.page.go_back()
    assert tab.becomes(lambda: tab.chosen("Prompt"), first)


def test_the_order_of_prompts_is_one_entry_of_the_history(tab):
    tab.open(SWAPS)
    most = tab.chosen("Prompt")
    tab.page.get_by_role("radio", name="Least moved").click()
    assert tab.becomes(lambda: asked(tab, "sort"), "least")
    assert tab.becomes(lambda: tab.chosen("Prompt") != most, True)
    tab.page.go_back()
    assert tab.becomes(lambda: tab.chosen("Prompt"), most)


def test_the_window_of_a_long_prompt_moves_and_back_moves_it_back(tab):
    tab.open(LONG)
    opened = tab.chosen("Keys")
    press(tab, "Query")
    assert tab.becomes(lambda: asked(tab, "from"), "4992")
    assert tab.becomes(lambda: tab.chosen("Keys"), "4,993 to 4,999 of 4,999")
    press(tab, "Earlier")
    assert tab.becomes(lambda: tab.chosen("Keys"), "4,969 to 4,992 of 4,999")
    tab.page.go_back()
    assert tab.becomes(lambda: tab.chosen("Keys"), "4,993 to 4,999 of 4,999")
    tab.page.go_back()
    assert tab.becomes(lambda: tab.chosen("Keys"), opened)


def test_a_click_on_the_map_of_a_long_prompt_opens_that_stretch(tab):
    tab.open(LONG)
    bars = tab.page.locator("[data-testid=stVegaLiteChart]").first.locator("path[aria-label*='121–144']")
    bars.first.click(force=True)
    assert tab.becomes(lambda: asked(tab, "from"), "120")


def test_token_texts_stand_under_the_bars_and_are_no_markup(tab):
    tab.open(LONG + "&from=0")
    drawn = tab.page.locator("[data-testid=stVegaLiteChart]").nth(1)
    assert tab.becomes(lambda: "<b>&</b>" in drawn.inner_text(), True)
    assert tab.page.locator(".qk-tokens b").count() == 0


@pytest.mark.parametrize("path", [SWAPS, LONG])
def test_nothing_scrolls_sideways_on_a_narrow_screen(tab, path):
    tab.page.set_viewport_size({"width": 820, "height": 960})
    tab.open(path)
    assert tab.becomes(lambda: tab.page.evaluate(SIDEWAYS), [])
    tab.page.set_viewport_size({"width": 1440, "height": 960})


def test_no_error_is_in_the_console(tab):
    assert tab.told == []
