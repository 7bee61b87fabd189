"""A store for the tests of the dashboard: a synthetic run on which every built-in contrast of boxes has both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import once
import polars as pl
import synthetic

CATEGORIES = ("fruit", "tool", "animal")


def boxes(n: int = 600, **options) -> synthetic.Synthetic:
    """The synthetic run, with every other base prompt of the train split as variant 'fixed'."""
    data = synthetic.synthetic(n, **options)
    fixed = (pl.col("split") == "train") & (pl.col("prompt_id") % 4 == 0)
    data.prompts = data.prompts.with_columns(variant=pl.when(fixed).then(pl.lit("fixed")).otherwise(pl.col("variant")))
    return data


def hostile(texts: dict[int, str], **options) -> synthetic.Synthetic:
    """The same with the text of some positions of every prompt replaced."""
    data = boxes(**options)
    data.tokens = data.tokens.with_columns(
        text=pl.col("pos").replace_strict(texts, default=pl.col("text"), return_dtype=pl.String)
    )
    return data


def lists(n: int = 480, seed: int = 0) -> synthetic.Synthetic:
    """Lists of two items of each of three categories, then a queried one; head 1 of layer 1 reads the category."""
    rng, data = np.random.default_rng(seed), synthetic.synthetic(n, seed=seed)
    words = {c: [f"{c}{i}" for i in range(4)] for c in CATEGORIES}
    prompts, tokens, asked = [], [], []
    for i in range(n):
        order = [CATEGORIES[j] for j in rng.permutation(np.repeat(np.arange(3), 2))][: synthetic.BOXES]
        category = order[rng.integers(synthetic.BOXES)]
        texts = [*(words[c][rng.integers(4)] for c in order), "which", category, ":"]
        at = np.cumsum([0, *(len(t) + 1 for t in texts)])
        prompts.append(
            dict(
                prompt_id=i,
                id=None,
                text=" ".join(texts),
                split="test" if i % 4 == 3 else "train",
                variant="base",
                counterfactual_id=None,
                answer=None,
                queried_category=category,
            )
        )
        tokens += [
            dict(
                prompt_id=i,
                pos=p,
                token_id=p,
                text=t,
                char_start=int(at[p]),
                char_end=int(at[p]) + len(t),
                span=p,
                span_last=True,
                role="item" if p < len(order) else "answer_slot" if t == ":" else None,
                category=order[p] if p < len(order) else None,
                item=t if p < len(order) else None,
            )
            for p, t in enumerate(texts)
        ]
        asked.append((category, order))
    data.prompts, data.tokens = (pl.DataFrame(rows, infer_schema_length=None) for rows in (prompts, tokens))
    place = {"query_row": "answer_slot", "key_row": "item"}
    data.query_rows, data.key_rows = (
        data.tokens.filter(pl.col("role") == r).select("prompt_id", "pos").with_row_index(name)
        for name, r in place.items()
    )
    axes = 5 * np.eye(synthetic.D, dtype=np.float32)
    data.q[1, 1] += axes[[CATEGORIES.index(c) for c, _ in asked]]
    data.k[1, 0] += axes[[CATEGORIES.index(c) for _, order in asked for c in order]]
    keys = np.repeat(data.k, data.q.shape[1] // data.k.shape[1], axis=1).reshape(
        *data.q.shape[:2], n, synthetic.BOXES, synthetic.D
    )
    logits = np.einsum("lhnd,lhnbd->lhnb", data.q, keys) * synthetic.SCALING
    data.logsumexp = np.logaddexp(np.log(np.exp(logits).sum(-1)), 0.0).astype(np.float32)
    return data


def write(path: Path, name: str = "boxes", data: synthetic.Synthetic | None = None, **options) -> Path:
    """A store directory with one run of boxes, or of `data`; returns the directory.

    A run of `options` alone is made once and copied.
    """
    if data is not None:
        synthetic.publish(path, name, data)
    else:
        made = synthetic.key(f"stores-{name}", options)
        once.runs(made, path, lambda folder: synthetic.publish(folder, name, boxes(**options)))
    return path


def write_lists(path: Path) -> Path:
    """A store directory with the run 'lists', made once and copied; returns the directory."""
    once.runs("stores-lists", path, lambda folder: synthetic.publish(folder, "lists", lists()))
    return path


DEMO = {"n": 600, "n_test": 300}  # prompts of each run of the demo: enough for each to show its mechanism


def write_demo(path: Path) -> Path:
    """A store directory with the demo's runs of fewer prompts, made once and copied; returns the directory."""
    from ingest import demo

    once.runs("stores-demo", path, lambda folder: demo.build(folder, lambda *_, **__: None, **DEMO))
    return path


def bare(n: int = 600) -> synthetic.Synthetic:
    """The same prompts and vectors, whose labels were left out at ingest: roles alone are told."""
    data = boxes(n)
    data.tokens = data.tokens.drop("entity", "order_id", "box")
    data.prompts = data.prompts.drop("queried_entity", "queried_order", "answer")
    return data


def without_test(n: int = 256) -> synthetic.Synthetic:
    """A run whose prompts are all of the train split."""
    data = synthetic.synthetic(n)
    data.prompts = data.prompts.with_columns(split=pl.lit("train"))
    return data


def said_before(n: int) -> synthetic.Synthetic:
    """A run whose first n whole questions of the test split have the text of one of the train split."""
    data = synthetic.synthetic(600)
    at = np.flatnonzero((data.prompts["split"] == "test") & (data.prompts["variant"] == "base"))[:n]
    text = data.prompts["text"].to_list()
    for row in at.tolist():
        text[row] = text[row - at[0]]
    data.prompts = data.prompts.with_columns(text=pl.Series(text))
    return data
