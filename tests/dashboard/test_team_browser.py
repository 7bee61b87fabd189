"""Versions, archive, notes and drafts in a real browser: what is clicked is what is shown, and the address says so."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
import stores
from test_browser import Server, Tab, pytestmark, tab_of  # noqa: F401 -- it marks all

import qkstore
from qkstore.contrast import Contrast

ALONE = "k.prompt_id = q.prompt_id and k.role = 'box'"
SIDES = {"positive": "k.order_id = q.queried_order", "negative": "k.order_id <> q.queried_order"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    store = qkstore.open(stores.write(folder / "store", n=120))
    for name in ("fruits", "fruits", "arc-one", "arc-two"):
        weighting = "query" if store.catalog.versions(name) else "pair"
        store.catalog.save(Contrast(name, ALONE, **SIDES, weighting=weighting))
    for name in ("arc-one", "arc-two"):
        store.catalog.archive(name)
    server = Server(folder / "store", folder / "log")
    server.store = store
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def at(tab) -> str:
    """The contrast that the address names."""
    return parse_qs(urlsplit(tab.page.url).query).get("contrast", [""])[0]


def press(tab, name: str):
    tab.settle().page.get_by_role("button", name=name, exact=True).click(delay=150)  # as a hand does
    return tab.settle()


def test_an_older_version_is_opened_and_the_address_says_so(tab):
    tab.open("contrasts?run=boxes&contrast=fruits@2")
    tab.page.get_by_text("Versions of fruits: 2").click()
    tab.settle()
    press(tab, "Open version 1")
    assert tab.becomes(lambda: at(tab), "fruits@1")
    assert tab.chosen("Contrast") == "fruits@1"
    assert "fruits@2 is newer" in tab.page.locator("[data-testid=stAlert]").first.inner_text()
    tab.page.reload()
    tab.settle()
    assert tab.chosen("Contrast") == "fruits@1"
    tab.page.go_back()
    assert tab.becomes(lambda: tab.chosen("Contrast"), "fruits@2")


def test_what_is_restored_is_what_is_shown(tab, server):
    tab.open("contrasts?run=boxes&contrast=arc-one@1")
    tab.pick("Archived: 2", "arc-two@1")
    assert tab.becomes(lambda: at(tab), "arc-two@1")
    press(tab, "Restore")
    assert tab.becomes(lambda: [c.name for c in server.store.catalog.archived()], ["arc-one"])
    press(tab, "Archive this contrast")
    assert tab.becomes(lambda: [c.name for c in server.store.catalog.archived()], ["arc-one", "arc-two"])
    assert tab.chosen("Contrast") == "arc-two@1", "its address goes on"


def test_a_note_is_left_where_one_is_and_what_is_refused_stays_in_the_field(tab, server):
    tab.open("heads?run=boxes&contrast=order&layer=1&head=2")
    tab.page.get_by_test_id("stMainBlockContainer").get_by_text("Notes", exact=True).click()
    tab.settle()  # it opens by and by
    field = tab.page.get_by_label("A note, which all who use the store see")
    field.fill("bad \u202e text")
    press(tab, "Leave the note")
    tab.page.get_by_text("which cannot be seen").wait_for(state="visible")  # the notes stay open
    assert field.input_value() == "bad \u202e text"
    field.fill("W" * 400 + " ❤️")
    press(tab, "Leave the note")
    assert tab.becomes(lambda: [n.subject for n in server.store.catalog.notes.on()], ["L1 H2"])
    tab.page.get_by_text("❤️").first.wait_for(state="visible")
    assert tab.becomes(tab.page.get_by_label("A note, which all who use the store see").input_value, "")
    assert tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth")
    press(tab, "Withdraw")
    assert tab.becomes(lambda: server.store.catalog.notes.count(), 0)
