"""A passage: text written word by word, each labelled word's characters recorded as it is written."""

from __future__ import annotations

from ingest.prompts.prompts import Label, Span

PUNCTUATION = (".", ",", "?", ":")


class Passage:
    """Words joined by blanks, punctuation set tight; `spans` holds the labelled words.

    A span is noted when its word is written and never looked for afterwards: a word that occurs twice
    (the queried entity, a repeated entity) would otherwise be found in the wrong place.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.spans: list[Span] = []
        self.reply: int | None = None  # the character at which the next turn begins, see Prompt
        self._length = 0

    def say(self, *words: str) -> Passage:
        """Append unlabelled words."""
        for word in words:
            self._append(word)
        return self

    def mark(self, word: str, role: str, **labels: Label) -> Passage:
        """Append one word and note its characters, role and labels."""
        start = self._append(word)
        self.spans.append(Span(start, self._length, role, labels))
        return self

    def turn(self) -> Passage:
        """From the next word on it is what a model is given as the beginning of its reply."""
        self.reply = self._length + 1
        return self

    @property
    def text(self) -> str:
        return "".join(_gap(i, word) + word for i, word in enumerate(self.words))

    def _append(self, word: str) -> int:
        start = self._length + len(_gap(len(self.words), word))
        self.words.append(word)
        self._length = start + len(word)
        return start


def _gap(index: int, word: str) -> str:
    return "" if index == 0 or word in PUNCTUATION else " "
