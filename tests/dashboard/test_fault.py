"""Where a mistake in SQL is: under its own field, and at the characters that it is about."""

from __future__ import annotations

import pytest
import stores
from test_draft import write
from test_pages import own  # noqa: F401 -- a fixture

import qkstore
from dashboard.contrasts.fault import fault, place

FAULTS = [  # (field, text, what is marked, what is said)
    ("positive", "k.order_di = q.queried_order", "order_di", "did you mean 'order_id'"),
    ("positive", "k.order_id = = 1", "=", "syntax error"),
    ("positive", "k.order_id =", "=", "end of input"),
    ("where", "k.pos = 1 and nope(k.pos) = 1", "nope", "no function 'nope'"),
    ("negative", "order_id = 1", "order_id", "which order_id? write q.order_id or k.order_id"),
    ("negative", "k.pos = 1 or z.a = 1", "z", "no alias 'z'"),
    ("positive", "k.order_id = 'x'", "x", "Could not convert string 'x'"),
    ("positive", "k.pos = 1; select 1", "k.pos = 1; select 1", "one statement is expected"),
    ("positive", "random() < 0.5", "random", "another value at each reading"),
    ("positive", " ", "", "The positive side is empty"),
    ("pairs", "", "", "The SELECT is empty"),
    ("pairs", "select query_row\nfrom nope", "nope", "no table 'nope'"),
    ("pairs", "select foo from q", "foo", 'column "foo" not found'),
    ("pairs", "select 1", "select 1", "the SELECT gives no query_row"),
    ("pairs", "drop table q", "drop table q", "only one SELECT is possible"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("boxes") / "store", n=40)).run("boxes")


@pytest.mark.parametrize(("field", "text", "marked", "said"), FAULTS)
def test_what_is_marked_is_what_is_wrong(run, field, text, marked, said):
    found = fault(run, field, text)
    assert text[found.start : found.end] == marked
    assert said in found.message
    assert "\n" not in found.message


@pytest.mark.parametrize(
    ("field", "text"),
    [("where", ""), ("where", "true"), ("positive", "k.order_id = q.queried_order"), ("negative", "not k.span_last")],
)
def test_what_is_right_has_no_mark(run, field, text):
    assert fault(run, field, text) is None


def test_a_place_is_within_the_text():
    for message in ("x (character 99)", "'gone' is no word", "at character 1", ""):
        start, end = place(message, "abc")
        assert 0 <= start <= end <= 3


def test_an_error_is_told_under_its_field_and_nowhere_else(show, own):
    app = write(show(own, "contrasts", contrast="order"), negative="k.order_di <> q.queried_order")
    assert [("order_di" in e.value.replace("\\", "")) for e in app.error] == [True]
    names = [e.label if hasattr(e, "label") else e.type for e in app.main if e.type in ("text_area", "error")]
    panels = [e for e in walk(app.main) if e.type in ("text_area", "error")]
    order = [getattr(e, "label", "error") or "error" for e in panels]
    assert order.index("error") == order.index("Negative") + 1, names


def walk(block):
    for child in block.children.values():
        yield child
        if hasattr(child, "children"):
            yield from walk(child)
