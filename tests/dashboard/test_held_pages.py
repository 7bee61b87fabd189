"""Pages while another program holds the catalogue: they go on, and say who holds it; the editor cannot save."""

from __future__ import annotations

import pytest
from holding import holding
from test_pages import PAGES, edit, own  # noqa: F401 -- fixtures

import qkstore
from qkstore.contrast import Contrast
from qkstore.store.catalog import embedded


@pytest.fixture
def saved(own, monkeypatch):
    """A store with a contrast of its own, and little patience."""
    monkeypatch.setattr(embedded, "READ_S", 0.2)
    monkeypatch.setattr(embedded, "WRITE_S", 0.4)
    qkstore.open(own).catalog.save(
        Contrast("mine", "k.prompt_id = q.prompt_id", "k.order_id = q.queried_order", "k.order_id <> q.queried_order")
    )
    return own


def test_every_page_goes_on_and_names_the_holder(show, saved):
    with holding(saved / "catalog.duckdb") as process:
        for page in PAGES:
            for name in ("order", "mine")[: 1 if page == "overview" else 2]:
                app = show(saved, page, contrast=name)
                assert not app.error, page
                assert not app.exception, page
                (told,) = app.warning
                assert f"process {process.pid}" in told.value.replace("\\", ""), page
                assert str(saved) not in told.value, page
    assert not show(saved, "heads", contrast="mine").warning


def test_what_cannot_be_saved_is_one_line(show, saved):
    with holding(saved / "catalog.duckdb") as process:
        app = edit(show(saved, "contrasts", contrast="mine"), "Save as a new version", description="better")
        assert f"process {process.pid}" in app.error[0].value.replace("\\", "")
        assert not app.exception
    assert [c.version for c in qkstore.open(saved).catalog.versions("mine")] == [1]
