"""The Heads page in a real browser: cells by mouse and keyboard, rows, comparisons, and maps of many heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stores
from conftest import CHROMIUM
from test_browser import Server, Tab, tab_of

import qkstore
from qkstore.analysis import heads
from qkstore.analysis.choice import Choice
from qkstore.analysis.heads import HeadScore
from qkstore.interval import wilson

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}; name one in $CHROMIUM"),
    pytest.mark.slow,
]
GRIDS = {"mid": (32, 32), "large": (80, 64)}
CELLS = "[class*='st-key-map-'] svg g.mark-rect.role-mark"


def scored(layers: int, n_heads: int, seed: int) -> list[HeadScore]:
    """Scores of a large model as `heads` gives them, drawn at random: nothing of the page depends on the vectors."""
    rng, n, out = np.random.default_rng(seed), 400, []
    for layer in range(layers):
        for head in range(n_heads):
            right = int(n * (0.9 if (layer + head) % 37 == 0 else rng.normal(0.25, 0.02)))
            share, ratio = right / n, float(rng.lognormal(0, 0.3))
            choice = Choice(share, 0.25, 1e-9 if share > 0.8 else 0.4, ratio, 0.5, 0.6, n, "train", "order")
            out.append(
                HeadScore(
                    layer,
                    head,
                    share,
                    wilson(right, n),
                    ratio if head % 9 else None,
                    0.3,
                    0.1,
                    1.0,
                    0.8,
                    0.05,
                    3,
                    n,
                    "train",
                    "test",
                    (ratio / 2, ratio * 2) if head % 9 else None,
                    0.25,
                    choice,
                    1.0,
                    19,
                )
            )
    return out


def with_grids(path: Path) -> Path:
    """The store of test_browser.py with a model of 1,024 heads and one of 5,120, whose scores it keeps already."""
    stores.write(path)
    for seed, (name, (layers, n_heads)) in enumerate(GRIDS.items()):
        data = stores.boxes(n=8, n_layers=layers, n_heads=n_heads, n_kv_heads=8, seed=seed)
        stores.write(path, name, data=data)
    store = qkstore.open(path)
    for seed, (name, grid) in enumerate(GRIDS.items()):
        run = store.run(name)
        for contrast in ("order", "lexical"):
            (asked,) = store.feature(run, contrast)
            heads.keep(store, run, asked, scored(*grid, seed), heads.key(run, asked))
    return path


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    server = Server(with_grids(folder / "store"), folder / "server.log")
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield tab
    server.end()


def anew(tab: Tab, path: str) -> int:
    """Open a page as the last entry of the history, and return how many entries there are."""
    tab.page.goto("about:blank")
    tab.open(path)
    return tab.page.evaluate("history.length")


def at(tab: Tab) -> tuple[str, str]:
    return tab.chosen("Layer"), tab.chosen("Head")


def history(tab: Tab) -> int:
    return tab.page.evaluate("history.length")


def cell(tab: Tab, layer: int, head: int):
    """The middle of a cell of the first map, which of many cells none has a name."""
    tab.page.wait_for_selector(CELLS)
    tab.settle()
    return tab.page.evaluate(
        """([selector, layer, head]) => {
            const group = document.querySelector(selector);
            const at = ({ __data__: { datum } }) => datum.layer === layer && datum.head === head;
            const found = [...group.children].find(at);
            found.scrollIntoView({ block: "center" });
            const { left, top, width, height } = found.getBoundingClientRect();
            return [left + width / 2, top + height / 2];
        }""",
        [CELLS, layer, head],
    )


def test_a_click_is_one_entry_of_the_history_and_back_undoes_it(tab):
    before = anew(tab, "heads?run=boxes&contrast=order&layer=1&head=0")
    tab.page.mouse.click(*cell(tab, 0, 3))
    tab.page.wait_for_url("**layer=0**head=3**")
    assert tab.becomes(lambda: at(tab), ("0", "3"))
    assert history(tab) == before + 1
    tab.page.go_back()
    assert tab.becomes(lambda: at(tab), ("1", "0"))


def test_the_keyboard_moves_over_the_cells_and_enter_chooses_one(tab):
    before = anew(tab, "heads?run=boxes&contrast=order&layer=1&head=0")
    tab.page.wait_for_selector(CELLS)
    tab.settle()
    focused = "document.activeElement.getAttribute('aria-label')"
    tab.page.get_by_role("combobox", name="on run").focus()
    for _ in range(12):
        tab.page.keyboard.press("Tab")
        if (tab.page.evaluate(focused) or "").startswith("Layer: 1; Head: 0"):
            break
    else:
        raise AssertionError("Tab does not reach the map")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        tab.page.keyboard.press(key)
    assert tab.page.evaluate(focused).startswith("Layer: 0; Head: 2"), "arrows stop at the edge"
    assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.page.wait_for_selector("#vg-tooltip-element.visible")
    assert at(tab) == ("1", "0"), "nothing is chosen yet"
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**layer=0**head=2**")
    assert tab.becomes(lambda: at(tab), ("0", "2"))
    assert history(tab) == before + 1
    tab.page.wait_for_function(f"({focused} || '').startsWith('Layer: 0; Head: 2')")
    tab.page.keyboard.press("ArrowLeft")
    assert tab.page.evaluate(focused).startswith("Layer: 0; Head: 1"), "the new map has the focus: one goes on"


def test_a_row_of_the_table_is_its_head(tab):
    before = anew(tab, "heads?run=boxes&contrast=order&layer=1&head=0")
    ranked = tab.page.locator("[data-testid=stDataFrame]").first
    ranked.locator("canvas").first.wait_for()
    ranked.scroll_into_view_if_needed()
    tab.settle()
    for _ in range(5):  # a press on a table that is drawn anew meanwhile is lost
        box = ranked.bounding_box()
        tab.page.mouse.click(box["x"] + 15, box["y"] + 35 * 5 + 17)  # the box of the fifth row
        tab.settle()
        if "layer=1&head=0" not in tab.page.url:
            break
    layer, head = at(tab)
    assert (layer, head) != ("1", "0")
    told = f"Layer {layer}, head {head} is 5 of 8 by accuracy"
    assert tab.becomes(lambda: told in tab.page.locator(".stMain").inner_text(), True)
    assert history(tab) == before + 1


@pytest.mark.parametrize("name", GRIDS)
def test_a_map_of_many_heads_is_usable(tab, name, record_property):
    layers, n_heads = GRIDS[name]
    tab.open(f"heads?run={name}&contrast=order&layer=3&head=4")
    count = f'document.querySelector("{CELLS}")?.childElementCount'
    tab.page.wait_for_function(f"{count} === {layers * n_heads}")
    wide = tab.page.locator("[class*='st-key-map-'] svg.marks").bounding_box()
    panel = tab.page.locator(".st-key-panels [data-testid=stColumn]").first.bounding_box()
    assert wide["width"] <= panel["width"]
    labels = tab.page.locator("[class*='st-key-map-'] svg .role-axis-label text").count()
    assert 8 <= labels <= 30
    place = cell(tab, layers - 2, n_heads - 3)
    tab.page.mouse.move(*place)
    tip = tab.page.wait_for_selector("#vg-tooltip-element.visible").inner_text()
    for told in ("Accuracy", "95 % interval", "Queries", str(n_heads - 3)):
        assert told in tip
    start = tab.page.evaluate("performance.now()")
    tab.page.mouse.click(*place)
    ring = f"document.querySelector('[class*=\"st-key-map-{layers - 2}-{n_heads - 3}-\"] svg g.mark-rect.role-mark')"
    tab.page.wait_for_function(f"{ring}?.childElementCount === {layers * n_heads}")
    ms = tab.page.evaluate("performance.now()") - start
    record_property(f"ms from a click to the new map of {layers * n_heads:,} heads", round(ms))
    print(f"{name}: {ms:.0f} ms from a click to the new map")
    assert tab.becomes(lambda: at(tab), (str(layers - 2), str(n_heads - 3)))
    told = f"of {layers * n_heads:,} by accuracy"
    assert tab.becomes(lambda: told in tab.page.locator(".stMain").inner_text(), True)


def test_many_heads_fit_a_narrow_screen_and_the_keyboard_reaches_them(tab):
    tab.page.set_viewport_size({"width": 820, "height": 960})
    tab.open("heads?run=large&contrast=order&layer=3&head=4&by=selectivity")
    tab.page.wait_for_function(f'document.querySelector("{CELLS}")?.childElementCount === 5120')
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 820
    sideways = (
        '[...document.querySelectorAll(\'[class*="st-key-map-"], [class*="st-key-map-"] *\')]'
        ".filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'auto').length"
    )
    assert tab.page.evaluate(sideways) == 0
    tab.page.locator(f"{CELLS} [tabindex='0']").focus()
    tab.page.keyboard.press("PageUp")
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Layer: 11; Head: 4")
    tab.page.set_viewport_size({"width": 1440, "height": 960})


def test_two_contrasts_are_compared_in_three_maps_by_two_clicks(tab):
    anew(tab, "heads?run=boxes&contrast=order&layer=1&head=0")
    tab.pick("Compare with", "lexical")
    tab.page.wait_for_url("**with=lexical**")
    assert tab.becomes(lambda: tab.count("[class*='st-key-map-'] svg g.mark-rect.role-mark"), 4)
    assert tab.becomes(lambda: tab.count("[class*='st-key-difference-map-'] svg g.mark-rect.role-mark"), 2)
    assert tab.figures()[3] != ""
    tab.page.locator("[class*='st-key-difference-map-'] [tabindex='0']").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**layer=1**head=1**")
    tab.settle()
    assert "with=lexical" in tab.page.url, "the comparison stays"
    tab.page.go_back()
    assert tab.becomes(lambda: at(tab), ("1", "0"))
    assert "with=lexical" in tab.page.url, "one step back is the head before"
    tab.page.go_back()
    assert tab.becomes(lambda: "with" in tab.address(), False)


def test_nothing_was_fetched_from_another_host(tab):
    assert {url for url in tab.fetched if not url.startswith((tab.server.url, "data:", "blob:"))} == set()
