"""The foot of a page in a real browser: the link in the clipboard opens the page, and files come by keys alone."""

from __future__ import annotations

import io

import polars as pl
import pytest
import stores
from leaving import about, svg
from PIL import Image
from test_browser import CHROMIUM, FLAGS, Server, Tab, playwright, pytestmark  # noqa: F401 -- marks

SIDEWAYS = "document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    server = Server(stores.write(folder / "store"), folder / "log")
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with playwright.sync_playwright() as engine:
        profile = str(tmp_path_factory.mktemp("profile"))
        more = {"executable_path": CHROMIUM, "args": FLAGS, "viewport": {"width": 1440, "height": 960}}
        context = engine.chromium.launch_persistent_context(profile, color_scheme="dark", **more)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab = Tab(context, server)
        tab.errors = []
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.page.on("console", lambda said: tab.errors.append(said.text) if said.type == "error" else None)
        yield tab
        context.close()


def opened(tab, path: str):
    tab.open(path)
    tab.page.locator("summary", has_text="Share").click()
    tab.page.get_by_role("button", name="Copy link").wait_for(state="visible")
    return tab.settle()


def taken(tab, button: str) -> tuple[str, bytes]:
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name=button, exact=True).press("Enter")
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_the_copied_link_opens_the_same_page(tab):
    opened(tab, "projections?contrast=lexical")
    figures = tab.figures()
    tab.page.get_by_role("button", name="Copy link").press("Enter")
    tab.page.get_by_text("Copied", exact=True).wait_for(state="visible")
    link = tab.page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{tab.server.url}/projections?run=boxes&contrast=lexical&layer=")
    assert "method=pca" in link
    tab.open(link.removeprefix(f"{tab.server.url}/"))
    assert tab.figures() == figures
    assert tab.chosen("Method") == "PCA"


def test_where_there_is_no_clipboard_the_text_is_copied_all_the_same(tab):
    opened(tab, "heads")
    tab.page.evaluate("navigator.clipboard.writeText('before')")
    tab.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    tab.page.get_by_role("button", name="Copy link").click()
    tab.page.get_by_text("Copied", exact=True).wait_for(state="visible")
    tab.page.evaluate("delete navigator.clipboard")
    assert "/heads?run=boxes&contrast=order" in tab.page.evaluate("navigator.clipboard.readText()")


def test_another_figure_in_another_width_from_a_dark_page(tab):
    opened(tab, "subspaces")
    drawn = tab.count("[data-testid=stVegaLiteChart]")
    for label, option in (("Figure", "angles"), ("Width", "6.75 inches")):
        tab.pick(label, option)
    name, data = taken(tab, "PNG")
    assert name == "boxes-order-L1H2-angles.png"
    image = Image.open(io.BytesIO(data))
    assert image.width == 2025
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    name, data = taken(tab, "SVG")
    assert svg(data).get("width") == "6.75in"
    assert about(data)["address"].startswith(f"{tab.server.url}/subspaces?run=boxes&contrast=order")
    assert taken(tab, "PDF")[1].startswith(b"%PDF")
    assert tab.count("[data-testid=stVegaLiteChart]") == drawn


def test_tables_come_with_what_they_were_made_of(tab):
    opened(tab, "interventions")
    name, data = taken(tab, "CSV")
    assert name.startswith("boxes-order-L1H2-")
    assert data.startswith(b"# run: boxes\n")
    table = pl.read_csv(io.BytesIO(data), comment_prefix="#")
    assert pl.read_parquet(io.BytesIO(taken(tab, "Parquet")[1])).columns == table.columns
    assert taken(tab, "Notebook")[0] == "boxes-order-L1H2-Interventions.ipynb"


def test_a_narrow_screen_scrolls_nowhere_sideways(tab):
    tab.page.set_viewport_size({"width": 820, "height": 960})
    opened(tab, "subspaces")
    assert tab.page.evaluate(SIDEWAYS)
    right = tab.page.locator(".st-key-share").bounding_box()
    for name in ("Copy link", "SVG", "PNG", "PDF", "CSV", "Parquet", "Notebook"):
        box = tab.page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box["x"] + box["width"] <= right["x"] + right["width"], name
    tab.page.set_viewport_size({"width": 1440, "height": 960})


def test_nothing_came_from_elsewhere_and_nothing_failed(tab):
    assert {url for url in tab.fetched if not url.startswith((tab.server.url, "data:", "blob:"))} == set()
    assert tab.errors == []
