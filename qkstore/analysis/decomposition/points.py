"""The scores of components as points, with a label of each query and of each key: for pictures."""

from __future__ import annotations

import numpy as np
import polars as pl

from qkstore.analysis.decomposition.scored import Scored
from qkstore.errors import ContrastError

MOST = 1500  # queries of a picture, and as many keys


def points(scored: Scored, first: int, second: int, q_label: str, k_label: str, seed: int = 0) -> pl.DataFrame:
    """Return the scores of two components of at most MOST queries of the judged split, and of the keys they chose.

    A row is a point: side (query, key), x and y (the two scores), z (0), group (its label's value), prompt_id, text.
    Raises ContrastError for a component that is not there, RunError for a label that is not.
    """
    for component in (first, second):
        if not 0 <= component < scored.x.shape[1]:
            raise ContrastError(f"no component {component}; there are {scored.x.shape[1]}")
    run = scored.of.head.run
    drawn = scored.rows(np.sort(np.random.default_rng(seed).permutation(len(scored))[:MOST]))
    sides = (("query", "q", drawn.query, drawn.x, q_label), ("key", "k", drawn.key, drawn.y, k_label))
    tables = []
    for side, alias, rows, score, label in sides:
        told = run.labels(alias, list(dict.fromkeys([label, "token"])), rows)
        tables.append(
            pl.DataFrame(
                {
                    "side": [side] * len(rows),
                    "x": score[:, first],
                    "y": score[:, second] if first != second else np.zeros(len(rows)),
                    "z": np.zeros(len(rows)),
                    "group": [str(value) for value in told[label].to_pylist()],
                    "prompt_id": drawn.group,
                    "text": [text or "" for text in told["token"].to_pylist()],
                }
            )
        )
    return pl.concat(tables)
