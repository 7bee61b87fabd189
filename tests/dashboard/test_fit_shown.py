"""A run is offered what fits it: on every page, also one that no built-in contrast fits, beside runs of other kinds."""

from __future__ import annotations

from html import unescape

import pytest
import stores
import synthetic
from test_pages import html

import qkstore
from dashboard import shell
from qkstore.contrast import Contrast

OF_RUN = ["heads", "contrasts", *shell.GROUPS["Explain"]]
BOXES = Contrast("of-boxes", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run of boxes, and one of a person's own labels, which is first by name."""
    path = stores.write(tmp_path_factory.mktemp("mixed") / "store", n=120)
    data = stores.boxes(n=120)
    data.tokens = data.tokens.rename({"order_id": "place"})
    data.prompts = data.prompts.rename({"queried_order": "asked"})
    synthetic.write(path, "a-own", data)
    qkstore.open(path).catalog.save(BOXES)
    return path


def said(app) -> str:
    return " ".join(e.value for e in [*app.info, *app.warning, *app.error]).replace("\\", "")


@pytest.mark.parametrize("page", OF_RUN)
def test_a_run_that_nothing_fits_says_so_and_leads_to_writing_one(show, mixed, page):
    app = show(mixed, page, run="a-own")
    assert not app.exception
    assert not app.error
    if page == "contrasts":
        assert "No built-in contrast fits" in said(app)
        assert "of-boxes: no column 'order_id' in k" in unescape(html(app))
        assert app.text_area
    elif page == "components":
        assert len(app.metric) == 4, "they are found without a contrast"
    else:
        assert "nor does one of the 1 saved ones. Write one" in said(app)
        assert any("/contrasts" in link.proto.page or "contrasts" in link.proto.page for link in app.get("page_link"))


def test_a_saved_contrast_is_offered_where_it_fits_and_told_where_not(show, mixed):
    assert "of-boxes@1" in show(mixed, "heads", run="boxes").selectbox(key="url-contrast").options
    own = qkstore.open(mixed)
    own.catalog.save(Contrast("of-own", positive="k.place = q.asked", negative="k.place <> q.asked"))
    app = show(mixed, "heads", run="a-own", contrast="of-boxes@1")
    assert "does not fit run a-own: no column 'order_id' in k. Showing of-own@1" in said(app)
    assert app.selectbox(key="url-contrast").options == ["of-own@1"]
    assert not app.error
    assert len(app.warning) == 1
