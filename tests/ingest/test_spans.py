"""Every span finds exactly its tokens, whatever the tokenizer; and what cannot be found is said."""

from __future__ import annotations

from itertools import pairwise

import models
import numpy as np
import pytest

from ingest.prompts import Prompt, Span
from ingest.prompts.spans import SENTINEL, Piece, _touching, render, tokenise
from qkstore.errors import ModelError, PromptError

TEXTS = [
    "The jam is in box Z. The hat is in box O. Which box is the jam in? Answer: box",
    "An ice-cream van, a T-shirt, and the antidisestablishmentarian's New York skyscraper.",
    "Zoë ate crème brûlée in Ōsaka; 東京タワー is tall, 🍎🍏 are apples and 👩‍👩‍👧 is a family.",
    "  two  blanks,\ttab\nnewline:\n\njam. jam jam",
]
TOKENIZERS = {
    "byte-level": lambda: models.byte_tokenizer(TEXTS),
    "byte-level, few merges": lambda: models.byte_tokenizer(TEXTS, vocab_size=262),
    "byte-level, trimmed offsets": lambda: models.byte_tokenizer(TEXTS, trim=True),
    "metaspace": lambda: models.metaspace_tokenizer(TEXTS),
    "wordpiece": lambda: models.wordpiece_tokenizer(TEXTS[:2]),
}
CASES = [  # (text, word, which occurrence of it)
    (0, "jam", 0),
    (0, "jam", 1),
    (0, "Z", 0),
    (0, "box", 2),
    (0, "box", 3),
    (0, "The hat", 0),
    (0, "The", 0),
    (1, "ice-cream van", 0),
    (1, "T-shirt", 0),
    (1, "New York", 0),
    (1, "antidisestablishmentarian", 0),
    (1, "skyscraper", 0),
    (1, ".", 0),
    (2, "Zoë", 0),
    (2, "crème brûlée", 0),
    (2, "Ōsaka", 0),
    (2, "東京", 0),
    (2, "タワー", 0),
    (2, "🍎", 0),
    (2, "🍏", 0),
    (2, "👩‍👩‍👧", 0),
    (3, "blanks", 0),
    (3, "newline", 0),
    (3, "jam", 0),
    (3, "jam", 2),
]


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def span_of(text: str, word: str, occurrence: int = 0, role: str = "item", **labels) -> Span:
    start = -1
    for _ in range(occurrence + 1):
        start = text.index(word, start + 1)
    return Span(start, start + len(word), role, labels)


@pytest.mark.parametrize(("text", "word", "occurrence"), CASES)
def test_a_span_has_the_tokens_that_hold_its_characters_and_no_other(tokenizer, text, word, occurrence):
    text = TEXTS[text]
    span = span_of(text, word, occurrence)
    tokens = tokenise(tokenizer, Prompt(text, (span,)), "prompt 0")
    mine = {i for i, s in enumerate(tokens.span) if s == 0}
    painted = {
        i
        for i, (a, b) in enumerate(tokens.offsets)
        if any(span.start <= c < span.end and not text[c].isspace() for c in range(a, b))
    }
    assert mine == {i for i in painted if tokenizer.decode([tokens.ids[i]]).strip()}  # a lone blank belongs to no word
    held = {c for i in mine for c in range(*tokens.offsets[i])}
    assert set(range(span.start, span.end)) - held <= {c for c in range(span.start, span.end) if text[c].isspace()}
    assert [i for i, last in enumerate(tokens.span_last) if last] == [max(mine)]


def test_control_searching_for_a_words_tokens_goes_wrong(tokenizer):
    """The usual other way, on the same cases: the word's own token ids, looked for in the prompt's."""
    right = 0
    for text, word, occurrence in CASES:
        text = TEXTS[text]
        tokens = tokenise(tokenizer, Prompt(text, (span_of(text, word, occurrence),)), "prompt 0")
        mine = [i for i, s in enumerate(tokens.span) if s == 0]
        searched = tokenizer(word, add_special_tokens=False)["input_ids"]
        at = next((i for i in range(len(tokens)) if tokens.ids[i : i + len(searched)] == searched), None)
        right += at is not None and mine == list(range(at, at + len(searched)))
    assert right < len(CASES) - 3


def test_blanks_at_the_ends_of_a_span_do_not_draw_in_a_neighbour(tokenizer):
    text = TEXTS[0]
    tight, wide = Span(4, 7, "item"), Span(3, 8, "item")
    assert text[3:8] == " jam "
    assert tokenise(tokenizer, Prompt(text, (wide,)), "p").span == tokenise(tokenizer, Prompt(text, (tight,)), "p").span


def test_words_are_what_the_offsets_cover_and_special_tokens_their_names(tokenizer):
    tokens = tokenise(tokenizer, Prompt(TEXTS[0]), "p")
    for word, (a, b) in zip(tokens.words, tokens.offsets, strict=True):
        assert word == TEXTS[0][a:b] or (a == b and word in ("<bos>", "<s>", "[CLS]", "[SEP]", " "))
    assert tokens.bos == "tokenizer"
    assert tokens.words[0] in ("<bos>", "<s>", "[CLS]")


def test_tokens_that_touch_a_span_are_those_of_a_look_at_every_token():
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(200):
        cuts = np.sort(rng.integers(0, 40, 13))
        offsets = [(int(a), int(b)) for a, b in pairwise(cuts)]  # some of them empty
        offsets[4:4] = [offsets[3]] * 2  # the bytes of one character share it
        offsets = [(0, 0), *offsets[:7], (0, 0), *offsets[7:], (0, 0)]  # special tokens
        touching = _touching(offsets)
        for start, end in rng.integers(0, 42, (20, 2)).tolist():
            every = [i for i, (a, b) in enumerate(offsets) if a < end and start < b]
            assert touching(start, end) == every
            seen += len(every)
    assert seen > 1000


def test_labels_of_neighbours_stay_apart():
    text = "jam, hat and tea-pot"
    spans = (span_of(text, "jam"), span_of(text, "hat"), span_of(text, "tea-pot"))
    tokens = tokenise(models.byte_tokenizer(TEXTS, vocab_size=262, bos=False), Prompt(text, spans), "p")
    assert [
        text[tokens.offsets[i][0] : tokens.offsets[i][1]].strip() for i, s in enumerate(tokens.span) if s == 1
    ] == list("hat")
    assert sum(tokens.span_last) == 3
    assert tokens.bos == "none"


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_span_without_a_token_is_named():
    tokenizer = models.word_tokenizer(["jam", "and"])  # which splits at blanks and has no token for them
    with pytest.raises(PromptError, match=r"^line 3: the span ' ' \(3–4\) has no token"):
        tokenise(tokenizer, Prompt("jam and", (Span(3, 4, "gap"),)), "line 3")


def test_two_spans_on_one_token_are_named():
    tokenizer = models.word_tokenizer(["icecream"])
    with pytest.raises(PromptError, match=r"line 3: the spans 'ice' \(0–3\) and 'cream' \(3–8\) share a token"):
        tokenise(tokenizer, Prompt("icecream", (Span(0, 3, "a"), Span(3, 8, "b"))), "line 3")


def test_a_text_without_tokens_is_named():
    with pytest.raises(PromptError, match="line 3: the text has no tokens"):
        tokenise(models.word_tokenizer(["jam"]), Prompt("  "), "line 3")


def test_a_text_that_brings_its_own_bos_is_refused():
    tokenizer = models.byte_tokenizer(TEXTS)
    with pytest.raises(PromptError, match="two '<bos>' tokens"):
        tokenise(tokenizer, Prompt("<bos>The jam"), "p")


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="Slow gives no character offsets"):
        tokenise(Slow(), Prompt("jam"), "p")


# -- chat ------------------------------------------------------------------------------------------------------------

LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
QWEN = (
    "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}<eos>\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}"
)


def chat_tokenizer(template: str):
    made = models.byte_tokenizer(TEXTS)
    made.chat_template = template
    return made


@pytest.mark.parametrize("template", [LLAMA, QWEN])
@pytest.mark.parametrize("content", ["The jam is in box Z.", "  \nThe jam is in box Z.\n"])
def test_a_message_keeps_its_spans_through_the_template_with_one_bos(template, content):
    tokenizer = chat_tokenizer(template)
    messages = ({"role": "system", "content": "Z Z Z jam"}, {"role": "user", "content": content})
    prompt = Prompt(content, (span_of(content, "jam"), span_of(content, "Z", role="box")), messages=messages)
    tokens = tokenise(tokenizer, prompt, "p")
    assert tokens.text == tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    for s, word in enumerate(("jam", "Z")):
        assert "".join(tokens.words[i] for i, t in enumerate(tokens.span) if t == s).strip() == word
        first = min(tokens.offsets[i][0] for i, t in enumerate(tokens.span) if t == s)
        assert first > tokens.text.index("user")  # and not the words of the system's message
    assert tokens.ids.count(tokenizer.bos_token_id) == (1 if template is LLAMA else 0)
    assert tokens.bos == ("template" if template is LLAMA else "none")


def test_control_tokenising_a_rendered_chat_with_special_tokens_gives_two_bos():
    tokenizer = chat_tokenizer(LLAMA)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "jam"}], tokenize=False)
    assert tokenizer(text)["input_ids"].count(tokenizer.bos_token_id) == 2


def test_a_built_in_prompt_is_asked_by_the_user_and_begun_by_the_model():
    text = TEXTS[0]
    spans = span_of(text, "Z", role="box"), span_of(text, "box", 3, role="answer_slot")
    prompt = Prompt(text, spans, reply=text.index("Answer"))
    tokens = tokenise(chat_tokenizer(LLAMA), prompt, "p", chat=True)
    assert tokens.text == (
        "<bos><|user|>\nThe jam is in box Z. The hat is in box O. "
        "Which box is the jam in?<eos><|assistant|>\nAnswer: box"
    )
    assert tokens.span[-1] == 1
    assert tokens.words[-1].strip().endswith("x")
    assert "".join(tokens.words[i] for i, s in enumerate(tokens.span) if s == 0).strip() == "Z"


def test_an_assistants_last_message_is_left_open():
    messages = ({"role": "user", "content": "Which box?"}, {"role": "assistant", "content": "Answer: box"})
    tokens = tokenise(
        chat_tokenizer(QWEN), Prompt("Answer: box", (Span(8, 11, "answer_slot"),), messages=messages), "p"
    )
    assert tokens.text.endswith("[assistant]\nAnswer: box")
    assert tokens.span[-1] == 0


def test_messages_need_a_template():
    with pytest.raises(PromptError, match="line 3: it has messages, but .* no chat template"):
        tokenise(models.byte_tokenizer(TEXTS), Prompt("jam", messages=({"role": "user", "content": "jam"},)), "line 3")


def test_a_template_that_changes_the_content_is_refused():
    tokenizer = chat_tokenizer("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    with pytest.raises(PromptError, match="changes the message's content"):
        tokenise(tokenizer, Prompt("jam", messages=({"role": "user", "content": "jam"},)), "p")


def test_a_template_that_raises_is_one_line():
    tokenizer = chat_tokenizer("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(PromptError, match="line 3: the chat template refuses it: roles must alternate"):
        tokenise(tokenizer, Prompt("jam", messages=({"role": "user", "content": "jam"},)), "line 3")


def test_render_says_where_the_pieces_went():
    text, pieces = render(chat_tokenizer(QWEN), Prompt("jam? Answer: box", reply=5), "p")
    assert pieces == [Piece(0, 4, len("[user]\n")), Piece(5, 16, len(text) - 11)]
    assert SENTINEL not in text
