"""The dashboard in a real browser: a cold deep link first, then the pages, the address, Back, and what is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import pytest
import stores
from conftest import ROOT
from ports import free_port

from dashboard import shell

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PAGES = [
    name for names in shell.GROUPS.values() for name in names if name != "toy"
]  # it needs toy runs: test_toy_page.py
DEEP = "heads?run=boxes&contrast=lexical&layer=0&head=3"
IDLE = (
    "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning' "
    "&& document.querySelector('.stMain h1')"
)
LATE = (  # a part whose script has not come yet, or a chart that has no marks yet
    "document.querySelector('[data-testid=stSkeleton]') "
    "|| [...document.querySelectorAll('[data-testid=stVegaLiteChart]')].some((chart) => !chart.querySelector('.marks'))"
)
DRAWN = "[data-testid=stVegaLiteChart] .marks, [data-testid=stDataFrame] canvas, .space .picture"
HEIGHT = "document.querySelector('[data-testid=stMain]').scrollHeight"

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no browser at {CHROMIUM}; name one in $CHROMIUM"),
    pytest.mark.slow,
]


SERVE = ("-m", "dashboard.server", "{port}")  # as `qkstore serve` has it
PLAIN = ("-m", "streamlit", "run", "app.py", "--server.port", "{port}")


class Server:
    """A dashboard on a free port of this machine, ended by its own process."""

    def __init__(self, store: Path, log: Path, words: tuple[str, ...] = SERVE):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, *(word.format(port=self.port) for word in words)]
        self.log = log.open("w")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "QKSTORE": str(store)}, stdout=self.log, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2).status == 200
        except OSError:
            return False

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def settled(page) -> None:
    """Wait until a page is idle, all of it drawn, and still three times in a row: a run may be about to start.

    What is drawn late moves what is below it, and a button that moves under a press is not pressed.
    """
    looks = []
    while len(looks) < 3 or (len(set(looks[-3:])) > 1 and len(looks) < 50):
        page.wait_for_timeout(200)
        page.wait_for_function(f"{IDLE} && !({LATE})")
        looks.append(page.evaluate(HEIGHT))


class Tab:
    """One browser tab that remembers which hosts it asked for anything."""

    def __init__(self, context, server: Server):
        self.server, self.fetched, self.told = server, [], []
        self.page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.on("console", lambda said: self.told.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.told.append(str(error)))

    def open(self, path: str) -> Tab:
        self.page.goto(f"{self.server.url}/{path}")
        return self.settle()

    def settle(self) -> Tab:
        settled(self.page)
        return self

    def pick(self, label: str, option: str | int, by_typing: bool = False) -> Tab:
        """Choose from a list by a text or a place; one that the page drew anew meanwhile is opened again.

        by_typing: of a long list, of which a page draws what is in sight.
        """
        named = {} if isinstance(option, int) else {"name": option, "exact": True}
        chosen = self.page.get_by_role("option", **named).nth(0 if named else option)
        for _ in range(10):
            self.settle().page.get_by_role("combobox", name=label, exact=True).click(delay=100)
            if by_typing:
                self.page.keyboard.type(str(option), delay=30)
            try:
                chosen.click(delay=100, timeout=5000)
                return self.settle()
            except playwright.TimeoutError:
                self.page.keyboard.press("Escape")
        raise AssertionError(f"{label} has no {option!r} to choose")

    def becomes(self, what, wanted) -> bool:
        """Whether what() gives the wanted value within forty seconds, and still does a moment later."""
        until = time.monotonic() + 40  # several looks of the page on a busy machine
        while time.monotonic() < until:
            if what() == wanted and self.settle() and what() == wanted:
                return True
            self.page.wait_for_timeout(100)
        return False

    def address(self) -> dict[str, list[str]]:
        """The choices in the address."""
        return parse_qs(urlsplit(self.page.url).query)

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def title(self) -> str:
        return self.page.locator(".stMain h1").inner_text()

    def chosen(self, label: str) -> str:
        return self.page.get_by_role("combobox", name=label, exact=True).input_value()

    def figures(self) -> list[str]:
        return self.page.locator("[data-testid=stMetricValue]").all_inner_texts()


@contextmanager
def tab_of(server, profile: Path, width: int = 1440, height: int = 960, **more) -> Iterator[Tab]:
    """A tab of a browser of its own, closed with the block. more: as Playwright has it, such as color_scheme."""
    with playwright.sync_playwright() as engine:
        context = engine.chromium.launch_persistent_context(
            str(profile),
            executable_path=str(CHROMIUM),
            args=FLAGS,
            viewport={"width": width, "height": height},
            **more,
        )
        try:
            yield Tab(context, server)
        finally:
            context.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    server = Server(stores.write(folder / "store"), folder / "server.log")
    server.store = folder / "store"
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def test_the_first_request_of_a_fresh_server_may_be_a_deep_link(tab):
    """Nothing before this opens the server. All that the document asks for on its way to the page is there."""
    tab.open(DEEP)
    assert_heads(tab)
    assert tab.told == []
    assert not [url for url in tab.fetched if "/heads/" in url], "the server is asked where it is"
    assert tab.page.title() == "Heads · qkstore"


def test_a_server_of_streamlit_s_own_begins_with_a_deep_link_too(tab, server, tmp_path):
    """A page's file runs without app.py then, and shell.enter goes there."""
    plain = Server(server.store, tmp_path / "log", PLAIN)
    other = Tab(tab.page.context, plain)
    try:
        assert_heads(other.open(DEEP))
    finally:
        other.page.close()
        plain.end()


def assert_heads(tab) -> None:
    assert tab.title() == "Heads"
    assert tab.page.locator("[data-testid=stSidebar] .qk-group").all_inner_texts() == list(shell.GROUPS)
    assert tab.becomes(tab.page.get_by_role("heading", name="Layer 0, head 3").count, 1)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_data(tab, page):
    tab.open("" if page == "overview" else page)
    assert tab.title() == page.capitalize()
    if page != "notes":  # of which this store has none
        tab.page.wait_for_selector(DRAWN)
    assert tab.count("[data-testid=stException], [data-testid=stAlert] [data-testid=stAlertContentError]") == 0
    assert len(tab.figures()) == 4


def test_a_pasted_url_gives_the_view_and_back_gives_its_data(tab):
    tab.open("subspaces?run=boxes&contrast=order&layer=0&head=3")
    order = tab.figures()
    tab.open("subspaces?run=boxes&contrast=lexical&layer=1&head=2")
    lexical = tab.figures()
    assert order != lexical
    tab.page.go_back()
    assert tab.becomes(tab.figures, order)
    assert tab.chosen("Contrast") == "order"

    tab.open("subspaces?run=boxes&contrast=order&layer=1&head=2")
    before = tab.figures()
    tab.pick("Contrast", "lexical")
    tab.page.wait_for_url("**contrast=lexical**")
    assert tab.becomes(tab.figures, lexical), "a choice gives what the pasted address gave"
    tab.page.go_back()
    tab.page.wait_for_url("**contrast=order**")
    assert tab.becomes(tab.figures, before)
    assert tab.chosen("Contrast") == "order"


def test_a_click_on_a_cell_is_that_head_and_links_carry_it(tab):
    tab.open("heads?run=boxes&contrast=order")
    shown = tab.page.get_by_role("heading", name="Layer 0, head 3").count
    assert shown() == 0
    tab.page.locator(
        "[aria-label*='layer: 0'][aria-label*='head: 3'], [aria-label*='Layer: 0'][aria-label*='Head: 3']"
    ).first.click()
    tab.page.wait_for_url("**layer=0**head=3**")
    assert tab.becomes(shown, 1)
    tab.page.locator("[data-testid=stSidebar]").get_by_role("link", name="Projections").click()
    tab.page.wait_for_url("**/projections?**")
    assert tab.becomes(tab.title, "Projections")
    assert (tab.chosen("Layer"), tab.chosen("Head")) == ("0", "3")
    tab.page.go_back()
    assert tab.becomes(tab.title, "Heads")
    assert shown() == 1


def test_no_text_of_others_becomes_a_link(tab):
    """Browsers' Markdown makes links of bare addresses, escaped or not. Nothing of one leads out of the dashboard."""
    text = "see https://one.example.org www.two.example.org a@three.example.org"
    tab.open(f"heads?run=boxes&contrast={quote(text)}")
    shown = tab.page.locator("[data-testid=stAlert]").first.inner_text()
    assert "one.example.org" in shown
    assert "three.example.org" in shown
    hrefs = [urljoin(tab.page.url, link.get_attribute("href")) for link in tab.page.locator("a[href]").all()]
    assert len(hrefs) > 5
    assert [href for href in hrefs if not href.startswith(f"{tab.server.url}/")] == []


def test_panels_stack_on_a_narrow_screen(tab):
    def tops() -> list[float]:
        boxes = tab.page.locator(".st-key-panels [data-testid=stColumn]").all()
        return [round(box.bounding_box()["y"]) for box in boxes[:2]]

    tab.open("heads")
    assert tops()[0] == tops()[1]
    tab.page.set_viewport_size({"width": 820, "height": 960})
    assert tab.becomes(lambda: tops()[0] < tops()[1], True)
    tab.page.set_viewport_size({"width": 1440, "height": 960})


def test_nothing_was_fetched_from_another_host(tab):
    assert len(tab.fetched) > 50
    assert {url for url in tab.fetched if not url.startswith((tab.server.url, "data:", "blob:"))} == set()


def test_no_error_is_in_the_console(tab):
    assert tab.told == []
