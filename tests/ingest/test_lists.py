"""Lists prompts: five items of five categories, held-out words, spans on their words."""

from __future__ import annotations

from collections import Counter

import pytest

from ingest.prompts import lists
from ingest.prompts.words import CATEGORIES, PLURALS, items
from qkstore.errors import PromptError


@pytest.fixture(scope="module")
def prompts():
    return lists.build(200, seed=4, n_test=100)


def listed(prompt):
    return [s for s in prompt.spans if s.role == "item"]


def test_each_list_has_five_items_of_five_categories(prompts):
    for p in prompts:
        assert sorted(Counter(s.labels["category"] for s in listed(p)).values()) == [5] * 5
        assert len({s.labels["item"] for s in listed(p)}) == 25


def test_items_are_shuffled_over_the_list(prompts):
    first = Counter(listed(p)[0].labels["is_answer"] for p in prompts)
    assert 0.1 < first[True] / len(prompts) < 0.3  # one in five


def test_spans_hit_their_words(prompts):
    for p in prompts:
        assert all(p.text[s.start : s.end] == s.labels["item"] for s in listed(p))
        assert all(s.labels["item"] in CATEGORIES[s.labels["category"]] for s in listed(p))
        slot = p.spans[-1]
        assert slot.role == "answer_slot"
        assert p.text[slot.start :] == ":"
        assert slot.end == len(p.text)


def test_the_question_names_the_queried_category(prompts):
    for p in prompts:
        queried = p.labels["queried_category"]
        assert p.text.endswith(f". Find the {PLURALS[queried]}. Answer:")
        assert {s.labels["category"] for s in listed(p) if s.labels["is_answer"]} == {queried}


def test_every_category_is_queried(prompts):
    assert {p.labels["queried_category"] for p in prompts} == set(CATEGORIES)


def test_test_words_are_held_out(prompts):
    used: dict[str, set[str]] = {"train": set(), "test": set()}
    for p in prompts:
        used[p.split] |= {s.labels["item"] for s in listed(p)}
    assert not used["train"] & used["test"]
    for split, words in used.items():
        assert words == {word for name in CATEGORIES for word in items(name, split)}


def test_one_seed_one_set_of_prompts():
    assert lists.build(4, 1, n_test=2) == lists.build(4, 1, n_test=2)
    assert lists.build(4, 1, n_test=2) != lists.build(4, 2, n_test=2)


def test_a_negative_number_is_named():
    with pytest.raises(PromptError, match="^-3 prompts: the numbers of prompts are 0 or more$"):
        lists.build(3, 0, n_test=-3)
