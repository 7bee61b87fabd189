"""A contrast built without SQL: rows make predicates, predicates make rows, and values are values."""

from __future__ import annotations

import pytest
import stores
from test_draft import area, write
from test_pages import own  # noqa: F401 -- a fixture

import qkstore
from dashboard import state
from qkstore.contrast import Contrast, pairs
from qkstore.contrast.condition import SAME_PROMPT, Condition, read

HOSTILE = "it's <img src=x onerror=alert(1)>'; drop table q; --"


def widget(app, part: str, number: int, what: str):
    """A widget of a condition, by what its label says."""
    label = f"{what} of condition {number} of {part}"
    return next(w for w in [*app.selectbox, *app.multiselect] if w.label == label)


def sql(app) -> str:
    return next(c.value for c in app.code if c.value.startswith(("where", "positive")))


def add(app, part: str):
    next(b for b in app.button if b.key.endswith(f"-{part}-add")).click()
    return app.run()


def test_rows_are_those_of_the_contrast_and_nothing_is_changed_by_looking(show, own):
    app = show(own, "contrasts", contrast="order", shape="build")
    assert not app.exception
    assert app.checkbox(key="order-where-same").value is True
    assert widget(app, "Positive pairs", 1, "Column").value == ("k", "order_id")
    assert widget(app, "Positive pairs", 1, "Relation").value == "="
    assert widget(app, "Positive pairs", 1, "Value").value == "q.queried_order"
    assert any("OR" in c.value and "fixed" in c.value for c in app.code), "a part without a row is shown as SQL"
    assert "draft" not in app.query_params


def test_a_contrast_is_built_saved_and_is_what_the_rows_say(show, own):
    app = show(own, "contrasts", contrast="order", shape="build")
    for part in ("Positive pairs", "Negative pairs"):
        for moved, value in ((("k", "box"), "'A'"), (("k", "order_id"), "q.queried_order")):
            widget(app, part, 1, "Column").set_value(moved)
            app = app.run()
            assert widget(app, part, 1, "Value").value == value, "the query's label that asks for it, or a first value"
    widget(app, "Negative pairs", 1, "Relation").set_value("<>")
    app = add(app.run(), "negative")
    widget(app, "Negative pairs", 2, "Column").set_value(("k", "box"))
    app = app.run()
    widget(app, "Negative pairs", 2, "Relation").set_value("in")
    app = app.run()
    chosen = widget(app, "Negative pairs", 2, "Values")
    chosen.set_value(["'M'", "'N'", "'X'"])
    app = app.run()
    assert not app.error
    assert "negative k.order_id <> q.queried_order and k.box in ('M', 'N', 'X')" in sql(app)
    app.text_input(key="draft-order-name").set_value("built")
    next(b for b in app.button if b.label == "Save as a new version").click()
    app = app.run()
    assert not app.error
    saved = qkstore.open(own).catalog.contrast("built")
    assert SAME_PROMPT in read(saved.where)
    assert read(saved.negative)[1] == Condition("k", "box", "in", ("'M'", "'N'", "'X'"))
    found = pairs(qkstore.open(own).run("boxes"), saved)
    assert found.counts.n_pos > 0 < found.counts.n_neg


def test_one_goes_on_in_sql_and_comes_back(show, own):
    app = add(show(own, "contrasts", contrast="order", shape="build"), "positive")
    assert "draft" in app.query_params
    next(b for b in app.button if b.label == "Go on in SQL").click()
    app = app.run()
    assert area(app, "positive").value.startswith("k.order_id = q.queried_order and k.")
    app = write(app, positive="k.order_id = q.queried_order and k.pos > 2")
    app.query_params["shape"] = "build"
    app = app.run()
    assert widget(app, "Positive pairs", 2, "Column").value == ("k", "pos")
    assert widget(app, "Positive pairs", 2, "Relation").value == ">"
    assert widget(app, "Positive pairs", 2, "Value").value == "2", "a value that the run has not is kept"
    app.button(key="order-positive-0-out").click()
    app = app.run()
    assert "positive k.pos > 2" in sql(app)


def test_it_outlives_another_page(show, own):
    app = show(own, "contrasts", contrast="order", shape="build")
    widget(app, "Positive pairs", 1, "Relation").set_value(">=")
    app = app.run()
    app.query_params.pop("draft")
    app = app.switch_page("pages/heads.py").run()
    app = app.switch_page("pages/contrasts.py").run()
    app.query_params["shape"] = "build"
    app = app.run()
    assert widget(app, "Positive pairs", 1, "Relation").value == ">="


def test_sql_that_is_broken_is_told_and_kept(show, own):
    app = write(show(own, "contrasts", contrast="order"), positive="k.order_id = ")
    app.query_params["shape"] = "build"
    app = app.run()
    assert any("syntax error at end of input" in e.value for e in app.error)
    assert any("Positive pairs" in e.value for e in app.error)
    app.query_params["shape"] = "predicates"
    assert area(app.run(), "positive").value == "k.order_id = "


def test_a_value_that_means_harm_is_a_value(show, tmp_path):
    data = stores.boxes(80)
    data.tokens = data.tokens.with_columns(box=data.tokens["box"].replace({"M": HOSTILE}))
    path = stores.write(tmp_path / "store", data=data)
    app = show(path, "contrasts", contrast="order", shape="build")
    widget(app, "Positive pairs", 1, "Column").set_value(("k", "box"))
    app = app.run()
    literal = "'" + HOSTILE.replace("'", "''") + "'"
    widget(app, "Positive pairs", 1, "Value").set_value(literal)
    app = app.run()
    assert not app.exception
    assert f"positive k.box = {literal}" in sql(app)
    next(b for b in app.button if b.label == "Preview").click()
    assert not app.run().exception
    run = qkstore.open(path).run("boxes")
    same = Contrast(positive=f"k.box = {literal}", negative="k.box = 'N'", where="k.prompt_id = q.prompt_id")
    assert pairs(run, same).counts.n_pos == (data.tokens["box"] == HOSTILE).sum()


@pytest.mark.parametrize("shape", ["build", "predicates"])
def test_a_run_that_nothing_fits_is_built_for_too(show, tmp_path, shape):
    data = stores.boxes(40)
    data.prompts = data.prompts.drop("queried_order", "queried_entity")
    app = show(stores.write(tmp_path / "store", data=data), "contrasts", shape=shape)
    assert not app.exception
    assert not app.error
    assert state.DRAFT not in app.query_params
