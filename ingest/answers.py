"""Answers: what a model would say next at each prompt's answer slot, beside what is right there.

A prompt's choices are its spans with a label `is_answer`, or else its answer alone. They become labels of the prompt:
`answer_rank`, `answer_probability`, `answered`, `answer_chance`, so that a contrast can ask for them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ingest.model.effect import next_token
from ingest.prompts import Prompt
from ingest.prompts.corpus import ANSWER_SLOT, Corpus
from qkstore.errors import PromptError

COLUMNS = {  # {label: its type}
    "answer_rank": pl.Int64,  # of the likeliest right token among the vocabulary, from 1
    "answer_probability": pl.Float64,  # of all right tokens together
    "answered": pl.Boolean,  # whether a right token is the likeliest of the prompt's choices, or of the vocabulary
    "answer_chance": pl.Float64,  # of `answered` where all choices are alike; NULL where there is one choice
}


@dataclass(frozen=True)
class Choices:
    """First tokens of what could be answered: the right ones, and the wrong ones among the prompt's choices."""

    right: frozenset[int]
    wrong: frozenset[int]

    @property
    def chance(self) -> float:
        """NaN where there is nothing to choose between."""
        return len(self.right) / (len(self.right) + len(self.wrong)) if self.wrong else float("nan")


class Answers:
    """The places of a corpus at which answers are read, and what would be right there."""

    def __init__(self, tokenizer, corpus: Corpus):
        self.tokenizer, self.corpus = tokenizer, corpus
        self._first: dict[tuple, int | None] = {}
        taken = sorted(set(COLUMNS) & {name.lower() for name in corpus.types.prompt})
        if taken:
            raise PromptError(
                f"prompt label {taken[0]!r} is what an ingest says of the model's answer; rename it, "
                "or leave answers out (--answers never)"
            )

    def place(self, p: int) -> int:
        """The position of prompt p whose next token is the answer: its answer slot, or its last token."""
        slots = [i for i, role in enumerate(self.corpus.roles[p]) if role == ANSWER_SLOT]
        return slots[-1] if slots else self.corpus.tokens[p].last

    def read(self, chosen: Sequence[int], logits: Tensor) -> np.ndarray:
        """(n, 5) float64: the number of each prompt and its COLUMNS, NaN for what is not known; logits: (n, vocab)."""
        rows = np.full((len(chosen), 5), np.nan)
        for i, (p, row) in enumerate(zip(chosen, logits.float(), strict=True)):
            rows[i, 0] = p
            choices = self.choices(p)
            if choices is not None:
                rows[i, 1:] = _told(choices, row)
        return rows

    def choices(self, p: int) -> Choices | None:
        """None where no right answer is known, or where a right one begins as a wrong one does."""
        prompt, tokens, end = self.corpus.prompts[p], self.corpus.tokens[p], self.place(p) + 1
        text, ids = tokens.text[: tokens.offsets[end - 1][1]], tokens.ids[:end]
        right, wrong = ({self._token(word, text, ids) for word in words} for words in _words(prompt))
        if not right or None in right | wrong or right & wrong:
            return None
        return Choices(frozenset(right), frozenset(wrong))

    def _token(self, word: str, text: str, ids: list[int]) -> int | None:
        """The first token of a word behind the text; prompts that end alike are asked once."""
        key = word, *ids[-4:]
        if key not in self._first:
            self._first[key] = next_token(self.tokenizer, text, word, ids)
        return self._first[key]


def _words(prompt: Prompt) -> tuple[set[str], set[str]]:
    """What is right to answer, and what is wrong among the prompt's choices."""
    said = {True: set(), False: set()}
    for span in prompt.spans:
        if isinstance(which := span.labels.get("is_answer"), bool):
            said[which].add(prompt.text[span.start : span.end].strip())
    right = said[True] or ({prompt.answer} if prompt.answer else set())
    return right, said[False] - right


def _told(choices: Choices, logits: Tensor) -> tuple[float, float, float, float]:
    """COLUMNS of one prompt, from its row of logits: (vocab,)."""
    right, wrong = (
        torch.tensor(sorted(some), dtype=torch.long, device=logits.device) for some in (choices.right, choices.wrong)
    )
    best = logits[right].max()
    rank = int((logits > best).sum()) + 1
    probability = float(torch.exp(logits[right].double().logsumexp(0) - logits.double().logsumexp(0)))
    answered = bool(best > logits[wrong].max()) if len(wrong) else rank == 1
    return rank, probability, float(answered), choices.chance


def frame(rows: np.ndarray, n: int) -> pl.DataFrame:
    """COLUMNS of n prompts, from what `Answers.read` gave of all of them in any order."""
    table = np.full((n, 4), np.nan)
    table[rows[:, 0].astype(int)] = rows[:, 1:]
    return pl.DataFrame(
        [
            pl.Series(name, [None if np.isnan(v) else v for v in column]).cast(pl.Float64).cast(kind)
            for (name, kind), column in zip(COLUMNS.items(), table.T, strict=True)
        ]
    )
