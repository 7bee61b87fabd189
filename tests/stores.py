"""A store for the tests of the dashboard: a synthetic run on which every built-in contrast of boxes has both sides."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import synthetic


def boxes(n: int = 600, **options) -> synthetic.Synthetic:
    """The synthetic run, with every other base prompt of the train split as variant 'fixed'."""
    data = synthetic.synthetic(n, **options)
    fixed = (pl.col("split") == "train") & (pl.col("prompt_id") % 4 == 0)
    data.prompts = data.prompts.with_columns(variant=pl.when(fixed).then(pl.lit("fixed")).otherwise(pl.col("variant")))
    return data


def hostile(texts: dict[int, str], **options) -> synthetic.Synthetic:
    """The same with the text of some positions of every prompt replaced."""
    data = boxes(**options)
    data.tokens = data.tokens.with_columns(text=pl.col("pos").replace_strict(texts, default=pl.col("text"), return_dtype=pl.String))
    return data


def write(path: Path, name: str = "boxes", data: synthetic.Synthetic | None = None, **options) -> Path:
    """A store directory with one run of this kind; returns the directory."""
    synthetic.write(path, name, data or boxes(**options))
    return path
