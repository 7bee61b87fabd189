"""Answers: shares and logit differences with intervals, and which token begins an answer in any tokenizer."""

from __future__ import annotations

import re

import models
import numpy as np
import pytest

from ingest.model import effect
from qkstore.analysis.live import Replies, answers


def test_answers_are_means_with_intervals():
    rng, n = np.random.default_rng(0), 400
    before = Replies(rng.normal(-5, 1, n), np.ones(n, bool), np.zeros(n, bool))
    after = [Replies(before.difference + 3, rng.random(n) < 0.4, rng.random(n) < 0.5) for _ in range(3)]
    one, several = answers(before, after[:1]), answers(before, after)
    assert (one.original_before, one.target_before) == (1.0, 0.0)
    assert one.target_after == after[0].target.mean()
    assert one.spread is None
    assert np.allclose(one.ci["difference_gain"], 3)
    assert one.difference_after == pytest.approx(before.difference.mean() + 3)
    assert several.original_after == pytest.approx(np.mean([r.original.mean() for r in after]))
    assert several.spread["target_after"] > 0
    for name in ("target_after", "difference_before"):
        low, high = one.ci[name]
        assert low < getattr(one, name) < high
        assert high - low < 0.3
    assert one.ci["target_before"][1] > 0, "an interval of none of 400 is not empty"


TEXTS = ["The jam is in box Z. The hat is in box O. Which box is the jam in? Answer: box"]
WORDS = re.findall(r"\w+|[^\w\s]", TEXTS[0])


@pytest.mark.parametrize(
    "make",
    [
        models.byte_tokenizer,
        lambda texts: models.metaspace_tokenizer(WORDS * 9, 60),
        lambda texts: models.word_tokenizer(WORDS),
    ],
    ids=["bytes", "metaspace", "words"],
)
def test_the_answer_is_the_token_that_the_key_has(make):
    """A blank before the answer is part of its token, or is not, as it is for the same word in the prompt."""
    tokenizer = make(TEXTS * 20)
    encoded = tokenizer(TEXTS[0], return_offsets_mapping=True)
    ids, at = (
        encoded["input_ids"],
        next(i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a <= TEXTS[0].index("Z") < b),
    )
    assert effect.next_token(tokenizer, TEXTS[0], "Z", ids) == ids[at]
    assert effect.next_token(tokenizer, TEXTS[0], " Z ", ids) == ids[at], "a space before an answer is the text's"
    assert effect.next_token(tokenizer, TEXTS[0], "O", ids) != ids[at]
    assert effect.next_token(tokenizer, TEXTS[0], "Z", [*ids[:-1], 0]) is None


def test_a_chat_text_gets_no_second_beginning():
    tokenizer = models.byte_tokenizer(TEXTS * 20)
    ids = tokenizer("<bos>" + TEXTS[0], add_special_tokens=False)["input_ids"]
    assert (
        effect.next_token(tokenizer, "<bos>" + TEXTS[0], "Z", ids)
        == tokenizer(" Z", add_special_tokens=False)["input_ids"][0]
    )
