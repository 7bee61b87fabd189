"""Examples: pairs of a contrast and prompts of a run, with their tokens, for a person to read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.contrast.contrast import Contrast, pairs
from qkstore.run import Run


@dataclass(frozen=True)
class Place:
    """One stored row in its prompt: the tokens' texts, and which of them it is."""

    row: int
    prompt_id: int
    pos: int
    texts: tuple[str, ...]
    index: int

    @property
    def token(self) -> str:
        return self.texts[self.index]


@dataclass(frozen=True)
class Example:
    """One pair; `same_prompt` says whether query and key stand in one text."""

    sign: int
    query: Place
    key: Place

    @property
    def same_prompt(self) -> bool:
        return self.query.prompt_id == self.key.prompt_id


def examples(run: Run, contrast: Contrast, split: str | None = None, n: int = 3, seed: int = 0) -> list[Example]:
    """n positive and n negative pairs drawn at random, the same ones for the same seed; positives first."""
    found, rng = pairs(run, contrast, split), np.random.default_rng(seed)
    out = []
    for sign, side in ((1, found.positive), (-1, found.negative)):
        rows = np.flatnonzero(side)
        for i in rows[rng.permutation(len(rows))[:n]]:
            out.append(
                Example(sign, _place(run, run.query_places, found.query[i]), _place(run, run.key_places, found.key[i]))
            )
    return out


def _place(run: Run, places: tuple[np.ndarray, np.ndarray], row: int) -> Place:
    prompt_id, pos = int(places[0][row]), int(places[1][row])
    tokens = run.tokens(prompt_id)
    index = next(i for i, t in enumerate(tokens) if t["pos"] == pos)
    return Place(int(row), prompt_id, pos, tuple(t["text"] for t in tokens), index)


def prompts(run: Run, split: str | None = None, most: int = 300) -> list[dict]:
    """The first prompts of a split that have a stored query: prompt_id, text, split, variant, answer and labels."""
    kept = "WHERE p.split = ?" if split else ""
    sql = (
        f"SELECT p.* FROM prompt AS p SEMI JOIN query_row AS r USING (prompt_id) {kept} "
        f"ORDER BY p.prompt_id LIMIT {most:d}"
    )
    return run.table(sql, [split] if split else []).to_pylist()
