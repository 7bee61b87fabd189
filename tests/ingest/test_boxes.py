"""Boxes prompts: what varies between variants and splits, and that every span hits its word."""

from __future__ import annotations

from collections import Counter

import pytest

from ingest.prompts import Prompt, boxes
from ingest.prompts.passage import Passage
from ingest.prompts.words import BOXES, CATEGORIES, ENTITIES, ORDINALS, PLURALS, entities
from qkstore.errors import PromptError

N, N_TEST = 60, 30


@pytest.fixture(scope="module", params=boxes.QUESTIONS)
def prompts(request) -> list[Prompt]:
    return boxes.build(N, request.param, seed=3, n_test=N_TEST)


def of(prompts: list[Prompt], variant: str, split: str = "train") -> list[Prompt]:
    return [p for p in prompts if (p.variant, p.split) == (variant, split)]


def words_of(prompt: Prompt, role: str) -> list[str]:
    return [prompt.text[s.start : s.end] for s in prompt.spans if s.role == role]


def test_every_word_names_one_thing():
    every = [*ENTITIES, *BOXES, *ORDINALS, *PLURALS.values(), *(w for words in CATEGORIES.values() for w in words)]
    assert max(Counter(every).values()) == 1
    assert len(ENTITIES) == 60
    assert len(BOXES) == 26
    assert len(CATEGORIES) == 13
    assert (len(entities("train")), len(entities("test"))) == (40, 20)


def test_counts_by_variant_and_split(prompts):
    assert Counter((p.split, p.variant) for p in prompts) == {
        ("train", "base"): N,
        ("train", "counterfactual"): N,
        ("train", "fixed"): N,
        ("test", "base"): N_TEST,
        ("test", "counterfactual"): N_TEST,
    }
    assert len({p.id for p in prompts}) == len(prompts)


def test_spans_hit_their_words(prompts):
    for p in prompts:
        for span in p.spans:
            word = p.text[span.start : span.end]
            assert span.role == "answer_slot" or word == span.labels[span.role]
        slot = p.spans[-1]
        assert slot.role == "answer_slot"
        assert (slot.start, slot.end) == (len(p.text) - 3, len(p.text))
        assert p.text.endswith("Answer: box")


def test_labels_agree_with_the_text(prompts):
    for p in prompts:
        clauses = p.text.split(". ")[:9]
        keys = [s for s in p.spans if s.role == "box"]
        for i, (clause, key) in enumerate(zip(clauses, keys, strict=True), start=1):
            assert clause == f"The {key.labels['entity']} is in box {key.labels['box']}"
            assert key.labels["order_id"] == i
        assert [k.labels["is_answer"] for k in keys].count(True) == 1
        answer = next(k.labels for k in keys if k.labels["is_answer"])
        queried = (p.labels["queried_entity"], p.labels["queried_order"], p.labels["queried_box"])
        assert (answer["entity"], answer["order_id"], answer["box"]) == queried
        assert p.answer == answer["box"]


def test_a_question_names_only_what_its_kind_allows(prompts):
    for p in prompts:
        question = p.text.split("Which box is the ")[1].split(" in?")[0]
        place, entity = ORDINALS[p.labels["queried_order"] - 1], p.labels["queried_entity"]
        assert question == {"ent": entity, "ord": place, "both": f"{place} {entity}"}[p.labels["question"]]


def test_splits_share_no_entity(prompts):
    train = {w for p in prompts if p.split == "train" for w in words_of(p, "entity")}
    test = {w for p in prompts if p.split == "test" for w in words_of(p, "entity")}
    assert train
    assert test
    assert not train & test


@pytest.mark.parametrize("split", ["train", "test"])
def test_counterfactual_differs_only_in_the_queried_entity(prompts, split):
    by_id = {p.id: p for p in prompts}
    for other in of(prompts, "counterfactual", split):
        base = by_id[other.counterfactual_of]
        old, new = base.labels["queried_entity"], other.labels["queried_entity"]
        assert (base.split, base.variant) == (split, "base")
        assert new not in base.text.split()
        assert new in entities(split)
        assert other.text == base.text.replace(f" {old} ", f" {new} ")
        times = 1 if base.labels["question"] == "ord" else 2
        assert other.text.split().count(new) == times
        assert (base.answer, base.labels["queried_order"]) == (other.answer, other.labels["queried_order"])


@pytest.mark.parametrize("question", boxes.QUESTIONS)
def test_reflexive_prompts_differ_only_in_the_queried_box(prompts, question):
    more = boxes.build(N, question, seed=3, n_test=N_TEST, reflexive=True)
    assert more[: -N - N_TEST] == boxes.build(N, question, seed=3, n_test=N_TEST), (
        "the prompts before them stay as they were"
    )
    by_id = {p.id: p for p in more}
    assert len(by_id) == len(more)
    for split, n in (("train", N), ("test", N_TEST)):
        found = of(more, "reflexive", split)
        assert len(found) == n
        assert {p.counterfactual_of for p in found} == {p.id for p in of(more, "base", split)}
        for p in found:
            base = by_id[p.counterfactual_of]
            old, new = base.answer, p.answer
            assert new in BOXES
            assert new not in words_of(base, "box")
            assert p.labels == base.labels | {"queried_box": new}
            assert p.text == base.text.replace(f" box {old}.", f" box {new}.")
            assert p.text.split("Which")[1] == base.text.split("Which")[1]
            assert [s.labels["is_answer"] for s in p.spans if s.role == "box"] == [
                s.labels["is_answer"] for s in base.spans if s.role == "box"
            ]


def test_without_being_asked_for_there_are_no_reflexive_prompts(prompts):
    assert not of(prompts, "reflexive")
    assert not of(prompts, "reflexive", "test")


def test_fixed_prompts_vary_only_order_and_boxes(prompts):
    fixed = of(prompts, "fixed")
    assert len({frozenset(words_of(p, "entity")) for p in fixed}) == 1
    assert len({p.labels["queried_order"] for p in fixed}) == 9
    names_entity = fixed[0].labels["question"] != "ord"
    assert (len({p.labels["queried_entity"] for p in fixed}) == 1) == names_entity
    base = of(prompts, "base")  # the control: ordinary prompts do vary both
    assert len({frozenset(words_of(p, "entity")) for p in base}) > 1 < len({p.labels["queried_entity"] for p in base})


def test_one_seed_one_set_of_prompts():
    assert boxes.build(5, "both", 1, n_test=3) == boxes.build(5, "both", 1, n_test=3)
    assert boxes.build(5, "both", 1, n_test=3) != boxes.build(5, "both", 2, n_test=3)


def test_fewer_pairs():
    assert {len(words_of(p, "box")) for p in boxes.build(3, "ent", 0, n_test=3, n_pairs=4)} == {4}


def test_passage_tells_a_repeated_word_apart():
    passage = Passage().say("The").mark("jam", "entity", n=1).say(".", "The").mark("jam", "entity", n=2).say("?")
    assert passage.text == "The jam. The jam?"
    first, second = passage.spans
    assert (first.start, second.start) == (4, 13) == (passage.text.find("jam"), passage.text.rfind("jam"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "entity"}, "no question 'entity': did you mean 'ent'\\? there are: both, ent, ord"),
        ({"n_pairs": 10}, "10 pairs: a boxes prompt has 2 to 9"),
        ({"n_pairs": 1}, "1 pairs: a boxes prompt has 2 to 9"),
        ({"n": -1}, "-1 prompts: the numbers of prompts are 0 or more"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(PromptError, match=f"^{message}$"):
        boxes.build(**({"n": 1, "question": "ent", "seed": 0} | arguments))
