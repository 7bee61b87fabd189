"""What is being written of a contrast: it outlives another page, a reload and the switch to a SELECT, and says so."""

from __future__ import annotations

import pytest
from test_pages import edit, html, own  # noqa: F401 -- a fixture

import qkstore
from dashboard.contrasts import draft
from qkstore.contrast import Contrast, pairs

POSITIVE = "k.order_id = q.queried_order and k.pos > 2"


def area(app, start: str):
    return next(e for e in [*app.text_area, *app.text_input] if e.label.lower().startswith(start))


def write(app, **fields):
    for name, text in fields.items():
        area(app, name).set_value(text)
    return app.run()


def in_address(app) -> str:
    """The draft in a page's address, which AppTest gives as a text or as a list of one."""
    found = app.query_params["draft"]
    return found if isinstance(found, str) else found[0]


def test_a_field_that_was_left_is_previewed_and_kept(show, own):
    app = show(own, "contrasts", contrast="order")
    assert "Not saved" not in html(app)
    app = write(app, positive=POSITIVE)
    assert not app.error
    assert "Not saved" in html(app)
    assert "k.pos" in area(app, "positive").value
    (address,) = (
        app.query_params["draft"] if isinstance(app.query_params["draft"], list) else [app.query_params["draft"]]
    )
    again = show(own, "contrasts", contrast="order", draft=address)
    assert area(again, "positive").value == POSITIVE, "after a reload: another session, the same address"
    assert "Not saved" in html(again)
    assert area(show(own, "contrasts", contrast="lexical"), "positive").value != POSITIVE


def test_the_built_ins_description_goes_with_its_conditions(show, own):
    """With its conditions it stays, and so does one that a person wrote."""
    app = show(own, "contrasts", contrast="order")
    told = area(app, "description").value
    assert told
    assert area(write(app, name="again"), "description").value == told
    app = write(app, positive=POSITIVE)
    assert area(app, "description").value == ""
    next(b for b in app.button if b.label == "Save as a new version").click()
    app = app.run()
    assert not app.error
    (saved,) = qkstore.open(own).catalog.contrasts()
    assert (saved.positive, saved.description) == (POSITIVE, "")
    app = write(show(own, "contrasts", contrast="order"), negative="k.order_id > q.queried_order", description="mine")
    assert area(app, "description").value == "mine"


def test_it_outlives_another_page(show, own):
    app = write(show(own, "contrasts", contrast="order"), positive=POSITIVE, description="mine")
    app.query_params.pop("draft")  # as a link of the side bar has it
    app = app.switch_page("pages/heads.py").run()
    assert [t.value for t in app.title] == ["Heads"]
    app = app.switch_page("pages/contrasts.py").run()
    assert area(app, "positive").value == POSITIVE
    assert area(app, "description").value == "mine"


def test_discarding_starts_again(show, own):
    app = write(show(own, "contrasts", contrast="order"), positive=POSITIVE)
    next(b for b in app.button if b.label == "Discard the draft").click()
    app = app.run()
    assert area(app, "positive").value == "k.order_id = q.queried_order"
    assert "draft" not in app.query_params
    assert "Not saved" not in html(app)


def test_a_select_starts_from_the_predicates_and_gives_their_pairs(show, own):
    app = write(show(own, "contrasts", contrast="order"), positive=POSITIVE)
    (address,) = (
        [app.query_params["draft"]] if isinstance(app.query_params["draft"], str) else app.query_params["draft"]
    )
    app = show(own, "contrasts", contrast="order", draft=address, shape="select")
    sql = area(app, "select").value
    assert not app.error
    run = qkstore.open(own).run("boxes")
    order = next(iter(qkstore.open(own).features(run)["order"]))
    written, meant = pairs(run, Contrast("own", pairs=sql)), pairs(run, order.replace(positive=POSITIVE))
    assert written.counts == meant.counts
    assert set(written.sign) == {1, -1}
    app = show(own, "contrasts", contrast="order", draft=address, shape="predicates")
    assert area(app, "positive").value == POSITIVE, "and back again"


def test_saving_without_a_change_makes_no_version(show, own):
    catalog = qkstore.open(own).catalog
    app = edit(show(own, "contrasts", contrast="order"), "Save as a new version", name="mine")
    assert [c.version for c in catalog.versions("mine")] == [1]
    assert "Not saved" not in html(app)
    assert "draft" not in app.query_params
    app = edit(show(own, "contrasts", contrast="mine"), "Save as a new version")
    assert any("it is what mine@1 says already" in i.value.replace("\\", "") for i in app.info)
    edit(show(own, "contrasts", contrast="mine"), "Save as a new version", description="another")
    assert [c.version for c in catalog.versions("mine")] == [1, 2]


NO_DRAFT = [
    *("x", "AAAA", "🙂", "=" * 50, "eJw" * 4000, "null", "W10"),
    *map(draft.written, ({"where": 7}, {"x": "y"}, {"where": "x" * 300_000}, ["where"])),
]


@pytest.mark.parametrize("text", NO_DRAFT)
def test_an_address_that_holds_no_draft_is_told_and_nothing_else(show, own, text):
    app = show(own, "contrasts", contrast="order", draft=text)
    assert not app.exception
    assert area(app, "positive").value == "k.order_id = q.queried_order"
    assert any("cannot be read" in w.value for w in app.warning)


def test_a_long_draft_is_kept_in_the_session_alone(show, own):
    import random

    noise = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))
    app = write(show(own, "contrasts", contrast="order"), positive=f"k.role = '{noise}' or k.pos = 1")
    assert "draft" not in app.query_params
    assert noise in area(app, "positive").value


def test_the_draft_of_another_contrast_is_not_taken_along(show, own):
    app = write(show(own, "contrasts", contrast="order"), positive=POSITIVE)
    app.selectbox(key="url-contrast").set_value("lexical")
    app = app.run()
    assert "draft" not in app.query_params
    assert area(app, "positive").value != POSITIVE
    app.selectbox(key="url-contrast").set_value("order")
    app = app.run()
    assert area(app, "positive").value == POSITIVE, "it waits for its own"
