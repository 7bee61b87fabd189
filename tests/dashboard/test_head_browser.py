"""The Head page in a real browser: pairs in their prompts, the ranking in the address, and where a pair leads."""

from __future__ import annotations

import pytest
import stores
from test_browser import Server, Tab, pytestmark, tab_of  # noqa: F401 -- it marks all

import qkstore
from qkstore.analysis.pairs import nearest, strongest

HEAD = "head?run=boxes&contrast=order&layer=1&head=3"
WIDER = (
    "[...document.querySelectorAll('.stMain *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
    "['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map(e => e.dataset.testid || e.className)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    server = Server(stores.write(folder / "store", n=240), folder / "log")
    server.run = qkstore.open(folder / "store").run("boxes")
    server.order = qkstore.open(folder / "store").feature(server.run, "order")
    yield server
    server.end()


@pytest.fixture(scope="module")
def tab(server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def rows(tab):
    """The listed pairs, one element each."""
    return tab.page.locator("[class*=st-key-pair-]")


def ranked(tab) -> list[str]:
    """The first line of each listed pair."""
    return rows(tab).locator(".qk-sentence").all_inner_texts()


def first(tab) -> str:
    return next(iter(ranked(tab)), "")


def test_pairs_stand_in_their_prompts_and_the_ranking_is_in_the_address(tab, server):
    tab.open(HEAD)
    found = strongest(server.run, server.order, 1, 3).table.head(8)
    assert tab.becomes(lambda: rows(tab).count(), 8)
    assert ranked(tab) == [f"{i}. logit {logit:.2f}".replace("-", "−") for i, logit in enumerate(found["logit"], 1)]
    row = rows(tab).first
    assert row.locator(".qk-query").all_inner_texts() == [found["query_text"][0]]
    assert row.locator(".qk-positive, .qk-negative").all_inner_texts() == [found["key_text"][0]]
    tab.page.get_by_role("radio", name="Errors").click(delay=150)
    assert tab.becomes(lambda: tab.address().get("rank"), ["errors"])
    wrong = strongest(server.run, server.order, 1, 3, "errors").table
    attended = f"1. attends {wrong['key_text'][0]}, not {wrong['other_text'][0]}"
    assert tab.becomes(lambda: first(tab), attended)
    tab.page.go_back()
    assert tab.becomes(lambda: tab.address().get("rank"), None)
    assert tab.becomes(lambda: first(tab), f"1. logit {found['logit'][0]:.2f}")
    tab.page.go_forward()
    assert tab.becomes(lambda: first(tab), attended)
    tab.page.reload()
    assert tab.becomes(lambda: first(tab), attended)


def test_a_row_leads_to_the_attribution_of_its_prompt(tab, server):
    tab.open(f"{HEAD}&rank=moved")
    prompt = str(strongest(server.run, server.order, 1, 3, "moved").table["prompt_id"][1])
    rows(tab).nth(1).get_by_role("link", name=f"Prompt {prompt}").click(delay=150)
    assert tab.becomes(tab.title, "Attributions")
    asked = tab.address()
    assert [asked[name] for name in ("contrast", "layer", "head", "prompt")] == [["order"], ["1"], ["3"], [prompt]]
    assert tab.page.get_by_role("combobox", name="Prompt").input_value().startswith(f"{prompt}:")
    tab.page.go_back()
    assert tab.becomes(tab.title, "Head")
    assert tab.count("[data-testid=stAlert]") == 0


def test_the_nearest_heads_are_found_on_demand_and_lead_to_their_page(tab, server):
    tab.open(HEAD)
    tab.page.get_by_role("button", name="Compare with 7 other heads").click(delay=150)
    near = nearest(server.run, server.order, 1, 3).heads[0]
    named = tab.page.get_by_role("button", name=f"L{near.layer}\u00a0H{near.head} · {near.angle:.1f}°")
    named.wait_for(state="visible")
    tab.settle()
    named.click(delay=150)
    wanted = f"Layer {near.layer}, head {near.head}: order in boxes"
    assert tab.becomes(lambda: tab.page.locator(".stMain h3").first.inner_text(), wanted)
    assert [tab.address()[name] for name in ("layer", "head")] == [[str(near.layer)], [str(near.head)]]
    tab.page.go_back()
    assert tab.becomes(lambda: tab.page.locator(".stMain h3").first.inner_text(), "Layer 1, head 3: order in boxes")


def test_it_fits_a_narrow_screen_and_a_dark_one(tab):
    tab.page.set_viewport_size({"width": 820, "height": 1180})
    tab.page.emulate_media(color_scheme="dark")
    for rank in ("logit", "moved", "errors"):
        tab.open(f"{HEAD}&rank={rank}&among={'contrast' if rank == 'moved' else 'all'}")
        assert tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth")
        assert tab.page.evaluate(WIDER) == []
        left = {round(box["x"]) for box in (p.bounding_box() for p in rows(tab).all())}
        assert len(left) == 1, "pairs stand below each other"
    tab.page.emulate_media(color_scheme="light")
    tab.page.set_viewport_size({"width": 1440, "height": 960})


def test_nothing_is_asked_of_another_place(tab, server):
    assert {url.split("/")[2] for url in tab.fetched if url.startswith("http")} == {f"127.0.0.1:{server.port}"}
