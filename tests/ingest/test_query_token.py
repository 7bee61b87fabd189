"""Which token is the query, and which belong to a span: the text's own, whatever a tokenizer puts beside them."""

from __future__ import annotations

import logging

import models
import pytest
import transformers as tf
from tokenizers import AddedToken, processors

import qkstore
from ingest import job
from ingest.model import wrap
from ingest.model.effect import next_token
from ingest.prompts import Prompt, Span
from ingest.prompts.corpus import Corpus
from ingest.prompts.spans import tokenise
from qkstore.errors import PromptError

TEXTS = [f"The jam is in box {c}. Which box is the jam in? Answer:" for c in "ABCDEFGH"]
PROMPTS = [Prompt(text, (Span(4, 7, "item"),)) for text in TEXTS]


def ending(tokenizer, *marks: str):
    """The same tokenizer, which ends every text with these special tokens."""
    tokenizer.add_special_tokens({"eos_token": marks[0], "additional_special_tokens": list(marks)})
    parts = [tokenizer.bos_token] * bool(tokenizer.bos_token) + ["$A", *marks]
    ids = [(mark, tokenizer.convert_tokens_to_ids(mark)) for mark in parts if mark != "$A"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(" ".join(parts), special_tokens=ids)
    return tokenizer


ENDING = {
    "byte-level, </s>": lambda: ending(models.byte_tokenizer(TEXTS), "</s>"),
    "words, <end>": lambda: ending(models.word_tokenizer(models.words(PROMPTS)), "<end>"),
    "metaspace, two of them": lambda: ending(models.metaspace_tokenizer(["jam box"]), "</s>", "<sep>"),
}


@pytest.mark.parametrize("name", ENDING)
def test_a_decoder_does_not_read_that_its_text_is_over(name):
    tokenizer = ENDING[name]()
    whole = tokenizer(TEXTS[0])["input_ids"]
    tokens = tokenise(tokenizer, PROMPTS[0], "p", causal=True)
    assert tokens.left_out
    assert whole[: len(tokens.ids)] == tokens.ids
    assert len(tokens.ids) < len(whole)
    assert tokens.words[-1].strip() == ":"
    corpus = Corpus(tokenizer, PROMPTS, causal=True)
    assert all(row == [len(t) - 1] for row, t in zip(corpus.queries, corpus.tokens, strict=True))


@pytest.mark.parametrize("name", ENDING)
def test_an_encoder_reads_it_and_the_query_is_the_texts_last_token(name):
    tokenizer = ENDING[name]()
    corpus = Corpus(tokenizer, PROMPTS, causal=False)
    for tokens, row in zip(corpus.tokens, corpus.queries, strict=True):
        assert tokens.ids == tokenizer(tokens.text)["input_ids"]
        assert [tokens.words[i].strip() for i in row] == [":"]
        assert tokens.left_out == ""


def test_between_cls_and_sep_the_query_is_the_texts_last_token():
    corpus = Corpus(models.wordpiece_tokenizer(TEXTS), PROMPTS)
    assert [t.words[row[0]] for t, row in zip(corpus.tokens, corpus.queries, strict=True)] == [":"] * len(TEXTS)
    assert {t.words[-1] for t in corpus.tokens} == {"[SEP]"}


def unregistered(tokenizer, mark: str):
    """The same tokenizer, which ends a text with a token that its list of special tokens does not name."""
    tokenizer.add_tokens([AddedToken(mark, normalized=False)])
    parts = ([tokenizer.bos_token] if tokenizer.bos_token else []) + ["$A", mark]
    ids = [(part, tokenizer.convert_tokens_to_ids(part)) for part in parts if part != "$A"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(" ".join(parts), special_tokens=ids)
    return tokenizer


@pytest.mark.parametrize("make", [lambda: models.byte_tokenizer(TEXTS), lambda: models.metaspace_tokenizer(TEXTS)])
def test_an_end_that_no_list_of_special_tokens_names_is_left_out_too(make):
    tokenizer = unregistered(make(), "<over>")
    tokens = tokenise(tokenizer, PROMPTS[0], "p", causal=True)
    assert tokens.left_out == "<over>"
    assert tokens.words[-1].endswith(":")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("text", ["Answer: ", "Answer:  ", "Answer:\n"])
def test_a_blank_that_ends_a_text_is_its_last_token_though_its_offsets_are_empty(text, causal):
    tokenizer = models.byte_tokenizer(TEXTS, trim=True)  # whose offset of a blank alone begins where it ends
    tokens = tokenise(tokenizer, Prompt(text), "p", causal=causal)
    assert tokens.ids == tokenizer(text)["input_ids"]
    assert tokens.last == len(tokens) - 1


def test_a_text_of_which_only_special_tokens_are_left_is_told():
    """Else the query would be [CLS], which no word decides."""
    for tokenizer, text in ((models.wordpiece_tokenizer(TEXTS), " \n"), (models.byte_tokenizer(TEXTS), "")):
        with pytest.raises(PromptError, match="line 3: the text has no tokens"):
            tokenise(tokenizer, Prompt(text), "line 3")


@pytest.mark.parametrize("name", ENDING)
def test_the_next_token_follows_the_ids_that_are_stored(name):
    tokenizer = ENDING[name]()
    tokens = tokenise(tokenizer, PROMPTS[0], "p", causal=True)
    token = next_token(tokenizer, tokens.text, "jam", tokens.ids)
    assert token is not None
    assert token not in tokenizer.all_special_ids


def test_an_end_that_stands_in_the_text_is_kept():
    tokenizer = ENDING["words, <end>"]()
    tokens = tokenise(tokenizer, Prompt("The jam <end>"), "p", causal=True)
    assert tokens.words[-1] == "<end>"
    assert tokens.last == len(tokens) - 1


def test_a_run_says_what_was_left_out_and_stores_the_texts_last_token(tmp_path, caplog):
    tokenizer = ENDING["words, <end>"]()
    config = tf.LlamaConfig(**models.GROUPED | dict(vocab_size=len(tokenizer)))
    with caplog.at_level(logging.WARNING, "qkstore"):
        run = qkstore.Run(job.ingest(tmp_path, "a", wrap(models.of(config), tokenizer, "tiny"), PROMPTS, task="jam"))
    assert [r.getMessage() for r in caplog.records if r.name == "qkstore"] == [
        "the tokenizer ends a text with <end>; it was left out, for the answer comes there"
    ]
    assert {row["token"] for row in run.table("SELECT token FROM q").to_pylist()} == {":"}
    assert "<end>" not in {row["text"] for row in run.table("SELECT text FROM token").to_pylist()}


def lone_blanks(text: list[str]):
    """SentencePiece-like: a word that no piece begins with its blank is '▁' and the word."""
    return models.metaspace_tokenizer(text, vocab_size=60)


@pytest.mark.parametrize("word", ["jam", "Zwiebel", "Which", "The"])
def test_a_blank_piece_belongs_to_no_word(word):
    text = f"The jam is Zwiebel or Which {word} ok"
    tokenizer = lone_blanks(["The jam is in a box"])
    start = text.rfind(word)
    for at in {start, text.find(word)}:  # at the beginning of a text too, where the blank is put before it
        tokens = tokenise(tokenizer, Prompt(text, (Span(at, at + len(word), "item"),)), "p")
        mine = [i for i, s in enumerate(tokens.span) if s == 0]
        assert mine
        assert all(tokenizer.decode([tokens.ids[i]]).strip() for i in mine)
        assert "▁" not in tokenizer.convert_ids_to_tokens([tokens.ids[i] for i in mine])


def test_control_there_are_such_pieces_and_a_span_of_a_blank_keeps_its_own():
    text = "The jam Zwiebel"
    tokenizer = lone_blanks(["The jam is in a box"])
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    assert "▁" in pieces
    tokens = tokenise(tokenizer, Prompt(text, (Span(7, 8, "gap"),)), "p")
    assert [p for p, s in zip(pieces, tokens.span, strict=True) if s == 0] == ["▁"]


@pytest.mark.parametrize("blank", ["\u3000", "\u2003", "\u2028"])
@pytest.mark.parametrize("make", [lambda: models.byte_tokenizer(TEXTS), lambda: lone_blanks(TEXTS)])
def test_the_bytes_of_a_wide_blank_belong_to_no_word(blank, make):
    """Each of them alone decodes to no blank, but the characters that they cover are one."""
    text, tokenizer = f"The jam{blank}box ok", make()
    tokens = tokenise(tokenizer, Prompt(text, (Span(4, 11, "item"),)), "p")
    covered = [i for i, (a, b) in enumerate(tokens.offsets) if (a, b) == (7, 8)]
    assert covered
    assert {tokens.span[i] for i in covered} == {None}
    assert tokens.span.count(0) >= 2
