"""Contrasts in a real browser: SQL with completion and marks, one built without SQL, its pairs, and keys alone."""

from __future__ import annotations

import re

import pytest
import stores
from test_browser import Server, Tab, playwright, pytestmark, tab_of  # noqa: F401 -- it marks all
from test_team_browser import press

import qkstore

HOSTILE = "it's <img src=x onerror=window.harm=1>"
ORDER = "contrasts?run=boxes&contrast=order"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contrasts")
    data = stores.boxes(200)
    data.tokens = data.tokens.with_columns(box=data.tokens["box"].replace({"M": HOSTILE}))
    server = Server(stores.write(folder / "store", data=data), folder / "log")
    server.store = qkstore.open(folder / "store")
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        tab.failed = []
        tab.page.on("pageerror", lambda error: tab.failed.append(str(error)))
        yield tab
        assert not tab.failed
        assert {u for u in tab.fetched if not u.startswith((server.url, "data:", "blob:"))} == set()


def editor(tab, label: str):
    """The editor of a field, once it is there."""
    field = tab.page.get_by_role("textbox", name=label, exact=True).and_(tab.page.locator(".cm-content"))
    field.wait_for()
    return field


def text(tab, label: str) -> str:
    return "\n".join(editor(tab, label).locator(".cm-line").all_inner_texts()).strip()


def replace(tab, label: str, sql: str, leave: str = "Control+Enter") -> None:
    """Write into a field as a person does, from an empty one on, and leave it."""
    field = editor(tab, label)
    field.click()
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.press("Delete")
    tab.page.keyboard.insert_text(sql)
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press(leave)
    tab.settle()


def completed(tab, typed: str):
    """The first completion on offer, once that is of all that was typed: earlier keys may have opened one too."""
    first = tab.page.locator(".cm-tooltip-autocomplete li").first
    playwright.expect(first.locator(".cm-completionMatchedText")).to_have_text(typed, timeout=60_000)
    return first


def take(tab) -> None:
    """Choose the first completion on offer."""
    tab.page.wait_for_timeout(150)  # CodeMirror takes no choice that a person could not have seen
    tab.page.keyboard.press("Enter")


def test_columns_and_values_are_completed_and_ctrl_enter_previews(tab):
    tab.open(ORDER)
    field, options = editor(tab, "Positive"), tab.page.locator(".cm-tooltip-autocomplete li")
    field.click()
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.press("Delete")
    tab.page.keyboard.type("k.or", delay=60)
    first = completed(tab, "or")
    assert first.locator(".cm-completionLabel").inner_text() == "order_id"
    assert first.locator(".cm-completionDetail").inner_text() == "bigint"
    take(tab)
    tab.page.keyboard.type(" = ", delay=60)
    tab.page.keyboard.press("Control+Space")
    assert tab.becomes(lambda: options.all_inner_texts()[:4], ["1", "2", "3", "4"])
    assert any("q.queried_order" in option for option in options.all_inner_texts())
    tab.page.keyboard.type("q.queried_o", delay=60)
    completed(tab, "q.queried_o")
    take(tab)
    tab.page.keyboard.type(" and k.pos > 2", delay=20)
    tab.page.keyboard.press("Escape")
    assert tab.becomes(lambda: text(tab, "Positive"), "k.order_id = q.queried_order and k.pos > 2")
    assert "draft" not in tab.address(), "nothing is sent while one types"
    tab.page.keyboard.press("Control+Enter")
    assert tab.becomes(lambda: "draft" in tab.address(), True)
    told = tab.page.get_by_text("the key's order_id is the query's queried_order and the key's pos is above 2")
    assert tab.becomes(told.count, 1)


def test_a_hostile_value_is_completed_as_a_literal(tab):
    tab.open(ORDER)
    field, options = editor(tab, "Positive"), tab.page.locator(".cm-tooltip-autocomplete li")
    field.click()
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.press("Delete")
    tab.page.keyboard.type("k.box = 'it", delay=60)
    assert tab.becomes(options.count, 1), "no other value begins so"
    assert options.first.inner_text().startswith("'it''s")
    take(tab)
    literal = "'" + HOSTILE.replace("'", "''") + "'"
    assert tab.becomes(lambda: text(tab, "Positive"), f"k.box = {literal}")
    tab.page.keyboard.press("Control+Enter")
    assert tab.becomes(lambda: "draft" in tab.address(), True)
    assert tab.count(".cm-lintRange-error") == 0, "it is one value, and no SQL"
    assert tab.page.evaluate("window.harm") is None


def test_an_error_is_marked_at_its_characters_and_told_under_its_field(tab):
    tab.open(ORDER)
    replace(tab, "Negative", "k.order_id <> q.queried_order and k.nope = 1")
    wrong = tab.page.locator(".cm-lintRange-error")
    wrong.wait_for()
    assert wrong.inner_text() == "nope"
    assert editor(tab, "Negative").get_attribute("aria-invalid") == "true"
    assert editor(tab, "Positive").get_attribute("aria-invalid") == "false"
    said = tab.page.locator("[data-testid=stAlert]", has_text="no column 'nope' in k")
    assert tab.becomes(said.count, 1)
    below = said.bounding_box()["y"] - editor(tab, "Negative").bounding_box()["y"]
    assert 0 < below < 160, "next below its field"
    assert tab.page.get_by_text("The last preview that worked").count() in (0, 1)
    replace(tab, "Negative", "k.order_id <> q.queried_order")
    assert tab.becomes(lambda: tab.count(".cm-lintRange-error"), 0)
    assert tab.count("[data-testid=stAlertContentError]") == 0


def test_keys_alone_go_in_and_out(tab):
    tab.open(ORDER)
    where, *_ = [editor(tab, label) for label in ("Where (both sides)", "Positive", "Negative")]
    where.focus()
    held = "document.activeElement.shadowRoot?.activeElement?.getAttribute('aria-label') ?? ''"
    for expected in ("Positive", "Negative"):
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate(held) == expected
    tab.page.keyboard.press("Shift+Tab")
    assert tab.page.evaluate(held) == "Positive"
    tab.page.keyboard.type(" and k.p", delay=60)
    completed(tab, "p")
    tab.page.keyboard.press("Escape")
    assert tab.count(".cm-tooltip-autocomplete") == 0
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate(held) == "Negative", "Tab leaves a field that is completing too"


def test_a_draft_outlives_another_page_back_and_a_reload(tab):
    tab.open(ORDER)
    replace(tab, "Positive", "k.order_id = q.queried_order and k.pos > 3")
    assert tab.becomes(lambda: "draft" in tab.address(), True)
    tab.page.locator("[data-testid=stSidebar]").get_by_role("link", name="Heads").click()
    assert tab.becomes(tab.title, "Heads")
    tab.page.go_back()
    assert tab.becomes(tab.title, "Contrasts")
    assert tab.becomes(lambda: text(tab, "Positive"), "k.order_id = q.queried_order and k.pos > 3")
    tab.page.reload()
    tab.settle()
    assert tab.becomes(lambda: text(tab, "Positive"), "k.order_id = q.queried_order and k.pos > 3")
    press(tab, "Discard the draft")
    assert tab.becomes(lambda: text(tab, "Positive"), "k.order_id = q.queried_order")
    replace(tab, "Positive", "k.order_id = q.queried_order and k.pos > 3", leave="Tab")
    assert tab.becomes(lambda: "draft" in tab.address(), True), "the same text once more is a change again"
    press(tab, "Discard the draft")


def test_without_the_bundle_it_is_a_plain_field_that_works(tab):
    bundle = re.compile(r":\d+/media/")
    tab.page.route(bundle, lambda route: route.abort())
    try:
        tab.open(ORDER)
        field = tab.page.get_by_role("textbox", name="Positive", exact=True)
        assert tab.count(".cm-content") == 0
        field.fill("k.order_id = 2")
        field.press("Control+Enter")
        assert tab.becomes(lambda: "draft" in tab.address(), True)
        assert field.input_value() == "k.order_id = 2"
        press(tab, "Discard the draft")
        assert tab.becomes(field.input_value, "k.order_id = q.queried_order")
    finally:
        tab.page.unroute(bundle)


def test_a_contrast_is_built_without_sql_saved_and_used_on_heads(tab, server):
    tab.open(ORDER)
    tab.page.get_by_text("Without SQL", exact=True).click()
    tab.page.wait_for_url("**shape=build**")
    tab.settle()
    for part, value in (("Positive pairs", HOSTILE), ("Negative pairs", "N")):
        for of, option in (("Column", "key box"), ("Relation", "is"), ("Value", value)):
            tab.pick(f"{of} of condition 1 of {part}", option, by_typing=True)
    assert tab.becomes(lambda: "draft" in tab.address(), True)
    literal = "'" + HOSTILE.replace("'", "''") + "'"
    assert tab.becomes(lambda: tab.page.get_by_text(f"positive k.box = {literal}").count(), 1)
    name = tab.page.get_by_label("Name")
    name.fill("built")
    name.press("Enter")
    tab.settle()
    press(tab, "Save as a new version")
    assert tab.becomes(lambda: [c.name for c in server.store.catalog.contrasts()], ["built"])
    assert server.store.catalog.contrast("built").positive == f"k.box = {literal}"
    tab.page.locator("[data-testid=stSidebar]").get_by_role("link", name="Heads").click()
    assert tab.becomes(tab.title, "Heads")
    assert tab.becomes(lambda: tab.chosen("Contrast"), "built@1")
    assert tab.count("[data-testid=stAlertContentError]") == 0
    assert tab.page.evaluate("window.harm") is None


def test_the_next_pairs_and_back_the_ones_before(tab):
    tab.open(ORDER)
    shown = tab.page.locator(".qk-note", has_text="positive 1 of").count
    assert tab.becomes(shown, 1)
    press(tab, "Next")
    assert tab.becomes(lambda: tab.address().get("skip"), ["2"])
    assert tab.becomes(shown, 0)
    tab.page.go_back()
    assert tab.becomes(shown, 1)


@pytest.mark.parametrize("shape", ["predicates", "build", "select"])
def test_a_narrow_page_does_not_scroll_sideways(tab, shape):
    tab.page.set_viewport_size({"width": 820, "height": 1100})
    try:
        tab.open(f"{ORDER}&shape={shape}")
        wide = tab.page.locator("[data-testid=stMain]").evaluate("main => [main.scrollWidth, main.clientWidth]")
        inner = "all => all.filter((e) => e.scrollWidth > e.clientWidth + 1).length"
        assert wide[0] <= wide[1] <= 820
        assert tab.page.locator(".sql .cm-scroller").evaluate_all(inner) == 0
    finally:
        tab.page.set_viewport_size({"width": 1440, "height": 960})


def test_a_dark_page_has_light_words(tab):
    tab.page.emulate_media(color_scheme="dark")
    try:
        tab.open(ORDER)
        editor(tab, "Positive")
        bright = "e => getComputedStyle(e).color.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
        assert tab.page.locator(".sql .cm-line span").first.evaluate(bright) > 380
    finally:
        tab.page.emulate_media(color_scheme="light")
    tab.open(ORDER)
    editor(tab, "Positive")
    assert tab.page.locator(".sql .cm-line span").first.evaluate(bright) < 380
