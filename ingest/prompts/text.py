"""Plain text as prompts: a file, cut into pieces of so many tokens of the model's own tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ingest.prompts.prompts import Prompt
from qkstore.errors import ModelError, PromptError

LEAST_TOKENS = 8  # of a piece
LEAST_PIECES = 4  # three to build on, one to judge on
MOST_BYTES = 64 << 20
CHARACTERS = 8  # a token has at most, for a first guess


def read(path: str | Path) -> str:
    """The text of a file, without blanks at its ends. Raises PromptError for one that is empty, or no plain text."""
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise PromptError(f"text file {path} has more than {MOST_BYTES >> 20} MB; take a part of it")
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"text file {path} is not UTF-8: byte {error.start:,} is {error.object[error.start]:#x}"
        ) from None
    except OSError as error:
        raise PromptError(f"text file {path} cannot be read: {error.strerror}") from None
    if not text:
        raise PromptError(f"text file {path} is empty")
    if _is_jsonl(text):
        raise PromptError(f"text file {path} holds lines of JSON: call it {Path(path).stem}.jsonl")
    return text


def build(text: str, tokenizer, tokens: int, name: str) -> list[Prompt]:
    """The pieces of a text, each of `tokens` tokens at most, special ones counted; joined, they are the text.

    The last quarter is the test split, in one block: what stands side by side tells of the same things in the same
    words, and so the two splits meet in one place only. name: of the text, in an error.
    Raises PromptError for fewer than LEAST_TOKENS, and for a text of fewer than LEAST_PIECES pieces.
    """
    if tokens < LEAST_TOKENS:
        raise PromptError(f"pieces of {tokens} tokens: give --tokens {LEAST_TOKENS} or more")
    if not tokenizer.is_fast:
        raise ModelError(f"{type(tokenizer).__name__} gives no character offsets; a fast tokenizer is needed")
    pieces = cut(text, tokenizer, tokens - tokenizer.num_special_tokens_to_add())
    if len(pieces) < LEAST_PIECES:
        raise PromptError(
            f"text {name} has {len(pieces)} pieces of {tokens} tokens; {LEAST_PIECES} are needed, the last for the "
            "test split: give a longer text, or fewer --tokens"
        )
    first_test = len(pieces) - len(pieces) // LEAST_PIECES
    return [
        Prompt(piece, id=f"piece-{i}", split="train" if i < first_test else "test") for i, piece in enumerate(pieces)
    ]


def cut(text: str, tokenizer, most: int) -> list[str]:
    """The text in pieces of `most` tokens at most, cut before a word; each is tokenised alone as it is in the text."""
    pieces, start = [], 0
    while start < len(text):
        end = start + _length(text, start, tokenizer, most)
        pieces.append(text[start:end])
        start = end
    return pieces


@dataclass(frozen=True)
class _Encoded:
    """The tokens of a text, without special ones, and the characters of each."""

    ids: list[int]
    offsets: list[tuple[int, int]]

    @classmethod
    def of(cls, tokenizer, text: str) -> _Encoded:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return cls(found["input_ids"], found["offset_mapping"])


def _length(text: str, start: int, tokenizer, most: int) -> int:
    """The characters of the piece that begins at `start`."""
    ahead = most * CHARACTERS
    while True:
        there = text[start : start + ahead]
        encoded = _Encoded.of(tokenizer, there)
        if len(encoded.ids) <= most and start + ahead >= len(text):
            return len(there)
        if len(encoded.ids) > 2 * most or (len(encoded.ids) > most and start + ahead >= len(text)):
            break  # the end of what was cut off here may be tokenised otherwise than in the text, so it is not near
        ahead *= 2
    ends = _ends(there, encoded, most)
    for n, end in ends:
        if _Encoded.of(tokenizer, there[:end]).ids == encoded.ids[:n]:
            return end
    for _, end in ends:  # a tokenizer whose tokens hang on what follows
        if len(_Encoded.of(tokenizer, there[:end]).ids) <= most:
            return end
    raise PromptError(f"the text cannot be cut behind {there[:20]!r}: its tokenizer makes no piece of {most} tokens")


def _ends(text: str, encoded: _Encoded, most: int) -> list[tuple[int, int]]:
    """(tokens, characters) of where a piece could end, the longest first: before words, else between any two tokens."""
    there = [
        (n, start)
        for n in range(most, 0, -1)
        if (start := encoded.offsets[n][0]) >= max(1, encoded.offsets[n - 1][1])  # they share no character
    ]
    words = [(n, end) for n, end in there if text[end].isspace() or text[end - 1].isspace()]
    return words + there if words and words[0][0] > most // 2 else there + words


def _is_jsonl(text: str) -> bool:
    try:
        first = json.loads(text.partition("\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and not {"text", "messages"}.isdisjoint(first)
