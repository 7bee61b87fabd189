"""An overview of a store: a row a run, and what there is of everything."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from qkstore.errors import StoreError
from qkstore.store import Store


@dataclass(frozen=True)
class Overview:
    """runs: a row a readable run. damaged: one error a file that is none. Totals over all runs."""

    runs: pl.DataFrame
    damaged: list[StoreError]
    models: list[str]
    n_prompts: int
    n_heads: int
    n_vectors: int
    n_saved: int


def overview(store: Store) -> Overview:
    """What the runs say of themselves, and how many contrasts are saved in the catalogue."""
    runs, damaged = store.scan()
    schema = {"run": pl.String, "model": pl.String, "task": pl.String, "prompts": pl.Int64, "layers": pl.Int64, "heads": pl.Int64,
              "d_head": pl.Int64, "splits": pl.String, "contrasts": pl.String, "created": pl.Datetime}
    rows = [
        (r.name, r.model, r.task, r.n_prompts, len(r.layers), r.n_heads, r.d_head, ", ".join(r.splits), ", ".join(store.features(r)), r.created)
        for r in runs
    ]
    return Overview(
        pl.DataFrame(rows, schema=schema, orient="row"), damaged, sorted({r.model for r in runs}),
        sum(r.n_prompts for r in runs), sum(len(r.layers) * r.n_heads for r in runs),
        sum(len(r.layers) * (r.n_heads * r.n_queries + r.n_kv_heads * r.n_keys) for r in runs), len(store.catalog.contrasts()),
    )
