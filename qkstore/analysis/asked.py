"""What a contrast's queries look for and its keys have, as labels: what the null of labels deals anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.analysis.head import Rows
from qkstore.contrast import labels
from qkstore.errors import ContrastError
from qkstore.null import LabelNull


@dataclass(frozen=True)
class Asked:
    """The names of three labels. query: the value that a query looks for; key: the value of a key; word: of which word.

    word is a label of keys whose values have one value of `key` each, as an item has one category; where there is
    none, it is `key` itself.
    """

    query: str
    key: str
    word: str


def asked(rows: Rows) -> Asked | None:
    """The labels that the contrast is about, on these pairs: they agree in all its positive pairs, not in its negative.

    Those of its positive condition come first, then a key's x with a query's queried_x, then any. None where there are
    none.
    """
    run = rows.run
    every = [(query, key) for key in run.token_labels for query in run.prompt_labels]
    likely = sorted(every, key=lambda names: names[0] != f"queried_{names[1]}")
    for query, key in (labels(run, rows.contrast), *likely):
        if (query, key) in every and _agrees(rows, query, key):
            return Asked(query, key, _word(rows, key))
    return None


def label_null(rows: Rows, n: int, seed: int = 0) -> LabelNull | None:
    """The null of n deals of the contrast's labels, for every head; None where it has none or nothing can be dealt."""
    found = asked(rows)
    if found is None:
        return None
    word, value = (rows.told("k", name) for name in (found.word, found.key))
    try:
        return LabelNull(rows.local, rows.told("q", found.query), word, value, n, seed)
    except ContrastError:
        return None


def _agrees(rows: Rows, query: str, key: str) -> bool:
    same = rows.told("q", query)[rows.local.query] == rows.told("k", key)[rows.local.key]
    return bool(same[rows.local.positive].all() and not same[rows.local.negative].all())


def _word(rows: Rows, key: str) -> str:
    """Of the labels that tell the value and more, the one of the fewest values; `key` where there is none."""
    value, fewest, found = rows.told("k", key), len(rows.key), key
    for name in rows.run.token_labels:
        word = rows.told("k", name)
        n, both = len(np.unique(word)), len(np.unique(np.char.add(np.char.add(word, "\0"), value)))
        if len(np.unique(value)) < n == both < fewest:
            fewest, found = n, name
    return found
