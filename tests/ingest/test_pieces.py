"""Words of a single piece: built-in prompts are made of them, a file's prompts with others are left out."""

from __future__ import annotations

import json

import models
import pytest

from ingest.prompts import boxes, lists, task
from ingest.prompts.corpus import Corpus
from ingest.prompts.words import BOXES, CATEGORIES, ENTITIES, entities
from ingest.vocabulary import tokenizer as demo_tokenizer
from qkstore.errors import PromptError

SPLIT = {"jam", "whistle", "ticket"}  # of 60 entities, that this tokenizer has no piece for


def knowing(words: list[str]):
    """A byte-level tokenizer with these words in one piece each, and of no others."""
    return models.byte_tokenizer([f"The {word} is in box" for word in words for _ in range(50)], vocab_size=4000)


@pytest.fixture(scope="module")
def tokenizer():
    return knowing([w for w in (*ENTITIES, *BOXES) if w not in SPLIT])


def entities_of(prompts) -> set[str]:
    return {s.labels["entity"] for p in prompts for s in p.spans if s.role == "entity"}


def test_boxes_are_made_of_whole_words_alone(tokenizer):
    made = task.of("boxes", 60, 40, "ent", 0, reflexive=True)
    kept = task.for_tokenizer(made, tokenizer, "single")
    assert len(kept.prompts) == len(made.prompts)
    assert entities_of(made.prompts) == set(ENTITIES)
    assert entities_of(kept.prompts) == set(ENTITIES) - SPLIT
    assert entities_of([p for p in kept.prompts if p.split == "test"]) <= set(entities("test"))
    assert Corpus(tokenizer, made.prompts).split_words()[0] == len(SPLIT)
    assert Corpus(tokenizer, kept.prompts).split_words()[0] == 0


def test_where_no_word_is_split_the_prompts_are_the_same():
    for made in (task.of("boxes", 8, 4, "both", 3), task.of("lists", 8, 4, None, 3)):
        assert task.for_tokenizer(made, demo_tokenizer(), "single").prompts == made.prompts


def test_too_few_whole_words_are_one_line():
    few = knowing(list(ENTITIES[:9]))
    with pytest.raises(PromptError, match="keeps 9 train entities whole, and a prompt needs 10; .*--pieces last"):
        task.for_tokenizer(task.of("boxes", 2, 2, "ent", 0), few, "single")
    with pytest.raises(PromptError, match="keeps 5 items whole in 0 of 13 categories, a list needs 5; .*--pieces last"):
        task.for_tokenizer(task.of("lists", 2, 2, None, 0), few, "single")


def test_a_category_with_too_few_whole_items_is_left_out_of_both_splits():
    words = CATEGORIES | {"metal": CATEGORIES["metal"][:12]}  # two of six test items
    whole = {w for items in words.values() for w in items}
    made = lists.build(80, 0, 60, keep=whole.__contains__)
    asked = {p.split: set() for p in made}
    for prompt in made:
        asked[prompt.split] |= {s.labels["category"] for s in prompt.spans if s.role == "item"}
    assert asked["train"] == asked["test"] == set(CATEGORIES) - {"metal"}


def test_a_files_prompts_with_split_words_are_left_out_with_what_is_made_of_them(tokenizer, tmp_path):
    def line(text: str, start: int, end: int, **more) -> str:
        return json.dumps({"text": text, "spans": [{"start": start, "end": end, "role": "entity"}]} | more)

    rows = [
        line("The hat is in box", 4, 7, id="whole"),
        line("The jam is in box", 4, 7, id="split"),
        line("The hat is in box", 4, 7, id="made of a split one", counterfactual_of="split"),
        line("The jam is in box", 0, 7, id="a phrase is no word"),
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(rows))
    mine = task.of(str(file), 0, 0, None, 0)
    assert [p.id for p in task.for_tokenizer(mine, tokenizer, "single").prompts] == ["whole", "a phrase is no word"]
    file.write_text(rows[1])
    with pytest.raises(PromptError, match="every one of the 1 prompts has a labelled word of several tokens"):
        task.for_tokenizer(task.of(str(file), 0, 0, None, 0), tokenizer, "single")


def test_capitalised_countries_are_judged_as_they_are_written():
    """A tokenizer that knows 'France' and not 'france' keeps it: the prompts say France."""
    written = [w.capitalize() if name == "country" else w for name, items in CATEGORIES.items() for w in items]
    tokenizer = knowing(written)
    made = task.for_tokenizer(task.of("lists", 40, 20, None, 0), tokenizer, "single")
    there = {s.labels["item"] for p in made.prompts for s in p.spans if s.labels.get("category") == "country"}
    assert there
    assert all(w[0].isupper() for w in there)
    assert boxes.build(2, "ent", 0, 2) == boxes.build(2, "ent", 0, 2, keep=lambda word: True)
