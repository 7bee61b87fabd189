"""A query at every token, or at a sample of them, and the task that such queries are for: words that are said twice."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch

import qkstore
from ingest import job, model
from ingest.job import Options
from ingest.prompts import boxes, repeats, task
from ingest.prompts.corpus import ANSWER_SLOT, EVERY, Corpus, Sample
from ingest.prompts.pieces import single
from qkstore.errors import PromptError, RunError
from qkstore.run.incoming import Incoming

torch.set_num_threads(1)
BOXES = boxes.build(6, "ent", 0, 2)
TOKENIZER = models.word_tokenizer(models.words(BOXES, repeats.build(40, 0, 40, 40)))


def corpus(queries, sample=None, positions="labelled", prompts=BOXES) -> Corpus:
    return Corpus(TOKENIZER, prompts, positions, queries, sample=sample)


# -- which tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["labelled", "all"])
def test_every_token_is_a_query_and_keys_are_what_positions_say(positions):
    every, slots = corpus((EVERY,), None, positions), corpus((ANSWER_SLOT,), None, "labelled")
    assert every.queries == [list(range(len(tokens))) for tokens in every.tokens]
    assert every.keys == (every.queries if positions == "all" else [
        [i for i, role in enumerate(roles) if role] for roles in every.roles
    ])  # fmt: skip
    assert slots.queries != every.queries


def test_a_sample_is_of_each_prompt_by_its_seed():
    one, same, other = (corpus((EVERY,), Sample(7, seed)) for seed in (0, 0, 1))
    assert all(len(row) == 7 and row == sorted(set(row)) for row in one.queries)
    assert one.queries == same.queries != other.queries
    assert one.digest() == same.digest() != other.digest()
    assert len(set(map(tuple, one.queries))) > 1, "each prompt has a draw of its own"
    assert corpus((EVERY,), Sample(7, 0), prompts=BOXES[:3]).queries == one.queries[:3], "whatever the others are"
    assert one.keys == corpus((EVERY,)).keys, "of keys nothing is drawn"


def test_every_token_is_as_likely_as_another():
    drawn = np.zeros(len(corpus((EVERY,)).tokens[0]))
    for seed in range(400):
        drawn[corpus((EVERY,), Sample(10, seed), prompts=BOXES[:1]).queries[0]] += 1
    expected = 400 * 10 / len(drawn)
    assert ((drawn - expected) ** 2 / expected).sum() < 2 * len(drawn)
    drawn[:3] *= 2  # the control: the first ones twice as often
    assert ((drawn - expected) ** 2 / expected).sum() > 2 * len(drawn)


def test_roles_that_are_named_are_kept_beside_the_sample():
    both, slots = corpus((ANSWER_SLOT, EVERY), Sample(4, 0)), corpus((ANSWER_SLOT,))
    assert all(set(slot) <= set(row) and len(row) == 4 + len(slot) for row, slot in zip(both.queries, slots.queries))
    alone = corpus((EVERY,), Sample(4, 0))
    assert not all(set(slot) <= set(row) for row, slot in zip(alone.queries, slots.queries))  # the control


def test_a_sample_larger_than_a_prompt_is_all_of_it_and_negative_seeds_are_seeds():
    assert corpus((EVERY,), Sample(10**9, 0)).queries == corpus((EVERY,)).queries
    assert corpus((EVERY,), Sample(7, -1)).queries != corpus((EVERY,), Sample(7, 1)).queries


def test_no_keys_and_no_such_role_are_one_line():
    bare = repeats.build(2, 0, 1, 5)
    with pytest.raises(PromptError, match="no token has a role, so no key would be stored; .* --positions all"):
        corpus((EVERY,), prompts=bare)
    with pytest.raises(PromptError, match="no token has the role 'itme'"):
        corpus(("itme", EVERY))
    assert corpus((EVERY,), positions="all", prompts=bare).keys


def test_an_ingest_goes_on_only_with_the_same_sample(tmp_path, monkeypatch):
    small = model.wrap(models.net("llama", num_hidden_layers=2, vocab_size=len(TOKENIZER)), TOKENIZER, "tiny")
    chosen = Options(queries=(EVERY,), sample=Sample(3, 0), batch_size=2)

    def cut_short(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Incoming, "publish", cut_short)
        job.ingest(tmp_path, "a", small, BOXES, chosen, task="boxes")
    for other in (Sample(3, 1), Sample(4, 0), None):
        with pytest.raises(RunError, match="sample"):
            job.ingest(tmp_path, "a", small, BOXES, Options(queries=(EVERY,), sample=other, batch_size=2), task="boxes")
    job.ingest(tmp_path, "a", small, BOXES, chosen, task="boxes")
    run = qkstore.open(tmp_path).run("a")
    assert run.settings["sample"] == {"n": 3, "seed": 0}
    assert run.n_queries == 3 * run.n_prompts


# -- words that are said twice -----------------------------------------------------------------------------------------


def test_repeats_are_said_twice_and_test_words_are_new():
    made = repeats.build(20, 0, 20, 12)
    words = {split: set() for split in ("train", "test")}
    for prompt in made:
        said = prompt.text.removeprefix("List: ").split(" ")
        assert said[:12] == said[12:]
        assert len(set(said)) == 12
        words[prompt.split] |= set(said)
    assert not words["train"] & words["test"]
    assert [p.split for p in made] == ["train"] * 20 + ["test"] * 20
    assert repeats.build(20, 0, 20, 12) == made != repeats.build(20, 1, 20, 12)


@pytest.mark.parametrize("kind", ["bytes", "word pieces", "words"])
def test_the_second_time_each_word_is_the_same_token_if_the_tokenizer_knows_enough(kind):
    """Its first word too, for something stands before it both times."""
    pool = " ".join(p.text for p in repeats.build(200, 0, 200, 40))
    made = {
        "bytes": lambda: models.byte_tokenizer([pool], 1500),
        "word pieces": lambda: models.wordpiece_tokenizer([pool], 1500),
        "words": lambda: TOKENIZER,
    }[kind]()
    prompts = task.for_tokenizer(task.of("repeats", 8, 8, None, 0, tokens=24), made).prompts
    for prompt in prompts:
        ids = made(prompt.text, add_special_tokens=False)["input_ids"]
        assert ids[-24:-12] == ids[-12:]
    said = prompts[0].text.removeprefix("List: ")  # the control: at the beginning of a text it is another token
    ids = made(said, add_special_tokens=False)["input_ids"]
    assert (ids[:12] == ids[12:24]) == (kind != "bytes")


def test_words_of_one_token_are_taken_where_there_are_enough():
    few = models.byte_tokenizer(["jam hat pen cup key"], 300)
    assert not any(single(few)(word) for word in ("accordion", "vinegar"))
    assert repeats.build(4, 0, 4, 12, single(few)) == repeats.build(4, 0, 4, 12), "of too few none is chosen"
    kept = repeats.build(4, 0, 4, 12, lambda word: "a" in word)
    assert all("a" in word for p in kept for word in p.text.removeprefix("List: ").split(" "))


@pytest.mark.parametrize("words", [0, 1, 99, 10**6])
def test_words_that_cannot_be_are_one_line(words):
    with pytest.raises(PromptError, match="words, said twice: possible are 2 to 98, so give --tokens 4 to 196"):
        repeats.build(1, 0, 1, words)
    with pytest.raises(PromptError, match="-1 prompts"):
        repeats.build(-1, 0, 1, 5)
    assert repeats.build(1, 0, 1, 98)
