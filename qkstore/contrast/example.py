"""Examples for a person to read: pairs of a contrast in their prompts, and prompts of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.contrast.contrast import Contrast, pairs
from qkstore.run import Run


@dataclass(frozen=True)
class Place:
    """One query or key row in its prompt: the texts of the prompt's tokens, and which of them (`index`) it is."""

    row: int
    prompt_id: int
    pos: int
    texts: tuple[str, ...]
    index: int

    @property
    def token(self) -> str:
        """The text of the row's own token."""
        return self.texts[self.index]


@dataclass(frozen=True)
class Example:
    """One pair of a contrast; sign is +1 or −1."""

    sign: int
    query: Place
    key: Place

    @property
    def same_prompt(self) -> bool:
        """Whether query and key are in one prompt."""
        return self.query.prompt_id == self.key.prompt_id


def examples(run: Run, contrast: Contrast, split: str | None = None, n: int = 3, seed: int = 0) -> list[Example]:
    """Return n positive pairs, then n negative ones, drawn at random; the same ones for the same seed.

    A side with fewer pairs gives them all. split, errors: as for `qkstore.contrast.pairs`.
    """
    drawn_from, rng = pairs(run, contrast, split), np.random.default_rng(seed)
    out = []
    for sign, side in ((1, drawn_from.positive), (-1, drawn_from.negative)):
        rows = np.flatnonzero(side)
        for i in rows[rng.permutation(len(rows))[:n]]:
            query = _place(run, run.query_places, drawn_from.query[i])
            key = _place(run, run.key_places, drawn_from.key[i])
            out.append(Example(sign, query, key))
    return out


def _place(run: Run, places: tuple[np.ndarray, np.ndarray], row: int) -> Place:
    prompt_id, pos = int(places[0][row]), int(places[1][row])
    tokens = run.tokens(prompt_id)
    index = next(i for i, t in enumerate(tokens) if t["pos"] == pos)
    return Place(int(row), prompt_id, pos, tuple(t["text"] for t in tokens), index)


def prompts(run: Run, split: str | None = None, most: int = 300) -> list[dict]:
    """Return the first `most` prompts of a split (None: of all) that have a stored query, as rows of table `prompt`."""
    kept = "WHERE p.split = ?" if split else ""
    sql = (
        f"SELECT p.* FROM prompt AS p SEMI JOIN query_row AS r USING (prompt_id) {kept} "
        f"ORDER BY p.prompt_id LIMIT {most:d}"
    )
    return run.table(sql, [split] if split else []).to_pylist()
