"""The difference of two versions of a contrast: the fields, their lines, and in no time however long they are."""

from __future__ import annotations

import time

from qkstore.contrast import Contrast
from qkstore.contrast.difference import MOST_LINES, difference, told

BASE = Contrast("a", where="k.pos = 1\nand k.role = 'box'", positive="k.pos = 1", negative="k.pos = 2", version=1)


def test_each_field_that_changed_with_its_lines():
    other = BASE.replace(where="k.pos = 1\nand k.role = 'item'", centring="queries", author="x", version=2, name="b")
    assert [(d.field, d.lines) for d in difference(BASE, other)] == [
        ("where", ["  k.pos = 1", "- and k.role = 'box'", "+ and k.role = 'item'"]),
        ("centring", ["- none", "+ queries"]),
    ]
    assert told(BASE, other) == "where, centring changed"


def test_what_changes_no_number_is_told():
    assert told(BASE, BASE.replace(description="x")) == "description changed; no number changes"
    assert told(BASE, BASE.replace(author="x")) == "nothing changed"
    assert difference(BASE, BASE) == []


def test_predicates_against_a_select():
    whole = Contrast("a", pairs="select 1")
    assert [d.field for d in difference(BASE, whole)] == ["where", "positive", "negative", "pairs"]
    assert difference(BASE, whole)[-1].lines == ["+ select 1"]


def test_long_texts_of_lines_that_are_alike_take_no_time():
    def long(start: int, n: int) -> Contrast:
        return BASE.replace(where="\n".join(f"and k.order_id <> {start}{i:04d}00000000000000000000" for i in range(n)))

    begun = time.monotonic()
    for n in (MOST_LINES, 4 * MOST_LINES):
        (one,) = difference(long(1, n), long(2, n))
        assert len(one.lines) == 2 * n
    assert len(difference(BASE.replace(where="\n" * 20_000), BASE)[0].lines) > 20_000
    assert time.monotonic() - begun < 3
