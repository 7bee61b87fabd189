"""The three-dimensional scatter in a real browser: what is drawn, turned, singled out and told.

Nothing is fetched from outside.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import stores
from test_browser import CHROMIUM, FLAGS, Server, Tab, playwright, pytestmark  # noqa: F401
from test_space import points, sent

from dashboard import space

HOSTILE = "<img src=x onerror=window.harm=1>\u202e"
SHOWN = "<img src=x onerror=window.harm=1>U+202E"
ADDRESS = "projections?plot=3d&contrast=order&layer=1&head=0"
COLOURED = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const spread = (i) => Math.max(...data.subarray(i, i + 3)) - Math.min(...data.subarray(i, i + 3));
  return Array.from({ length: data.length / 4 }, (_, i) => spread(4 * i)).filter((s) => s > 60).length;
}"""
DRAW = """async ([js, data, size]) => {
  const place = document.body;
  place.replaceChildren();
  const { default: show } = await import(URL.createObjectURL(new Blob([js], { type: "text/javascript" })));
  const end = show({ parentElement: place, data });
  Object.assign(place.querySelector("canvas").style, { display: "block", width: `${size}px`, height: `${size}px` });
  await new Promise((done) => setTimeout(done, 200));
  window.show = (data) => show({ parentElement: place, data });
  window.end = end;
}"""


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
    tab.page.wait_for_selector(".space canvas")
    tab.becomes(lambda: pixels(tab.page) > 0, True)
    return tab.page


@pytest.fixture
def bare(context):
    """A page with nothing but the component."""
    page = context.new_page()
    failed = []
    page.on("pageerror", lambda error: failed.append(error))
    yield page
    assert not failed
    page.close()


def pixels(page) -> int:
    """How many pixels of the canvas have a colour: marks do, the box and its titles do not."""
    return page.locator(".space canvas").evaluate(COLOURED)


def picture(page) -> str:
    """What the canvas shows, once it has been drawn."""
    page.wait_for_timeout(150)
    return page.locator(".space canvas").evaluate("canvas => canvas.toDataURL()")


def middle(page) -> tuple[float, float]:
    box = page.locator(".space canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def draw(page, table, size: int = 300) -> int:
    """Show points on a page without Streamlit, in a square; the number of pixels drawn."""
    page.evaluate(DRAW, [space.SCENE + space.PLOT, sent(table), size])
    return pixels(page)


def test_points_are_drawn_and_described(tab, page):
    assert pixels(page) > 5_000
    canvas = page.get_by_role("img", name="keys (circles) in three dimensions")
    shown = int(tab.figures()[0].replace(",", ""))
    queries, keys = re.match(
        r"([\d,]+) queries \(triangles\) and ([\d,]+) keys", canvas.get_attribute("aria-label")
    ).groups()
    assert int(queries.replace(",", "")) + int(keys.replace(",", "")) == shown
    assert not tab.failed


def test_a_drag_keys_and_the_wheel_change_the_view_and_a_double_click_resets_it(page):
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
        page.locator(".space canvas").press(key)
        assert picture(page) != first
        page.locator(".space canvas").press("0")
        assert picture(page) == first
    page.mouse.wheel(0, -300)
    assert picture(page) != first


def test_a_point_tells_of_itself_and_hostile_text_is_text(page):
    tip, (x, y) = page.locator(".space .tip"), middle(page)
    assert tip.is_hidden()
    seen = {}
    for dx, dy in ((dx, dy) for dy in range(-160, 161, 9) for dx in range(-220, 221, 9)):
        page.mouse.move(x + dx, y + dy)
        if tip.is_visible():
            side, label, token, prompt = tip.locator("td").all_inner_texts()
            seen[side] = label, token, prompt
        if len(seen) == 2:
            break
    assert set(seen) == {"query", "key"}
    for label, token, prompt in seen.values():
        assert token == SHOWN
        assert prompt.isdecimal()
        assert label in "1234"
    assert page.evaluate("window.harm") is None
    assert page.locator(".space img, .space script").count() == 0
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_a_label_singles_its_points_out(page):
    first, button = picture(page), page.locator(".space .legend button")
    assert button.all_inner_texts() == ["1", "2", "3", "4"]
    drawn = pixels(page)
    button.nth(1).click()
    alone = picture(page)
    assert alone != first
    assert button.nth(1).get_attribute("aria-pressed") == "true"
    assert [b.get_attribute("class") for b in button.all()] == ["dimmed", "", "dimmed", "dimmed"]
    assert 0 < pixels(page) < 0.6 * drawn
    button.nth(2).click()
    assert picture(page) not in (first, alone)
    assert button.nth(1).get_attribute("aria-pressed") == "false"
    button.nth(2).click()
    assert picture(page) == first


def test_the_choice_is_kept_in_the_address(tab, page):
    tab.page.get_by_text("2-D", exact=True).click()
    page.wait_for_url("**plot=2d**")
    page.wait_for_selector("[data-testid=stVegaLiteChart] .marks")
    assert tab.becomes(lambda: tab.count(".space canvas"), 0)
    page.go_back()
    assert tab.becomes(lambda: tab.count(".space canvas"), 1)
    assert pixels(page) > 5_000


def test_another_choice_redraws_the_same_canvas_and_keeps_the_view(tab, page):
    page.locator(".space canvas").evaluate("canvas => canvas.marked = true")
    page.locator(".space canvas").press("ArrowRight")
    before = page.locator(".space canvas").get_attribute("aria-label")
    tab.page.get_by_role("combobox", name="Method").click()
    tab.page.get_by_role("option", name="Raw PCA").click()
    page.wait_for_url("**method=raw**")
    assert tab.becomes(lambda: page.locator(".space canvas").get_attribute("aria-label") != before, True)
    assert tab.count(".space") == 1
    assert page.locator(".space canvas").evaluate("canvas => canvas.marked") is True
    turned = picture(page)
    page.locator(".space canvas").press("0")
    assert picture(page) != turned


@pytest.mark.parametrize("plot", ["2d", "3d"])
def test_a_narrow_page_does_not_scroll_sideways(tab, plot):
    tab.page.set_viewport_size({"width": 800, "height": 1100})
    tab.open(f"projections?plot={plot}")
    tab.page.wait_for_selector("[data-testid=stVegaLiteChart] .marks, .space canvas")
    tab.settle()
    wide = tab.page.locator("[data-testid=stMain]").evaluate("main => [main.scrollWidth, main.clientWidth]")
    tab.page.set_viewport_size({"width": 1280, "height": 1100})
    assert wide[0] <= wide[1] < 800


def test_nothing_was_fetched_from_another_host_and_no_script_failed(tab):
    assert len(tab.fetched) > 50
    assert {url for url in tab.fetched if not url.startswith((tab.server.url, "data:", "blob:"))} == set()
    assert not tab.failed


# -- the component alone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [3, 2, 1, 0])
def test_points_without_depth_are_drawn_too(bare, rank):
    assert draw(bare, points(list("ab") * 20, rank)) > 10
    assert draw(bare, points([])) == 0


def test_a_query_is_a_triangle_and_a_key_a_circle(bare):
    """The widths of the top and bottom row of one mark tell the two apart.

    A triangle stands on its side, a circle is the same both ways up.
    """
    rows = """canvas => {
      const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const row = (y) => Array.from({ length: width }, (_, x) => data[4 * (y * width + x)]);
      const counts = Array.from({ length: height }, (_, y) => row(y).filter((v) => v < 200).length);
      return counts.filter((n) => n);
    }"""
    widths = {}
    for side in ("query", "key"):
        draw(bare, points(["a"], rank=0).with_columns(side=np.array([side])))
        widths[side] = bare.locator(".space canvas").evaluate(rows)
    assert widths["key"] == widths["key"][::-1]
    assert len(widths["key"]) > 3
    assert widths["query"][-1] > 2 * widths["query"][0]


def test_a_sharp_screen_gets_a_pixel_for_each_of_its_own(bare):
    draw(bare, points(list("ab") * 20))
    assert bare.locator(".space canvas").evaluate("canvas => [canvas.width, canvas.height]") == [300, 300]
    session = bare.context.new_cdp_session(bare)
    session.send(
        "Emulation.setDeviceMetricsOverride", {"width": 800, "height": 600, "deviceScaleFactor": 2, "mobile": False}
    )
    draw(bare, points(list("ab") * 20))
    assert bare.locator(".space canvas").evaluate("canvas => [canvas.width, canvas.height]") == [600, 600]


def test_a_late_clean_up_of_an_earlier_time_leaves_the_picture(bare):
    """Streamlit may show new data before it has ended the old: only the last of the clean-ups removes the picture."""
    draw(bare, points(list("ab")))
    bare.evaluate("data => { window.last = show(data); end(); }", sent(points(list("abc"))))
    assert bare.locator(".space").count() == 1
    assert bare.locator(".space button").count() == 3
    bare.evaluate("last()")
    assert bare.locator(".space").count() == 0
