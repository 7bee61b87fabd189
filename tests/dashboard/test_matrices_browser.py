"""Covariances of Subspaces in a real browser: side by side and about as wide as high, on a narrow screen too."""

from __future__ import annotations

import pytest
import stores
from test_browser import Server, pytestmark, tab_of  # noqa: F401 -- it marks all

CHARTS = ".st-key-matrices [data-testid=stColumn] [data-testid=stVegaLiteChart]"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrices")
    server = Server(stores.write(folder / "store"), folder / "log")
    with tab_of(server, folder / "profile") as tab:
        yield tab
    server.end()


def test_matrices_keep_about_their_shape_on_a_narrow_screen(tab):
    def shapes() -> list[bool]:
        boxes = [chart.bounding_box() for chart in tab.page.locator(CHARTS).all()]
        return [box["width"] < 1.5 * box["height"] and box["y"] == boxes[0]["y"] for box in boxes]

    tab.open("subspaces")
    assert tab.becomes(shapes, [True] * 3)
    tab.page.set_viewport_size({"width": 820, "height": 1100})
    assert tab.becomes(shapes, [True] * 3)
