"""The keys that a swap exchanges: per query the original, a positive key, and a target, another key of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError
from qkstore.run import Layer, Run
from qkstore.text import split_name


@dataclass(frozen=True)
class Targets:
    """(n,) store rows: query, original key, target key. Drawn once, so that all conditions move the same attention.

    hidden: how many more were drawn and left out, since a window hides one of their keys.
    """

    query: np.ndarray
    original: np.ndarray
    target: np.ndarray
    hidden: int = 0

    def __len__(self) -> int:
        return len(self.query)

    def where(self, kept: np.ndarray) -> Targets:
        """Those of which kept: (n,) bool is true."""
        return replace(self, query=self.query[kept], original=self.original[kept], target=self.target[kept])

    def visible(self, run: Run, layer: Layer) -> Targets:
        """Those whose two keys the query sees in this layer (a sliding window may hide one)."""
        return self.where(run.attended(layer, self.query, self.original) & run.attended(layer, self.query, self.target))


def visible_targets(
    run: Run,
    contrasts: Sequence[Contrast],
    layers: Sequence[Layer],
    split: str | None,
    most: int = 1000,
    seed: int = 0,
) -> Targets:
    """At most `most` queries of a split with their two keys, less those of which a layer sees one key only or none.

    The split is a run's own; None takes every prompt. Raises ContrastError where nothing is left.
    """
    drawn = seen = draw(run, contrasts, split, most, seed)
    for layer in layers:
        seen = seen.visible(run, layer)
    if not len(seen):
        raise ContrastError(f"{_see_none(layers)} of the {len(drawn)} pairs of keys: {_windows(layers)}")
    return replace(seen, hidden=len(drawn) - len(seen))


def draw(run: Run, contrasts: Sequence[Contrast], split: str | None, most: int = 1000, seed: int = 0) -> Targets:
    """At most `most` queries of a split, each with one of its positive keys and one other key of its prompt.

    The target has the original's role and place in its span and is no positive key of that query. Raises ContrastError
    where no query has both.
    """
    positive = pl.concat([_positive(run, c, split) for c in contrasts]).unique(maintain_order=True)
    keys = pl.from_arrow(run.table("SELECT key_row AS target, prompt_id, role, span_last FROM k ORDER BY key_row"))
    original = positive.join(keys.rename({"target": "key"}), on="key")
    here = pl.from_arrow(run.table("SELECT query_row AS query, prompt_id FROM query_row"))
    original = original.join(here, on=["query", "prompt_id"])
    rng = np.random.default_rng(seed)
    original = _one_a_query(original.sort("query", "key"), rng)
    candidate = original.join(keys, on=["prompt_id", "role", "span_last"], nulls_equal=True)
    candidate = candidate.join(positive.rename({"key": "target"}), on=["query", "target"], how="anti")
    drawn = _one_a_query(candidate.sort("query", "target"), rng)
    if not len(drawn):
        names = ", ".join(c.name for c in contrasts)
        raise ContrastError(
            f"contrast {names!r} leaves no key to move attention to: "
            f"no query of the {split_name(split)} split has a positive key and another one in its prompt"
        )
    if len(drawn) > most:
        drawn = drawn[np.sort(rng.permutation(len(drawn))[:most])]
    return Targets(*(drawn[name].to_numpy().astype(np.int64) for name in ("query", "key", "target")))


def _positive(run: Run, contrast: Contrast, split: str | None) -> pl.DataFrame:
    chosen = pairs(run, contrast, split)
    query, key = chosen.query[chosen.positive], chosen.key[chosen.positive]
    return pl.DataFrame({"query": query.astype(np.int32), "key": key.astype(np.int32)})


def _one_a_query(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """One row at random for each query, in query order."""
    return (
        rows.with_columns(dice=rng.random(len(rows)))
        .sort("query", "dice")
        .unique("query", keep="first", maintain_order=True)
        .drop("dice")
    )


def _see_none(layers: Sequence[Layer]) -> str:
    numbers = ", ".join(str(layer.layer) for layer in layers)
    return f"layers {numbers} together see none" if len(layers) > 1 else f"layer {numbers} sees none"


def _windows(layers: Sequence[Layer]) -> str:
    sizes = ", ".join("unlimited" if layer.window is None else str(layer.window) for layer in layers)
    return f"their windows are {sizes}" if len(layers) > 1 else f"its window is {sizes}"


def partners(
    run: Run, targets: Targets, asked: set[tuple[str, str]], split: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A query row for each target whose labels fit it, drawn at random, and which targets (n,) bool have one."""
    q_labels, k_labels = zip(*sorted(asked))
    names = [f"label{i}" for i in range(len(q_labels))]
    every = np.arange(run.n_queries)
    queries = pl.from_arrow(run.labels("q", [*dict.fromkeys(q_labels), "split"], every))
    queries = queries.with_columns(other=pl.Series(every))
    queries = queries.filter(pl.col("split") == split) if split else queries
    queries = queries.select("other", **{name: pl.col(q).cast(pl.String) for name, q in zip(names, q_labels)})
    wanted = pl.from_arrow(run.labels("k", list(dict.fromkeys(k_labels)), targets.target)).with_row_index("place")
    wanted = wanted.select("place", **{name: pl.col(k).cast(pl.String) for name, k in zip(names, k_labels)})
    fitting = wanted.join(queries, on=names)
    fitting = fitting.with_columns(dice=np.random.default_rng(seed).random(len(fitting))).sort("place", "dice")
    fitting = fitting.unique("place", keep="first", maintain_order=True)
    kept = np.zeros(len(targets), bool)
    kept[fitting["place"].to_numpy()] = True
    if not kept.any():
        said = ", ".join(f"{q} = {k}" for q, k in sorted(asked))
        raise ContrastError(
            f"no query of the {split_name(split)} split looks for any target key ({said}), "
            "so there is nothing to swap queries with"
        )
    return fitting["other"].to_numpy(), kept


def own_keys(run: Run, query: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, m) of the stored keys of each query's prompt, the first (n,) of each, and which (n, m) there are."""
    prompts = run.key_places[0]
    assert (np.diff(prompts) >= 0).all(), "key rows run through the prompts in order"
    own = run.query_places[0][query]
    first, last = np.searchsorted(prompts, own), np.searchsorted(prompts, own, side="right")
    rows = first[:, None] + np.arange((last - first).max())
    there = rows < last[:, None]
    return np.where(there, rows, first[:, None]), first, there
