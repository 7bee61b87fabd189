"""Points chosen in a real browser: brush, prompts, a contrast of them; by keyboard alone; all heads, then one."""

from __future__ import annotations

import base64
import json
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest
import stores
from test_browser import Server, Tab, pytestmark, tab_of  # noqa: F401 -- it marks all

import qkstore

ADDRESS = "projections?run=boxes&contrast=order&layer=1&head=0"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen")
    server = Server(stores.write(folder / "store"), folder / "server.log")
    server.where = folder / "store"
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile"), height=1200) as tab:
        tab.failed = []
        tab.page.on("pageerror", lambda error: tab.failed.append(error))
        yield tab
        assert not tab.failed


def opened(tab, address: str = ADDRESS):
    tab.open(address)
    tab.page.locator(".space .picture").scroll_into_view_if_needed()
    tab.settle()
    return tab.page


def drag(page, places) -> None:
    """Draw a path with the pointer, in shares of the picture."""
    box = page.locator(".space .picture").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=6)
    page.mouse.up()


def count(page) -> int:
    text = page.locator(".space .count").inner_text()
    return int(text.split()[0].replace(",", "")) if text else 0


def facts(page) -> dict[tuple[str, str], int]:
    """{(label, queries or keys): how many} as told below the picture."""
    look = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"  # at one moment
    cells = page.locator(".qk-facts tr").evaluate_all(look)
    return {(label, side): int(n.replace(",", "")) for label, n, side in cells}


def test_a_brush_gives_prompts_and_a_contrast_that_can_be_saved(tab, server):
    page = opened(tab)
    page.get_by_text("Nothing is chosen").wait_for(state="visible")
    drag(page, [(0.02, 0.02), (0.5, 0.95)])
    chosen = count(page)
    assert chosen > 20
    page.get_by_text("Their prompts").wait_for(state="visible")
    assert tab.becomes(lambda: sum(facts(page).values()), chosen)
    rows = page.locator(".qk-tokens")
    assert rows.count() == 10
    assert page.locator(".qk-tokens .qk-query, .qk-tokens .qk-positive").count() == 10, "each marks its own token"
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_text("Nothing is chosen").wait_for(state="visible")
    assert count(page) == 0

    for name in ("● key", "2"):
        page.locator(".space .legend").get_by_role("button", name=name, exact=True).click()
    assert tab.becomes(lambda: set(facts(page)), {("2", "keys")})
    assert "order_id is 2" in page.get_by_test_id("stRadioGroup").inner_text()
    page.get_by_role("link", name="Open as a draft on Contrasts").click()
    assert tab.becomes(tab.title, "Contrasts")
    assert tab.becomes(lambda: page.get_by_text("Not saved").count(), 1)
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["contrast"], asked["run"]) == (["order"], ["boxes"])
    fields = json.loads(zlib.decompress(base64.urlsafe_b64decode(asked["draft"][0] + "==")))
    assert (fields["positive"], fields["negative"]) == ("k.order_id = 2", "k.order_id <> 2")


def test_a_lasso_chooses_and_a_click_or_escape_does_not_lose_the_page(tab):
    page = opened(tab)
    page.get_by_role("button", name="Lasso", exact=True).click()
    drag(page, [(0.08, 0.1), (0.45, 0.1), (0.45, 0.8), (0.25, 0.9), (0.08, 0.8)])
    lasso = count(page)
    assert lasso > 10
    assert tab.becomes(lambda: sum(facts(page).values()), lasso)
    page.get_by_text("3-D", exact=True).click()
    page.wait_for_url("**plot=3d**")
    assert tab.becomes(page.locator(".space .tools button").first.inner_text, "Turn")
    assert count(page) == lasso, "the same points in three dimensions"
    page.locator(".space .picture").press("Escape")
    assert count(page) == 0
    assert tab.becomes(lambda: page.get_by_text("Nothing is chosen").count(), 1)


def test_another_head_forgets_what_was_drawn(tab):
    page = opened(tab)
    drag(page, [(0.02, 0.02), (0.5, 0.95)])
    assert tab.becomes(lambda: sum(facts(page).values()), count(page))
    assert count(page) > 0
    tab.pick("Head", "3")
    page.wait_for_url("**head=3**")
    assert tab.becomes(lambda: page.get_by_text("Nothing is chosen").count(), 1)
    assert count(page) == 0


def test_points_are_chosen_by_keyboard_alone(tab):
    page = opened(tab)
    page.locator(".space .picture").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # ▲ query
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the first label
    assert tab.becomes(lambda: set(facts(page)), {("1", "queries")})
    assert "queried_order is 1" in page.get_by_test_id("stRadioGroup").inner_text()
    assert page.get_by_role("link", name="Open as a draft on Contrasts").count() == 1


def test_all_heads_then_one_by_a_press_and_by_a_key(tab, server):
    page, heads = tab.open(f"{ADDRESS}&plot=heads").page, tab.page.locator(".heads button")
    n = qkstore.open(server.where).run("boxes").n_heads
    assert tab.becomes(heads.count, n)
    assert "accuracy" in heads.first.inner_text()
    assert "chance" in heads.first.inner_text()
    assert heads.first.get_attribute("aria-current") == "true"
    painted = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v) => v).length"
    assert tab.becomes(lambda: all(c.evaluate(painted) > 500 for c in page.locator(".heads canvas").all()), True)
    heads.nth(2).click()
    page.wait_for_url("**head=2**")
    assert tab.becomes(lambda: tab.chosen("Head"), "2")
    assert tab.becomes(lambda: tab.count(".space .picture"), 1)
    page.go_back()
    assert tab.becomes(heads.count, n)
    heads.nth(3).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**head=3**")
    assert tab.becomes(lambda: tab.chosen("Head"), "3")


def test_what_was_chosen_stacks_on_a_narrow_screen(tab):
    tab.page.set_viewport_size({"width": 820, "height": 1200})
    page = opened(tab)
    page.locator(".space .legend").get_by_role("button", name="2", exact=True).click()
    page.get_by_text("Their prompts").wait_for(state="visible")
    tab.settle()
    panels = [box.bounding_box() for box in page.locator(".st-key-panels [data-testid=stColumn]").all()[:2]]
    wide = page.locator("[data-testid=stMain]").evaluate("main => [main.scrollWidth, main.clientWidth]")
    tab.page.set_viewport_size({"width": 1440, "height": 1200})
    assert panels[0]["y"] + panels[0]["height"] <= panels[1]["y"]
    assert wide[0] <= wide[1]
