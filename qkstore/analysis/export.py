"""The pairs of a contrast in one head, taken out: as a table with logits and labels, or as arrays with vectors."""

from __future__ import annotations

import numpy as np
import polars as pl

from qkstore.analysis.head import Head, Split
from qkstore.contrast import Contrast
from qkstore.run import Run


def arrays(run: Run, contrast: Contrast, layer: int, head: int, split: Split = "whole") -> dict[str, np.ndarray]:
    """q (n, d_head), k (m, d_head), their row numbers, and the pairs as positions in them.

    This is what a notebook starts from.
    """
    data = Head(run, layer, head).read(contrast, split)
    return dict(
        q=data.q,
        k=data.k,
        query_rows=data.rows.query,
        key_rows=data.rows.key,
        query=data.pairs.query,
        key=data.pairs.key,
        sign=data.pairs.sign,
        weight=data.pairs.weight,
    )


def table(run: Run, contrast: Contrast, layer: int, head: int, split: Split = "whole") -> pl.DataFrame:
    """One row for each pair: rows, sign, weight, logit, attention (NULL across prompts), and all labels of both sides.

    The labels' columns are q_… and k_….
    """
    data = Head(run, layer, head).read(contrast, split)
    stored, logits = data.rows.stored, data.logits()
    sides = [
        pl.from_arrow(run.labels(side, run.columns[side], rows)).rename(lambda name, side=side: f"{side}_{name}")
        for side, rows in (("q", stored.query), ("k", stored.key))
    ]
    own = pl.DataFrame(
        {"sign": stored.sign, "weight": stored.weight, "logit": logits, "attention": data.attention(logits)}
    )
    return pl.concat([own.with_columns(pl.col("attention").fill_nan(None)), *sides], how="horizontal")
