"""The scatter of points in a real browser: what is drawn, turned, singled out and told.

Nothing is fetched from outside.
"""

from __future__ import annotations

import re

import pytest
import stores
from test_browser import CHROMIUM, FLAGS, Server, Tab, playwright, pytestmark  # noqa: F401

HOSTILE = "<img src=x onerror=window.harm=1>\u202e"
SHOWN = "<img src=x onerror=window.harm=1>U+202E"
ADDRESS = "projections?plot=3d&contrast=order&layer=1&head=0"
# What an event changes is drawn in the next frame, a change of size in the one after it.
DRAWN_ANEW = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
COLOURED = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const spread = (i) => Math.max(...data.subarray(i, i + 3)) - Math.min(...data.subarray(i, i + 3));
  return Array.from({ length: data.length / 4 }, (_, i) => spread(4 * i)).filter((s) => s > 60).length;
}"""

PICTURE = f"""async canvas => {{
  await {DRAWN_ANEW};
  return canvas.toDataURL();
}}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space")
    texts = dict.fromkeys((5, 12, 19, 26, 35), HOSTILE)  # the keys and the query
    server = Server(stores.write(folder / "store", data=stores.hostile(texts)), folder / "server.log")
    yield server
    server.end()


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    with playwright.sync_playwright() as engine:
        context = engine.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1280, "height": 1100},
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def tab(server, context):
    tab = Tab(context, server)
    tab.failed = []
    tab.page.on("pageerror", lambda error: tab.failed.append(error))
    return tab


@pytest.fixture
def page(tab):
    """The page with the points as they are at first."""
    tab.open(ADDRESS)
    tab.page.wait_for_selector(".space .picture")
    assert tab.becomes(lambda: pixels(tab.page) > 0, True)
    return tab.page


def pixels(page) -> int:
    """How many pixels of the canvas have a colour: marks do, the box and its titles do not."""
    return page.locator(".space .picture").evaluate(COLOURED)


def picture(page) -> str:
    """What the canvas shows, once it has been drawn."""
    return page.locator(".space .picture").evaluate(PICTURE)


def middle(page) -> tuple[float, float]:
    box = page.locator(".space .picture").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_points_are_drawn_and_described(tab, page):
    assert pixels(page) > 5_000
    canvas = page.get_by_role("img", name="keys (circles)")
    shown = int(tab.figures()[0].replace(",", ""))
    queries, keys = re.match(
        r"([\d,]+) queries \(triangles\) and ([\d,]+) keys", canvas.get_attribute("aria-label")
    ).groups()
    assert int(queries.replace(",", "")) + int(keys.replace(",", "")) == shown
    assert not tab.failed


def test_a_drag_keys_and_the_wheel_change_the_view_and_a_double_click_resets_it(tab, page):
    first, (x, y) = picture(page), middle(page)
    page.mouse.move(x, y)
    page.mouse.move(x + 80, y + 30)
    assert picture(page) == first, "the pointer alone turns nothing"
    page.mouse.down()
    page.mouse.move(x + 160, y + 60, steps=4)
    page.mouse.up()
    turned = picture(page)
    page.mouse.move(x, y)
    assert turned != first, "released"
    assert picture(page) == turned, "released"
    page.mouse.dblclick(x, y)
    assert picture(page) == first
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.locator(".space .picture").press(key)
        assert picture(page) != first
        page.locator(".space .picture").press("0")
        assert picture(page) == first
    page.mouse.wheel(0, -300)  # which nothing waits for
    assert tab.becomes(lambda: picture(page) != first, True)


def told(tip) -> tuple[str, str, str, str]:
    """Side, label, its own token and prompt, as the tip tells."""
    side, label, _, prompt = tip.locator("td").all_inner_texts()
    return side, label, tip.locator(".own").inner_text(), prompt


def test_a_point_tells_of_itself_and_hostile_text_is_text(page):
    tip, (x, y) = page.locator(".space .tip"), middle(page)
    assert tip.is_hidden()
    seen = {}
    for dx, dy in ((dx, dy) for dy in range(-160, 161, 9) for dx in range(-220, 221, 9)):
        page.mouse.move(x + dx, y + dy)
        if tip.is_visible():
            side, label, token, prompt = told(tip)
            seen[side] = label, token, prompt
        if len(seen) == 2:
            break
    assert set(seen) == {"query", "key"}
    for label, token, prompt in seen.values():
        assert token == SHOWN
        assert tip.locator("td span").count() > 3, "its neighbours stand beside it"
        assert prompt.isdecimal()
        assert label in "1234"
    assert page.evaluate("window.harm") is None
    assert page.locator(".space img, .space script").count() == 0
    page.mouse.move(5, 5)
    tip.wait_for(state="hidden")


def test_labels_and_sides_choose_their_points_together(page):
    first, button = picture(page), page.locator(".space .legend button")
    assert button.all_inner_texts() == ["▲ query", "● key", "1", "2", "3", "4"]
    drawn, count = pixels(page), page.locator(".space .count")
    button.nth(3).click()
    alone = picture(page)
    assert alone != first
    assert button.nth(3).get_attribute("aria-pressed") == "true"
    assert [b.get_attribute("class") for b in button.all()] == ["", "", "dimmed", "", "dimmed", "dimmed"]
    assert 0 < pixels(page) < 0.6 * drawn
    one = int(count.inner_text().split()[0])
    button.nth(4).click()
    assert int(count.inner_text().split()[0]) > one, "two labels are more than one"
    button.nth(1).press("Enter")
    assert "dimmed" in button.nth(0).get_attribute("class")
    keys = int(count.inner_text().split()[0])
    assert one / 2 < keys < 2 * one
    page.get_by_role("button", name="Clear", exact=True).click()
    assert button.nth(4).get_attribute("aria-pressed") == "false"
    assert picture(page) == first


def test_the_choice_is_kept_in_the_address(tab, page):
    tab.page.get_by_text("2-D", exact=True).click()
    page.wait_for_url("**plot=2d**")
    shown = page.locator(".space .tools button").first
    assert tab.becomes(shown.inner_text, "Move")
    assert tab.becomes(lambda: pixels(page) > 5_000, True)
    page.go_back()
    assert tab.becomes(shown.inner_text, "Turn")
    assert tab.becomes(lambda: pixels(page) > 5_000, True)


def test_another_choice_redraws_the_same_canvas_and_keeps_the_view(tab, page):
    page.locator(".space .picture").evaluate("canvas => canvas.marked = true")
    page.locator(".space .picture").press("ArrowRight")
    before = page.locator(".space .picture").get_attribute("aria-label")
    tab.pick("Method", "Raw PCA")
    page.wait_for_url("**method=raw**")
    assert tab.becomes(lambda: page.locator(".space .picture").get_attribute("aria-label") != before, True)
    assert tab.count(".space") == 1
    assert page.locator(".space .picture").evaluate("canvas => canvas.marked") is True
    turned = picture(page)
    page.locator(".space .picture").press("0")
    assert picture(page) != turned


@pytest.mark.parametrize("plot", ["2d", "3d", "heads"])
def test_a_narrow_page_does_not_scroll_sideways(tab, plot):
    tab.page.set_viewport_size({"width": 800, "height": 1100})
    tab.open(f"projections?plot={plot}")
    tab.page.wait_for_selector(".space .picture, .heads canvas")
    tab.settle()
    wide = tab.page.locator("[data-testid=stMain]").evaluate("main => [main.scrollWidth, main.clientWidth]")
    tab.page.set_viewport_size({"width": 1280, "height": 1100})
    assert wide[0] <= wide[1] < 800


def test_nothing_was_fetched_from_another_host_and_no_script_failed(tab):
    assert len(tab.fetched) > 50
    assert {url for url in tab.fetched if not url.startswith((tab.server.url, "data:", "blob:"))} == set()
    assert not tab.failed
