"""The Subspaces page: three ranks beside each other with one sentence.

Where they cannot be had, the rest of the page is there.
"""

from __future__ import annotations

import pytest
import stores

import qkstore
from qkstore.analysis.evidence import dimension


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("ranks") / "store")


def text(app) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def charts(app) -> int:
    return len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart"))


@pytest.mark.parametrize("name", ["order", "order-centred", "lexical", "authors/order", "authors/lexical"])
def test_the_page_says_what_the_library_computes(show, store, name):
    run = qkstore.open(store).run("boxes")
    (contrast,) = qkstore.open(store).feature(run, name)
    found = dimension(run, contrast, 1, 2).rank
    app = show(store, "subspaces", contrast=name, layer=1, head=2)
    assert not app.error
    assert not app.exception
    assert not app.info
    assert app.metric[0].value == f"{found.energy} of 8"
    assert len(app.metric) == 4
    assert (
        app.metric[0].delta.replace("\\", "")
        == f"statistical {found.statistical}, cross-validated {found.cross_validated}"
    )
    assert found.sentence in text(app)
    assert "Canonical correlations" in text(app)


def test_with_few_queries_the_rest_of_the_page_stays(show, store, tmp_path):
    """A contrast of nine queries: one line says why there is no test, and the singular values are still drawn."""
    few = stores.write(tmp_path / "few")
    where = "k.prompt_id = q.prompt_id and q.query_row < 9 and k.role = 'box'"
    sides = dict(positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
    qkstore.open(few).catalog.save(qkstore.Contrast(name="few", where=where, **sides))
    app = show(few, "subspaces", contrast="few", layer=1, head=2)
    assert not app.error
    assert not app.exception
    assert [i.value.replace("\\", "") for i in app.info] == [
        "the rank of ΔC is tested with 10 queries or more; the contrast has 9"
    ]
    assert app.metric[0].delta == "too few queries to test it"
    assert "Canonical correlations" not in text(app)
    whole = show(store, "subspaces", contrast="order", layer=1, head=2)
    assert charts(app) == charts(whole) - 1, "all but one chart"
