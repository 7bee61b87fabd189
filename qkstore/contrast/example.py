"""Examples for a person to read: pairs of a contrast in their prompts, and prompts of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qkstore.contrast.contrast import Contrast
from qkstore.contrast.selection import pairs
from qkstore.covariance import Pairs
from qkstore.run import Run

Side = Literal["q", "k"]


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
    """One pair of a contrast; sign is +1 or −1. It is number `number` of `of` pairs of its side, 1 the first.

    value: what it was ordered by, such as its logit; None where pairs come at random.
    """

    sign: int
    query: Place
    key: Place
    number: int
    of: int
    value: float | None = None

    @property
    def same_prompt(self) -> bool:
        """Whether query and key are in one prompt."""
        return self.query.prompt_id == self.key.prompt_id


def examples(
    run: Run,
    contrast: Contrast,
    split: str | None = None,
    n: int = 3,
    seed: int = 0,
    skip: int = 0,
    only: tuple[Side, str, Any] | None = None,
    values: np.ndarray | None = None,
    lowest: bool = False,
) -> list[Example]:
    """Return n positive pairs, then n negative ones, at random, the same ones for the same seed.

    A side with fewer pairs gives them all. skip: how many of each side come before; after the last comes the first.
    only: ("k", "category", "fruit") takes the pairs whose key has this value of this label. values: (p,) a number for
    each pair of `qkstore.contrast.pairs`, such as `HeadData.logits()`: the highest come first, or the lowest; pairs
    whose value is NaN are left out. split, errors: as for `qkstore.contrast.pairs`.
    """
    drawn_from, rng = pairs(run, contrast, split), np.random.default_rng(seed)
    kept = np.ones(len(drawn_from.sign), bool) if only is None else _labelled(run, drawn_from, *only)
    if values is not None:
        kept &= np.isfinite(values)
    out = []
    for sign, side in ((1, drawn_from.positive), (-1, drawn_from.negative)):
        rows = np.flatnonzero(side & kept)
        order = rng.permutation(len(rows)) if values is None else _ordered(values[rows], lowest)
        start = skip % max(len(rows), 1)
        for number, i in enumerate(rows[order[start : start + n]], start=start + 1):
            query = _place(run, run.query_places, drawn_from.query[i])
            key = _place(run, run.key_places, drawn_from.key[i])
            value = None if values is None else float(values[i])
            out.append(Example(sign, query, key, number, len(rows), value))
    return out


def _ordered(values: np.ndarray, lowest: bool) -> np.ndarray:
    """The places of values, the highest or lowest first; of equal ones the first."""
    return np.argsort(values if lowest else -values, kind="stable")


def _labelled(run: Run, drawn: Pairs, side: Side, column: str, value: Any) -> np.ndarray:
    """(p,) whether the query, or key, of each pair has a value of a label. Raises RunError for an unknown label."""
    rows, where = np.unique(drawn.query if side == "q" else drawn.key, return_inverse=True)
    found = run.labels(side, [column], rows)[column].to_pylist()
    return np.array([one == value for one in found], bool)[where]


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
