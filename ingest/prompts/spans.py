"""Spans to tokens: a prompt is tokenised once, whole, and its character spans find their tokens by offsets.

Searching for a word's token ids, or tokenising the text up to a span, goes wrong wherever a token reaches across the
border; the tokenizer's own offsets do not.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, islice

from ingest.prompts.prompts import Prompt, Span
from qkstore.errors import ModelError, PromptError

SENTINEL = "qkstore-content-7f3a91"
TOGETHER = 256  # texts that go to a tokenizer in one call


@dataclass(frozen=True)
class Piece:
    """Characters [start, end) of a prompt's text stand at `at` of the text that is tokenised."""

    start: int
    end: int
    at: int


@dataclass(frozen=True)
class Tokens:
    """One tokenised prompt.

    offsets: characters of `text`. span: the index of the span a token belongs to. last: the position of the text's own
    last token, behind which an encoder's tokenizer has its separator. left_out: what the tokenizer appended and a
    decoder does not read, '' for nothing.
    """

    text: str
    ids: list[int]
    words: list[str]
    offsets: list[tuple[int, int]]
    span: list[int | None]
    span_last: list[bool]
    bos: str
    last: int
    left_out: str

    def __len__(self) -> int:
        return len(self.ids)


def tokenise(tokenizer, prompt: Prompt, where: str, chat: bool = False, causal: bool = False) -> Tokens:
    """The tokens of one prompt, as `tokenised` gives those of many."""
    return next(tokenised(tokenizer, [prompt], [where], chat, causal))


def tokenised(
    tokenizer, prompts: Sequence[Prompt], where: Sequence[str], chat: bool = False, causal: bool = False
) -> Iterator[Tokens]:
    """The tokens of each prompt, each token with the span it belongs to. A tokenizer takes many texts at once sooner.

    chat: put a plain text through the tokenizer's chat template, as one user message; from the prompt's `reply` on it
    is the beginning of the model's reply. A prompt with `messages` always goes through the template.
    A token belongs to a span if they share a character, blanks at the span's ends and lone blank tokens not counted.
    causal: the model reads up to the last token, so that an end that the tokenizer appends is left out.
    Raises PromptError, which starts with its `where`, if a span has no token or two spans share one.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} gives no character offsets; a fast tokenizer is needed (tokenizer.json)"
        )
    for templated, some in groupby(zip(prompts, where, strict=True), lambda one: chat or one[0].messages is not None):
        while few := list(islice(some, TOGETHER)):
            yield from _together(tokenizer, few, templated, causal)


def _together(tokenizer, few: list[tuple[Prompt, str]], templated: bool, causal: bool) -> Iterator[Tokens]:
    """The tokens of some prompts, each with its `where`, in one call of the tokenizer."""
    texts = [
        render(tokenizer, prompt, name) if templated else (prompt.text, [Piece(0, len(prompt.text), 0)])
        for prompt, name in few
    ]
    # A rendered chat holds its own special tokens, BOS too: adding them again would shift every position by one.
    encoded = tokenizer(
        [text for text, _ in texts],
        add_special_tokens=not templated,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    added, kept = encoded["special_tokens_mask"], zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    for (prompt, name), (text, pieces), marks, (ids, offsets) in zip(few, texts, added, kept, strict=True):
        # The mask knows what was added, whatever it is called; offsets do not: trimmed ones of a blank are empty too.
        end = max((i + 1 for i, mark in enumerate(marks) if not mark), default=0)
        if not end:
            raise PromptError(f"{name}: the text has no tokens; write one that this tokenizer does not drop")
        cut = end if causal else len(ids)  # behind it an appended EOS: the model would read that the text is over
        left_out = " ".join(tokenizer.convert_ids_to_tokens(ids[cut:]))
        owner = _assign(prompt, name, offsets[:cut], pieces, _blanks(tokenizer, text, ids[:cut], offsets[:cut]))
        yield _tokens(tokenizer, text, ids[:cut], offsets[:cut], owner, end - 1, left_out, name, templated)


def _blanks(tokenizer, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> list[bool]:
    return [_blank(tokenizer, t) or (b > a and not text[a:b].strip()) for t, (a, b) in zip(ids, offsets, strict=True)]


def _tokens(
    tokenizer,
    text: str,
    ids: list[int],
    offsets: list[tuple[int, int]],
    span: list[int | None],
    last: int,
    left_out: str,
    where: str,
    templated: bool,
) -> Tokens:
    ends = {s: i for i, s in enumerate(span) if s is not None}
    words = [text[a:b] if b > a else tokenizer.decode([t]) for t, (a, b) in zip(ids, offsets, strict=True)]
    span_last = [s is not None and ends[s] == i for i, s in enumerate(span)]
    return Tokens(text, ids, words, offsets, span, span_last, _bos(tokenizer, ids, where, templated), last, left_out)


def render(tokenizer, prompt: Prompt, where: str) -> tuple[str, list[Piece]]:
    """The chat template's text for `prompt`, ready for the model's reply, and where the prompt's own text went."""
    if tokenizer.chat_template is None:
        raise PromptError(f"{where}: it has messages, but the model's tokenizer has no chat template; use 'text'")
    cut = len(prompt.text) if prompt.reply is None else prompt.reply
    content, reply = prompt.text[:cut], prompt.text[cut:]
    content = content.rstrip() if reply else content
    before = list(prompt.messages[:-1]) if prompt.messages else []
    role = prompt.messages[-1]["role"] if prompt.messages else "user"
    head, mark, tail = _template(tokenizer, [*before, {"role": role, "content": SENTINEL}], where).partition(SENTINEL)
    actual = _template(tokenizer, [*before, {"role": role, "content": content}], where)
    skipped = len(content) - len(content.lstrip())
    for kept, skip in ((content, 0), (content.strip(), skipped)):  # some templates trim a message
        if mark and actual == head + kept + tail:
            pieces = [Piece(skip, skip + len(kept), len(head))]
            if reply:
                pieces.append(Piece(cut, len(prompt.text), len(actual)))
            return actual + reply, pieces
    raise PromptError(f"{where}: the chat template changes the message's content, so that its spans cannot be found")


def _template(tokenizer, messages: list[dict], where: str) -> str:
    own_words = messages[-1]["role"] == "assistant"
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not own_words, continue_final_message=own_words
        )
    except Exception as error:  # templates are programs, and raise what they like
        raise PromptError(f"{where}: the chat template refuses it: {str(error).splitlines()[0]}") from None


def _assign(
    prompt: Prompt, where: str, offsets: list[tuple[int, int]], pieces: list[Piece], blank: list[bool]
) -> list[int | None]:
    """Each token's span. A `blank` one (SentencePiece's lone ▁, a byte of U+3000) is in none with characters."""
    owner: list[int | None] = [None] * len(offsets)
    touching = _touching(offsets)
    for s, span in enumerate(prompt.spans):
        hit, word = touching(*_locate(prompt, where, span, pieces)), prompt.text[span.start : span.end]
        hit = [i for i in hit if not (blank[i] and word.strip())]
        if not hit:
            raise PromptError(f"{where}: the span {_quote(prompt, span)} has no token of its own")
        for i in hit:
            if owner[i] is not None:
                other = prompt.spans[owner[i]]
                raise PromptError(
                    f"{where}: the spans {_quote(prompt, other)} and {_quote(prompt, span)} share a token"
                )
            owner[i] = s
    return owner


@lru_cache(2**18)
def _blank(tokenizer, token: int) -> bool:
    return not tokenizer.decode([token]).strip()


def _touching(offsets: list[tuple[int, int]]) -> Callable[[int, int], list[int]]:
    """(start, end) -> the tokens that have a character between them, without a look at every token for every span.

    Offsets need not be in order: a special token stands at (0, 0) wherever it is, and touches nothing.
    """
    ends = list(accumulate((b for _, b in offsets), max))  # before the first that passes `start` none touches
    starts = list(accumulate((a if b else sys.maxsize for a, b in reversed(offsets)), min))[::-1]

    def touching(start: int, end: int) -> list[int]:
        few = range(bisect_right(ends, start), bisect_left(starts, end))
        return [i for i in few if offsets[i][0] < end and start < offsets[i][1]]

    return touching


def _locate(prompt: Prompt, where: str, span: Span, pieces: list[Piece]) -> tuple[int, int]:
    """The span's characters in the text that is tokenised, without blanks at its ends (if there is anything else)."""
    word = prompt.text[span.start : span.end]
    start, end = (
        (span.start + len(word) - len(word.lstrip()), span.start + len(word.rstrip()))
        if word.strip()
        else (span.start, span.end)
    )
    for piece in pieces:
        if piece.start <= start and end <= piece.end:
            return start - piece.start + piece.at, end - piece.start + piece.at
    raise PromptError(f"{where}: the span {_quote(prompt, span)} is cut by the chat template")


def _quote(prompt: Prompt, span: Span) -> str:
    return f"{prompt.text[span.start : span.end]!r} ({span.start}–{span.end})"


def _bos(tokenizer, ids: list[int], where: str, templated: bool) -> str:
    """Who gave the first token that marks a beginning: 'template', 'tokenizer' or 'none'. Two of them are an error."""
    marks = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
    if ids[0] not in marks:
        return "none"
    if len(ids) > 1 and ids[1] == ids[0]:
        raise PromptError(
            f"{where}: it begins with two {tokenizer.decode([ids[0]])!r} tokens: leave out the one in the text"
        )
    return "template" if templated else "tokenizer"
