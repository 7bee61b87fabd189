"""Pieces: which words a tokenizer keeps whole, and prompts that hold no others.

The query or key of a word that is split is that of its last piece, which may stand for the end of many words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args

from ingest.prompts.prompts import Prompt
from ingest.prompts.spans import tokenise
from qkstore.errors import PromptError

Pieces = Literal["last", "single"]
PIECES: tuple[Pieces, ...] = get_args(Pieces)
Keep = Callable[[str], bool]  # whether a word may stand in a prompt
AROUND = "The ", " is"


def single(tokenizer, written: Callable[[str], str] = lambda word: word) -> Keep:
    """Whether a word is one token between two others; written: how it is spelt for this tokenizer."""

    def keep(word: str) -> bool:
        before, after = AROUND
        encoded = tokenizer(
            before + written(word) + after, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        start, end = len(before), len(before) + len(word)
        touching = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if max(a, start) < min(b, end)]
        return len(touching) == 1 and encoded["input_ids"][touching[0]] != tokenizer.unk_token_id

    return keep


def kept(words: Iterable[str], keep: Keep | None, needed: int, what: str) -> tuple[str, ...]:
    """The words that `keep` keeps. Raises PromptError where fewer than `needed` are left."""
    left = tuple(word for word in words if keep is None or keep(word))
    if len(left) < needed:
        raise PromptError(
            f"this tokenizer keeps {len(left)} {what} whole, and a prompt needs {needed}; take the last piece of each "
            "(--pieces last)"
        )
    return left


def whole(prompts: list[Prompt], tokenizer) -> list[Prompt]:
    """Those whose labelled words are one token each, and whose originals are too; a span with a blank is no word.

    Raises PromptError where none is left.
    """
    left: list[Prompt] = []
    gone: set[str] = set()
    for i, prompt in enumerate(prompts):
        tokens = tokenise(tokenizer, prompt, prompt.id or f"prompt {i}")
        split = any(
            tokens.span.count(s) > 1 and len(prompt.text[span.start : span.end].split()) == 1
            for s, span in enumerate(prompt.spans)
        )
        if split:
            gone.add(prompt.id)
        else:
            left.append(prompt)
    left = [prompt for prompt in left if prompt.counterfactual_of is None or prompt.counterfactual_of not in gone]
    if not left:
        raise PromptError(
            f"every one of the {len(prompts):,} prompts has a labelled word of several tokens; "
            "take the last piece of each (--pieces last)"
        )
    return left
