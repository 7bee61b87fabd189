"""Runs and notes in a real browser: an ingest is seen at work, a run is renamed and deleted, notes are found."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
import stores
from conftest import ROOT
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all
from test_team_browser import press

import qkstore
from qkstore.store.work import at_work

HOSTILE = "<img src=x onerror=alert(1)> **b** [x](http://example.com) $x$"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = stores.boxes(n=64)
    data.manifest["model"] = HOSTILE
    stores.write(folder / "store", "odd", data)
    stores.write(folder / "store", "boxes", n=120)
    store = qkstore.open(folder / "store")
    store.catalog.notes.add(f"of odd {HOSTILE}", "odd")
    store.catalog.notes.add("finds fruits", "boxes", "L1 H2")
    server = Server(folder / "store", folder / "log")
    server.store = store
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def test_a_run_is_renamed_and_its_old_address_shows_it(tab, server):
    tab.open("runs?run=odd")
    press(tab, "Rename this run…")
    tab.page.get_by_label("New name").fill("odder")
    press(tab, "Rename")
    assert tab.becomes(server.store.names, ["boxes", "odder"])
    assert tab.becomes(lambda: tab.chosen("Run"), "odder")
    tab.open("heads?run=odd")
    assert "was renamed to odder" in tab.page.locator("[data-testid=stAlert]").first.inner_text()
    assert tab.chosen("Run") == "odder"


def test_notes_are_found_and_lead_to_what_they_are_on(tab):
    tab.open("notes")
    assert tab.becomes(lambda: tab.page.get_by_role("button", name="Withdraw").count(), 2)
    assert tab.page.locator("img[src=x]").count() == 0
    tab.page.get_by_label("Find").fill("FRUITS")
    tab.page.keyboard.press("Enter")
    assert tab.becomes(lambda: tab.page.get_by_role("button", name="Withdraw").count(), 1)
    assert "find=FRUITS" in tab.page.url
    tab.page.get_by_role("link", name=re.compile("run boxes, head")).click(delay=150)
    assert tab.becomes(tab.title, "Heads")
    assert (tab.chosen("Run"), tab.chosen("Layer"), tab.chosen("Head")) == ("boxes", "1", "2")
    tab.page.go_back()
    assert tab.becomes(tab.title, "Notes")


def captures(store) -> bool:
    """Whether an ingest has begun to capture."""
    return any(one.alive and one.stage == "capture" and one.done for one in at_work(store))


def test_an_ingest_at_work_is_seen_with_its_count_and_then_its_run(tab, server, tmp_path):
    """It is halted until its count has been seen, or it would end while a busy machine opens the page."""
    tab.open("runs")
    words = "model --model ingest/demo_model --task boxes --n 600 --n-test 60 --batch-size 1".split()
    command = [sys.executable, "-m", "ingest", *words, "--store", str(server.store.path), "--run", "coming"]
    said = tmp_path / "said"
    with said.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)
    try:
        while not captures(server.store):
            assert process.poll() is None, said.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
        bar = tab.open("runs").page.get_by_text(re.compile(r"coming, capture: [\d,]+ of [\d,]+"))
        first = bar.first.inner_text()
        process.send_signal(signal.SIGCONT)
        tab.page.wait_for_function(
            f"document.body.innerText.includes('coming, capture') && !document.body.innerText.includes({first!r}) "
            "|| [...document.querySelectorAll('[data-testid=stMetricValue]')].length && "
            "!document.body.innerText.includes('Ingests')",
            timeout=120_000,
        )
        assert process.wait(400) == 0, said.read_text()
    finally:
        process.kill()
    tab.page.get_by_text("Ingests", exact=True).wait_for(state="detached", timeout=120_000)
    tab.page.get_by_text("3 of 3 runs").wait_for(state="visible", timeout=120_000)
    assert server.store.run("coming").n_prompts > 0


def test_a_run_is_deleted_by_its_name_and_by_no_other(tab, server):
    tab.open("runs?run=odder")
    before = set(server.store.names())
    press(tab, "Delete this run…")
    assert tab.becomes(lambda: tab.address().get("act"), ["delete"])
    field = tab.page.get_by_label("Type odder to delete it")
    field.fill("boxes")
    press(tab, "Delete this run for good")
    tab.page.get_by_text("nothing was deleted").wait_for(state="visible")
    assert set(server.store.names()) == before
    tab.page.go_back()
    assert tab.becomes(lambda: tab.chosen("Run"), "odder")
    press(tab, "Delete this run…")
    tab.page.get_by_label("Type odder to delete it").fill("odder")
    press(tab, "Delete this run for good")
    assert tab.becomes(lambda: set(server.store.names()), before - {"odder"})
    assert tab.becomes(lambda: "act=" in tab.page.url, False)
    tab.open("heads?run=odder")
    assert "was removed by" in tab.page.locator("[data-testid=stAlert]").first.inner_text()


@pytest.mark.parametrize("page", ["runs?run=boxes", "notes", "runs?run=boxes&act=delete"])
def test_narrow_there_is_no_scroll_bar_sideways(tab, page):
    tab.page.set_viewport_size({"width": 820, "height": 1100})
    tab.open(page)
    assert tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth")
    tab.page.set_viewport_size({"width": 1440, "height": 960})
    assert tab.fetched
    assert all(url.startswith((server_url(tab), "data:", "blob:")) for url in tab.fetched)


def server_url(tab) -> str:
    return tab.server.url
