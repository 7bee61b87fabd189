"""Extreme prompts of a component: the queries that score most and least, in context, with the key that each chose."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from qkstore.analysis.decomposition.labels import labels
from qkstore.analysis.decomposition.scored import Scored
from qkstore.components import some
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.run.run import Side

BEFORE, AFTER = 12, 4  # tokens of context
TAIL = 0.1  # of the queries, at each end: whose tokens are counted
COMMON = 8  # tokens that are named


@dataclass(frozen=True)
class Token:
    """A token in its prompt: the text before it, its own, and the text after it, as they stand there."""

    pos: int
    before: str
    text: str
    after: str


@dataclass(frozen=True)
class Extreme:
    """A query that scores high or low on a component, and the key that it attends to most.

    score, key_score: of the query, and of the key less the mean of the keys that it may choose from. attention: on that
    key. labels, key_labels: what can be tried as a name, of both.
    """

    query_row: int
    key_row: int
    prompt_id: int
    score: float
    key_score: float
    attention: float
    query: Token
    key: Token
    labels: dict[str, object]
    key_labels: dict[str, object]


@dataclass(frozen=True)
class Common:
    """A token that is frequent at one end. n: of the `of` queries there (or their keys); everywhere: share of all."""

    text: str
    n: int
    of: int
    everywhere: float


@dataclass(frozen=True)
class Prompts:
    """Both ends of one component, on the judged split.

    high, low: queries from the end on, one of a prompt. tokens: {high, low, high_keys, low_keys: the tokens most
    frequent among the TAIL of the queries at that end, and among the keys that these chose}. n: queries in all.
    """

    component: int
    n: int
    split: str | None
    high: list[Extreme]
    low: list[Extreme]
    tokens: dict[str, list[Common]]

    def to_dict(self) -> dict:
        """The fields by name."""
        return asdict(self)


def prompts(scored: Scored, component: int, most: int = 5) -> Prompts:
    """Return the `most` prompts at both ends of a component. Raises ContrastError for one that is not there."""
    of = scored.of
    if not 0 <= component < len(of):
        there = "it has none" if not len(of) else f"its components are 0 to {len(of) - 1}"
        raise ContrastError(f"layer {of.head.layer} head {of.head.head} has no component {component}; {there}")
    order = np.argsort(scored.x[:, component], kind="stable")
    tail = max(1, min(int(np.ceil(TAIL * len(order))), len(order) // 2))
    ends = {"high": order[::-1], "low": order}
    shown = {end: _one_of_a_prompt(scored, rows, most) for end, rows in ends.items()}
    tokens = {end: _common(of.head.run, "q", scored.query, rows[:tail]) for end, rows in ends.items()}
    tokens |= {f"{end}_keys": _common(of.head.run, "k", scored.key, rows[:tail]) for end, rows in ends.items()}
    told = {end: _told(scored, rows, component) for end, rows in shown.items()}
    return Prompts(component, len(scored), of.judged.split, told["high"], told["low"], tokens)


def _one_of_a_prompt(scored: Scored, rows: np.ndarray, most: int) -> np.ndarray:
    """The first rows of different prompts."""
    _, first = np.unique(scored.group[rows], return_index=True)
    return rows[np.sort(first)[:most]]


def _told(scored: Scored, rows: np.ndarray, component: int) -> list[Extreme]:
    run = scored.of.head.run
    told = [_labels(scored, "q", scored.query[rows]), _labels(scored, "k", scored.key[rows])]
    out = []
    for at, *labelled in zip(rows.tolist(), *told, strict=True):
        query, key, prompt = int(scored.query[at]), int(scored.key[at]), int(scored.group[at])
        tokens, text = run.tokens(prompt), run.prompt(prompt)["text"] or ""
        places = [_token(tokens, text, int(p)) for p in (run.query_places[1][query], run.key_places[1][key])]
        out.append(
            Extreme(
                query, key, prompt, float(scored.x[at, component]), float(scored.y[at, component]),
                float(scored.attention[at]), *places, *labelled,
            )
        )  # fmt: skip
    return out


def _token(tokens: list[dict], text: str, pos: int) -> Token:
    """The token at a place with its context, cut from the prompt's text, so that spaces are as they were."""
    at = next(i for i, t in enumerate(tokens) if t["pos"] == pos)
    first, own, last = tokens[max(0, at - BEFORE)], tokens[at], tokens[min(len(tokens) - 1, at + AFTER)]
    start, end = own["char_start"], own["char_end"]
    if start is None or end is None or not start < end:  # what stands in no text, such as a BOS
        return Token(pos, "", own["text"] or "", text[: last["char_end"] or 0])
    return Token(pos, text[first["char_start"] or 0 : start], text[start:end], text[end : last["char_end"] or end])


def _labels(scored: Scored, side: Side, rows: np.ndarray) -> list[dict[str, object]]:
    """The labels of rows of q or k that can name a component: what is the same for all, or empty, says nothing."""
    run, some_rows = scored.of.head.run, some(scored.group)
    every = (scored.query if side == "q" else scored.key)[some_rows]
    names = [label.name for label in labels(run, side, every, scored.group[some_rows])[0] if label.kind != "tenths"]
    if not names:
        return [{} for _ in rows]
    return [{n: v for n, v in row.items() if v is not None} for row in run.labels(side, names, rows).to_pylist()]


def _common(run: Run, side: Side, rows: np.ndarray, at: np.ndarray) -> list[Common]:
    """The tokens most frequent among the rows at some places."""
    texts = run.labels(side, ["token"], rows)["token"].to_pylist()
    all_of, most = Counter(texts), Counter(texts[i] for i in at.tolist()).most_common(COMMON)
    return [Common(text or "", many, len(at), all_of[text] / len(texts)) for text, many in most]
