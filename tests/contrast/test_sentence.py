"""A contrast reads back as an English sentence that says what its SQL says."""

from __future__ import annotations

import pytest

from qkstore.contrast.sentence import count_text, sentence

SIDES = "Positive: the key's a is 1. Negative: the key's a is 2."

WHERES = [
    ("true", "All queries, against all keys."),
    ("q.role = 'answer_slot'", "Queries whose role is answer_slot, against all keys."),
    ("k.role = 'box'", "All queries, against keys whose role is box."),
    ("k.prompt_id = q.prompt_id", "All queries, against keys of the same prompt."),
    ("q.prompt_id = K.prompt_id", "All queries, against keys of the same prompt."),
    ("k.prompt_id = q.counterfactual_id", "All queries, against keys of the counterfactual prompt."),
    ("k.prompt_id <> q.prompt_id", "All queries, against keys of other prompts."),
    (
        "q.role = 'answer_slot' and k.prompt_id = q.prompt_id and k.role = 'box' and q.split = 'test'",
        "Queries whose role is answer_slot and whose split is test, against keys of the same prompt whose role is box.",
    ),
    (
        "q.role = 'answer_slot' and (q.variant = 'fixed' or q.split = 'test' and q.variant = 'base')",
        "Queries whose role is answer_slot, and whose variant is fixed or (split is test and variant is base), "
        "against all keys.",
    ),
    (
        "k.role = 'item' and k.span_last and not k.is_answer",
        "All queries, against keys whose role is item and whose span_last is true and whose is_answer is false.",
    ),
    (
        "q.role = 'a' and k.order_id = q.queried_order and k.pos < q.pos",
        "Queries whose role is a, against all keys, where the key's order_id is the query's queried_order and the "
        "key's pos is below the query's pos.",
    ),
    (
        "k.a = 1 or q.b = 2",
        "All queries, against all keys, where (the key's a is 1 or the query's b is 2).",
    ),
    (
        "hash(q.query_row) % 10 = 0",
        "Queries whose `(hash(q.query_row) % 10)` is 0, against all keys.",
    ),
    (
        "k.pos in (select t.pos from token as t)",
        "All queries, against keys whose `(k.pos = ANY(SELECT t.pos FROM token AS t))`.",
    ),
]

CONDITIONS = [
    ("k.order_id = q.queried_order", "the key's order_id is the query's queried_order"),
    ("q.queried_order = k.order_id", "the key's order_id is the query's queried_order"),
    ("k.order_id <> q.queried_order", "the key's order_id is not the query's queried_order"),
    ("not k.order_id = q.queried_order", "the key's order_id is not the query's queried_order"),
    ("k.a is not distinct from q.a", "the key's a is the query's a"),
    ("k.pos < 3", "the key's pos is below 3"),
    ("3 < k.pos", "the key's pos is above 3"),
    ("k.pos >= -2.5", "the key's pos is at least -2.5"),
    ("3 >= k.pos", "the key's pos is at most 3"),
    ("q.pos > k.pos", "the key's pos is below the query's pos"),
    ("k.box in ('A', 'B', 'C')", "the key's box is A, B or C"),
    ("k.box in ('A')", "the key's box is A"),
    ("k.box not in ('A', 'B')", "the key's box is not A or B"),
    ("k.pos between 1 and q.pos", "the key's pos is from 1 to the query's pos"),
    ("k.box is null", "the key's box is missing"),
    ("k.box is not null", "the key's box is present"),
    ("k.text like 'a%'", "the key's text is like 'a%'"),
    ("k.text not ilike 'a%'", "the key's text is not like 'a%'"),
    ("k.is_answer", "the key's is_answer is true"),
    ("not k.is_answer", "the key's is_answer is false"),
    ("k.is_answer is true", "the key's is_answer is true"),
    ("k.is_answer = false", "the key's is_answer is false"),
    ("k.text = 'two words'", "the key's text is 'two words'"),
    ("k.text = '5'", "the key's text is '5'"),
    ("k.text = 5", "the key's text is 5"),
    ("k.text = 'true'", "the key's text is 'true'"),
    ("k.text = '日本'", "the key's text is 日本"),
    ("k.text = 'it''s'", "the key's text is 'it''s'"),
    ("k.prompt_id = q.prompt_id", "keys of the same prompt"),
    ("k.prompt_id = q.counterfactual_id", "keys of the counterfactual prompt"),
    ("k.prompt_id = q.prompt_id and k.a = 1", "keys of the same prompt and the key's a is 1"),
    ("k.a = 1 or k.b = 2 and k.c = 3", "the key's a is 1 or (the key's b is 2 and the key's c is 3)"),
    ("not (k.text like 'a%' or k.b = 2)", "not (the key's text is like 'a%' or the key's b is 2)"),
    ("k.a = q.a + 1", "the key's a is `(q.a + 1)`"),
    ("starts_with(k.text, 'a')", "`starts_with(k.\"text\", 'a')`"),
    ("exists (select 1 from token as t)", "`EXISTS(SELECT 1 FROM token AS t)`"),
]


@pytest.mark.parametrize(("where", "words"), WHERES)
def test_where_in_words(where, words):
    assert sentence(where, "k.a = 1", "k.a = 2") == f"{words} {SIDES}"


@pytest.mark.parametrize(("condition", "words"), CONDITIONS)
def test_a_side_in_words(condition, words):
    assert sentence("true", condition, "k.a = 2").split("Positive: ")[1] == f"{words}. Negative: the key's a is 2."
    assert sentence("true", "k.a = 2", condition).endswith(f" Negative: {words}.")


def test_a_whole_contrast_with_its_counts():
    text = sentence(
        "q.role = 'answer_slot' and k.role = 'box' and k.prompt_id = q.prompt_id",
        "k.order_id = q.queried_order",
        "k.order_id <> q.queried_order",
        counts=(2000, 18000, 2000, 16000),
    )
    assert text == (
        "Queries whose role is answer_slot, against keys of the same prompt whose role is box. "
        "Positive: the key's order_id is the query's queried_order. "
        "Negative: the key's order_id is not the query's queried_order. "
        "2,000 queries, 18,000 keys; 2,000 positive and 16,000 negative pairs."
    )


def test_only_conditions_that_mean_the_same_read_the_same():
    words = [words for _, words in CONDITIONS]
    assert {w for w in words if words.count(w) > 1} == {
        "the key's order_id is the query's queried_order",
        "the key's order_id is not the query's queried_order",
        "the key's is_answer is true",
        "the key's is_answer is false",
    }


def test_one_query_and_one_key_are_counted_as_one():
    assert count_text((1, 1, 1, 0)) == "1 query, 1 key; 1 positive and 0 negative pairs."
    assert count_text((1200, 2, 1200, 1)) == "1,200 queries, 2 keys; 1,200 positive and 1 negative pairs."
