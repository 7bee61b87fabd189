"""A run without anybody's labels on the pages: the contrasts of known head types are there to be asked."""

from __future__ import annotations

import pytest
import synthetic
from planted import PLANTED, planted

PAGES = ("heads", "head", "subspaces", "projections", "interventions", "attributions", "contrasts", "overview")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("known")
    synthetic.write(path, "planted", data=planted())
    synthetic.write(path, "labelled", n=64)
    return path


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_such_a_run(store, show, page):
    app = show(store, page, run="planted", contrast="induction", layer=0, head=PLANTED["induction"])
    assert not app.exception
    assert not [e.value for e in app.error]


def test_they_can_be_chosen_where_every_token_has_a_key_and_not_elsewhere(store, show):
    def choices(run: str) -> set[str]:
        app = show(store, "heads", run=run)
        assert not app.exception
        return {option for box in app.selectbox for option in box.options}

    assert set(PLANTED) <= choices("planted")
    assert not set(PLANTED) & choices("labelled")
