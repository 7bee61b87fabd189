"""Conditions as rows: what a row says in SQL is what is read back of it, whatever the names and values hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast, builtin, pairs
from qkstore.contrast.condition import RELATIONS, SAME_PROMPT, Condition, literal, read, sql
from qkstore.errors import GuardError
from qkstore.sql import guard

HOSTILE = [
    "it's",
    "'; drop table q; --",
    "''",
    "a' or 'x' = 'x",
    "\\'",
    "<img src=x>",
    "\u202eabc",
    "Ω 日本",
    "%_",
    "q.role",
    "",
]
COLUMNS = {"q": ["role", "queried_order", "odd name", 'a"b'], "k": ["role", "order_id", "prompt_id", "Select"]}


@pytest.mark.parametrize("value", [*HOSTILE, 0, -3, 0.25, 1e-9, True, False, 2**40])
def test_a_value_is_one_value_whatever_it_holds(value):
    row = Condition("k", "role", "=", (literal(value),))
    text = guard.predicate(row.sql, COLUMNS)
    assert read(row.sql) == [row]
    assert read(text) == [row], "and as the guard has rebuilt it"


@pytest.mark.parametrize("value", ["a\x00b", "\x1b[31m", "half \ud800", float("nan"), float("inf")])
def test_what_sql_may_not_hold_is_no_literal(value):
    assert literal(value) is None


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_is_read_back(relation):
    first = Condition("q", "odd name", "=", ("'x'",))
    row = first.related(relation, "'y'")
    assert read(row.sql) == [row]
    assert row.related("=", "'z'").operands == (("'z'",) if relation.startswith("is") else ("'x'",))
    guard.predicate(row.sql, COLUMNS)


def test_a_column_of_the_other_side_is_no_value_of_a_list():
    row = Condition("k", "order_id", "=", ("q.queried_order",))
    assert row.related("in", "3").operands == ("3",)
    assert row.related("<", "3").operands == ("q.queried_order",)


@given(
    st.lists(
        st.tuples(st.sampled_from(["q", "k"]), st.sampled_from(list(RELATIONS)), st.text(max_size=8)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None)
def test_rows_that_nobody_thought_of_are_read_back(parts):
    values = [(side, relation, made) for side, relation, text in parts if (made := literal(text))]
    rows = [Condition(side, COLUMNS[side][i % 4], "=", (v,)).related(r, v) for i, (side, r, v) in enumerate(values)]
    assert read(sql(rows)) == rows


def test_what_is_no_row_is_kept_as_its_sql():
    text = (
        "k.prompt_id = q.prompt_id and (k.pos > 2 or k.role = 'box') and k.span_last and not k.is_answer and 3 < k.pos"
    )
    rows = read(text)
    assert rows == [
        SAME_PROMPT,
        "((k.pos > 2) OR (k.\"role\" = 'box'))",
        Condition("k", "span_last", "=", ("true",)),
        Condition("k", "is_answer", "=", ("false",)),
        Condition("k", "pos", ">", ("3",)),
    ]
    assert read(sql(rows)) == rows
    for raw in (
        "abs(k.pos) = 1",
        "k.pos = k.pos + 1",
        "k.role = null",
        "k.pos in (1, null)",
        "k.pos in (select 1)",
        "true",
    ):
        assert [type(row) for row in read(raw)] == [str], raw
    assert read("  ") == []
    with pytest.raises(GuardError):
        read("k.pos = ")


OWN = Contrast(
    "own",
    "k.prompt_id = q.prompt_id and (k.pos > 4 or k.role = 'box')",
    "k.order_id in (1, 2)",
    "not k.order_id in (1, 2)",
)


@pytest.mark.parametrize("whole", [builtin.ORDER, builtin.LEXICAL, builtin.RIGHT_BOX, OWN], ids=lambda c: c.name)
def test_a_contrast_read_and_written_selects_the_same_pairs(tmp_path, whole):
    write(tmp_path, "a", data=synthetic(32))
    run = qkstore.open(tmp_path).run("a")
    parts = {part: sql(read(getattr(whole, part))) for part in ("where", "positive", "negative")}
    written, meant = pairs(run, Contrast("again", **parts)), pairs(run, whole)
    assert written.counts == meant.counts
    assert (written.query == meant.query).all()
