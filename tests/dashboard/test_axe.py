"""What axe-core finds on every page, in both themes: nothing serious."""

from __future__ import annotations

import pytest
import stores
import toys
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all

from dashboard import shell

PAGES = [name for names in shell.GROUPS.values() for name in names]
BAD = ("serious", "critical")
AXE = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    store = stores.write(folder / "store", n=200)
    toys.write(store)
    server = Server(store, folder / "server.log")
    yield server
    server.end()


@pytest.fixture(scope="module", params=["light", "dark"])
def tab(request, server, tmp_path_factory):
    with tab_of(server, tmp_path_factory.mktemp("profile"), color_scheme=request.param) as tab:
        yield tab


def found(tab) -> dict[str, list[str]]:
    """{rule: where} of what axe-core calls serious or critical on the page as it is."""
    told = AXE.Axe().run(tab.page).response["violations"]
    return {one["id"]: [node["html"][:160] for node in one["nodes"]] for one in told if one["impact"] in BAD}


@pytest.mark.parametrize("page", PAGES)
def test_nothing_serious_is_found(tab, page):
    where = "" if page == "overview" else page
    tab.open(f"{where}?run=boxes&contrast=order&layer=1&head=2" if page != "toy" else "toy")
    assert found(tab) == {}


def test_nothing_serious_is_found_where_a_group_is_chosen_and_saved(tab):
    tab.open("components?run=boxes&contrast=order&layer=1&head=0&group=0,1")
    assert tab.becomes(tab.page.get_by_role("button", name="Save as a contrast").count, 1)
    assert found(tab) == {}


def test_what_is_serious_is_seen(tab):
    tab.open("heads?run=boxes&contrast=order")
    tab.page.evaluate(
        "document.querySelector('.stMain h1').insertAdjacentHTML('afterend',"
        ' \'<img src="data:,"><p style="color:#999;background:#aaa">grey on grey</p>\')'
    )
    assert {"image-alt", "color-contrast"} <= set(found(tab))
