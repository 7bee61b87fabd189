"""All heads' components in a real browser: one click from Overview or Heads, a cell, a cluster's member, a cancel."""

from __future__ import annotations

import re

import pytest
import stores
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all
from test_heads_browser import CELLS
from test_swaps_browser import SIDEWAYS
from test_walk import Walk

ALL = "components?run=labelled&heads=all"
MAP = CELLS.replace("map-", "component-map-")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A run of boxes, and one of 256 heads, which take a while."""
    folder = tmp_path_factory.mktemp("across")
    stores.write(folder / "store", "labelled")
    stores.write(folder / "store", "many", data=stores.boxes(n=400, n_layers=32, n_heads=8, n_kv_heads=8))
    server = Server(folder / "store", folder / "log")
    yield server
    server.end()


@pytest.fixture(scope="module")
def walk(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield Walk(tab.page.context, server)


def place(walk, layer: int, head: int) -> list[float]:
    """The middle of a cell of the map of components."""
    walk.page.wait_for_selector(MAP)
    walk.settle()
    walk.page.evaluate("document.activeElement?.blur()")
    return walk.page.evaluate(
        """([selector, layer, head]) => {
            const at = ({ __data__: { datum } }) => datum.layer === layer && datum.head === head;
            const found = [...document.querySelector(selector).children].find(at);
            found.scrollIntoView({ block: "center" });
            const { left, top, width, height } = found.getBoundingClientRect();
            return [left + width / 2, top + height / 2];
        }""",
        [MAP, layer, head],
    )


def test_from_overview_in_one_click(walk):
    walk.open("?run=labelled")
    walk.ask()
    walk.click("link", re.compile("See what every head matches on"))
    assert walk.becomes(lambda: walk.address().get("heads"), ["all"])
    walk.page.get_by_role("heading", name="Components of every head").wait_for()
    assert walk.card("Heads with components")
    assert walk.clicks == 1
    assert walk.told == []


def test_from_heads_in_one_click(walk):
    walk.open("heads?run=labelled&contrast=order&layer=1&head=0")
    walk.ask()
    walk.click("link", re.compile("Components of all heads"))
    assert walk.becomes(walk.title, "Components")
    walk.page.get_by_role("heading", name="Components of every head").wait_for()
    assert walk.clicks == 1


def test_a_click_on_a_cell_is_that_heads_components_and_back_is_the_map(walk):
    walk.page.goto("about:blank")
    walk.open(ALL)
    before = walk.page.evaluate("history.length")
    walk.page.mouse.click(*place(walk, 1, 1))
    assert walk.becomes(lambda: walk.address().get("head"), ["1"])
    walk.page.get_by_text(re.compile("^Components of L1.H1$")).first.wait_for()
    assert "heads" not in walk.address()
    assert walk.page.evaluate("history.length") == before + 1
    walk.page.go_back()
    assert walk.becomes(lambda: walk.address().get("heads"), ["all"])
    walk.page.get_by_role("heading", name="Components of every head").wait_for()


def test_the_keyboard_reaches_the_map_and_enter_goes_to_a_head(walk):
    walk.open(ALL + "&layer=1&head=0")
    walk.page.wait_for_selector(MAP)
    walk.settle()
    walk.page.locator(f"{MAP} [tabindex='0']").focus()
    walk.page.keyboard.press("ArrowRight")
    focused = walk.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("Layer: 1; Head: 1")
    walk.page.keyboard.press("Enter")
    assert walk.becomes(lambda: (walk.address().get("head"), walk.address().get("heads")), (["1"], None))


def test_the_map_takes_another_colour(walk):
    walk.open(ALL)
    walk.pick("Colour by", "Unnamed")
    assert walk.becomes(lambda: walk.address().get("by"), ["unnamed"])
    told = "components without a name carry"
    assert walk.becomes(lambda: told in walk.page.locator(".stMain").inner_text(), True)


def test_a_member_of_a_cluster_leads_to_its_component(walk):
    walk.open(ALL)
    walk.page.get_by_role("heading", name=re.compile("^Cluster 0: ")).wait_for()
    walk.settle()
    member = walk.page.get_by_role("button", name=re.compile(r"^L\d.H\d, component \d+: ")).nth(1)
    layer, head, component = re.findall(r"\d+", member.inner_text())[:3]
    member.click(delay=150)
    assert walk.becomes(lambda: walk.address().get("component"), [component])
    assert (walk.address()["layer"], walk.address()["head"]) == ([layer], [head])
    walk.page.get_by_role("heading", name=re.compile(f"^Component {component}: ")).wait_for()
    assert walk.told == []


def test_a_long_search_begins_with_a_button_counts_and_is_cancelled(walk):
    walk.open("components?run=many&heads=all")
    walk.page.get_by_text("The components of 256 heads are found and named once").wait_for()
    walk.settle()
    walk.page.get_by_role("button", name="Find the components of all heads").click(delay=150)
    walk.page.get_by_text(re.compile(r"Found the components of \d+ of 256 heads")).wait_for()
    walk.page.get_by_role("button", name="Cancel").click(delay=150)
    walk.page.get_by_text("Cancelled. Layers that were finished are kept").wait_for()
    assert walk.page.locator(MAP).count() == 0


def test_nothing_scrolls_sideways_on_a_narrow_screen(walk):
    walk.page.set_viewport_size({"width": 820, "height": 960})
    walk.open(ALL)
    assert walk.becomes(lambda: walk.page.evaluate(SIDEWAYS), [])
    walk.page.get_by_role("heading", name=re.compile("^Cluster 0: ")).wait_for()
    panels = walk.page.locator(".st-key-panels-clusters [data-testid=stColumn]").all()
    listed, chosen = (panel.bounding_box() for panel in panels[:2])
    assert chosen["y"] >= listed["y"] + listed["height"], "one above the other"
    facts = walk.page.locator(".st-key-panels-clusters .qk-facts").bounding_box()
    assert facts["x"] + facts["width"] <= chosen["x"] + chosen["width"], "and nothing reaches over its edge"
    walk.page.set_viewport_size({"width": 1440, "height": 960})
