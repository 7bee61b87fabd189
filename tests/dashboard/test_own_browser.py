"""A run of one's own that no built-in contrast fits, with tokens that mean harm: every page, dark and narrow too."""

from __future__ import annotations

import pytest
import stores
from test_browser import PAGES, Server, Tab, pytestmark, tab_of  # noqa: F401 -- it marks all

import qkstore
from qkstore.contrast import Contrast

HARM = {
    5: "<img src=x onerror=window.harm=1>",
    12: "![x](http://one.example.org/x.png) [y](javascript:window.harm=1)",
    19: "\u202egnp.exe\x00\x1b[31m",
    35: "</script><script>window.harm=1</script>",
    26: ":red[x] $\\frac{1}{2}$ `" + "W" * 300,
}
MINE = Contrast("mine", "k.prompt_id = q.prompt_id", "k.pos = 5", "k.pos <> 5", description=HARM[5])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    data = stores.hostile(HARM, n=160)
    data.prompts = data.prompts.drop("queried_order", "queried_entity")
    store = stores.write(folder / "store", data=data)
    bare = stores.write(folder / "bare", data=data)
    qkstore.open(store).catalog.save(MINE)
    server = Server(store, folder / "server.log")
    server.bare = Server(bare, folder / "bare.log")
    yield server
    server.end()
    server.bare.end()


@pytest.fixture(scope="module", params=[("light", 1440), ("dark", 820)], ids=["light", "dark and narrow"])
def tab(request, server, tmp_path_factory):
    scheme, width = request.param
    with tab_of(server, tmp_path_factory.mktemp("profile"), width=width, color_scheme=scheme) as tab:
        yield tab


def whole(tab) -> None:
    """The page as it is has no error, runs nothing of what was written, asks nobody else, and needs no wider screen."""
    assert tab.count("[data-testid=stException], [data-testid=stAlertContentError]") == 0
    assert tab.page.evaluate("window.harm") is None
    assert tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth")
    assert tab.told == []
    assert [url for url in tab.fetched if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_a_run_of_one_s_own(tab, page):
    tab.open("" if page == "overview" else page)
    assert tab.title() == page.capitalize()
    assert len(tab.figures()) >= 3  # there is no second contrast to swap together with
    whole(tab)


WITHOUT = ("overview", "runs", "discover", "components", "notes", "team")  # need no contrast


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WITHOUT])
def test_without_a_contrast_every_page_leads_to_writing_one(tab, server, page):
    other = Tab(tab.page.context, server.bare)
    try:
        other.open(page)
        if page != "contrasts":
            other.page.get_by_role("link", name="Write a contrast for this run").click()
            assert other.becomes(other.title, "Contrasts")
        assert "Write one" in other.page.locator("[data-testid=stAlert]").first.inner_text()
        whole(other)
    finally:
        other.page.close()
