"""Words that a tokenizer splits are counted, and countries are written as a model knows them."""

from __future__ import annotations

import logging

import models
import pytest
import torch

import qkstore
from ingest import demo, job
from ingest.job import Options
from ingest.model import load, wrap
from ingest.prompts import Prompt, Span, lists, task
from ingest.prompts.corpus import Corpus
from ingest.vocabulary import tokenizer as demo_tokenizer

torch.set_num_threads(1)
TEXTS = ["the jam is in a box", "the papaya is in a jar", "a jam and a papaya"]
LABELLED = [
    Prompt(TEXTS[0], (Span(4, 7, "item"), Span(16, 19, "place"))),
    Prompt(TEXTS[1], (Span(4, 10, "item"),)),
    Prompt(TEXTS[2], (Span(2, 5, "item"), Span(12, 18, "item"))),
]


def test_split_words_are_counted_once_each(tmp_path, caplog):
    letters = models.byte_tokenizer(["jam box"])  # papaya is no word of it
    pieces = {w: letters.tokenize(f"a {w}")[1:] for w in ("jam", "box", "papaya")}
    assert pieces == {"jam": ["Ġ", "jam"], "box": ["Ġbox"], "papaya": ["Ġ", *"papaya"]}, "a blank alone is of no word"
    expected = 1, 3
    assert Corpus(letters, LABELLED, query_roles=("item",)).split_words() == expected
    net = models.chat_net("qwen", len(letters))
    with caplog.at_level(logging.WARNING, "qkstore"):
        path = job.ingest(tmp_path, "a", wrap(net, letters, "tiny"), LABELLED, Options(queries=("item",)), task="jam")
    said = f"{expected[0]} of 3 labelled words are more than one token; the last piece stands for each"
    assert said in [r.getMessage() for r in caplog.records]
    measures = qkstore.Run(path).measures
    assert (measures["of them more than one token"], measures["labelled words"]) == expected


def test_whole_words_say_nothing(tmp_path, caplog):
    small, prompts = load(str(demo.MODEL)), lists.build(4, 0, 2)
    with caplog.at_level(logging.WARNING, "qkstore"):
        path = job.ingest(tmp_path, "a", small, prompts, task="lists")
    assert caplog.records == []
    assert qkstore.Run(path).measures["of them more than one token"] == 0


def test_countries_are_capitalised_for_a_model_that_knows_them_so():
    plain = task.of("lists", 60, 40, None, 0)
    cased = task.for_tokenizer(plain, models.byte_tokenizer([p.text for p in plain.prompts]))
    changed = 0
    for a, b in zip(plain.prompts, cased.prompts, strict=True):
        assert a.text.lower() == b.text.lower()
        for one, other in zip(a.spans, b.spans, strict=True):
            assert (one.start, one.end, one.role) == (other.start, other.end, other.role)
            word = b.text[other.start : other.end]
            if one.labels.get("category") == "country":
                changed += 1
                assert word == other.labels["item"] == one.labels["item"].capitalize()
                assert other.labels["category"] == "country"
            else:
                assert (one.labels, word) == (other.labels, a.text[one.start : one.end])
    assert changed > 50


def test_the_demos_words_stay_as_it_was_taught_them():
    plain = task.of("lists", 20, 10, None, 0)
    assert task.for_tokenizer(plain, demo_tokenizer()) is plain


@pytest.mark.parametrize("name", ["boxes", "file"])
def test_other_tasks_are_left_alone(name, tmp_path):
    tokenizer = models.byte_tokenizer(["jam"])
    if name == "boxes":
        asked = task.of("boxes", 3, 2, "ent", 0)
    else:
        file = tmp_path / "lists.jsonl"
        file.write_text(
            '{"text": "france", "spans": [{"start": 0, "end": 6, "role": "item", "category": "country"}]}\n'
        )
        asked = task.of(str(file), 0, 0, None, 0)
    assert task.for_tokenizer(asked, tokenizer) is asked
