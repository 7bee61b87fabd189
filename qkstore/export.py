"""The pairs of a contrast on one head, taken out: as a table with logits and labels, or as arrays with vectors."""

from __future__ import annotations

import numpy as np
import polars as pl

from qkstore.contrast import Contrast, pairs
from qkstore.run import Run
from qkstore.score import pair_logits


def arrays(run: Run, contrast: Contrast, layer: int, head: int, split: str | None = None) -> dict[str, np.ndarray]:
    """q (n, d_head), k (m, d_head), their row numbers, and the pairs as positions in them.

    This is what a notebook starts from.
    """
    run.layer(layer, head)
    query_rows, key_rows, local = pairs(run, contrast, split).localise()
    return dict(
        q=run.queries(layer, head, query_rows),
        k=run.keys(layer, head, key_rows),
        query_rows=query_rows,
        key_rows=key_rows,
        query=local.query,
        key=local.key,
        sign=local.sign,
        weight=local.weight,
    )


def table(run: Run, contrast: Contrast, layer: int, head: int, split: str | None = None) -> pl.DataFrame:
    """One row for each pair: rows, sign, weight, logit, attention (NULL across prompts), and all labels of both sides.

    The labels' columns are q_… and k_….
    """
    facts = run.layer(layer, head)
    found = pairs(run, contrast, split)
    query_rows, key_rows, local = found.localise()
    logit = pair_logits(
        run.queries(layer, head, query_rows), run.keys(layer, head, key_rows), local, facts.scaling, facts.softcap
    )
    seen = run.attended(facts, found.query, found.key)
    attention = np.where(seen, np.exp(logit - run.logsumexp(layer, head, found.query)), np.nan)
    sides = [
        pl.from_arrow(run.labels(side, run.columns[side], rows)).rename(lambda name, side=side: f"{side}_{name}")
        for side, rows in (("q", found.query), ("k", found.key))
    ]
    own = pl.DataFrame({"sign": found.sign, "weight": found.weight, "logit": logit, "attention": attention})
    return pl.concat([own.with_columns(pl.col("attention").fill_nan(None)), *sides], how="horizontal")
