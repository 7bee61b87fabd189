"""Runs of real prompts with random vectors: all their roles, spans and labels, and no model."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from synthetic import D, Synthetic, synthetic

ROLES = {"query": ("answer_slot",), "key": ("box", "entity", "item")}


def labelled(prompts, cut=lambda word: [word]) -> Synthetic:
    """The tables of prompts, with random vectors.

    A token is a word or a sign; `cut` says how a word falls into several.
    """
    partner = {p.id: p.counterfactual_of for p in prompts if p.counterfactual_of}
    partner |= {of: name for name, of in reversed(partner.items())}  # the first of several counterfactuals
    number = {p.id: i for i, p in enumerate(prompts)}
    rows, tokens = [], []
    for i, p in enumerate(prompts):
        rows.append(
            dict(
                prompt_id=i,
                id=p.id,
                text=p.text,
                split=p.split,
                variant=p.variant,
                counterfactual_id=number.get(partner.get(p.id)),
                answer=p.answer,
            )
            | p.labels
        )
        pos = 0
        for word in re.finditer(r"\w+|\S", p.text):
            span = next((n for n, s in enumerate(p.spans) if s.start <= word.start() and word.end() <= s.end), None)
            at, parts = word.start(), cut(word.group())
            for part in parts:
                at += len(part)
                labels = (
                    {}
                    if span is None
                    else dict(role=p.spans[span].role, span=span, span_last=at == p.spans[span].end)
                    | p.spans[span].labels
                )
                tokens.append(
                    dict(prompt_id=i, pos=pos, token_id=pos, text=part, char_start=at - len(part), char_end=at) | labels
                )
                pos += 1
    tokens = pl.DataFrame(tokens, infer_schema_length=None)
    places = {
        side: tokens.filter(pl.col("role").is_in(roles)).select("prompt_id", "pos") for side, roles in ROLES.items()
    }
    n, m = len(places["query"]), len(places["key"])
    rng, base = np.random.default_rng(0), synthetic(4, n_layers=1, n_heads=1, n_kv_heads=1)
    data = Synthetic(
        pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"counterfactual_id": pl.Int32}),
        tokens,
        places["query"].with_row_index("query_row"),
        places["key"].with_row_index("key_row"),
        rng.normal(size=(1, 1, n, D)).astype(np.float32),
        rng.normal(size=(1, 1, m, D)).astype(np.float32),
        np.zeros((1, 1, n)),
        base.manifest,
        base.layers,
    )
    data.batches = lambda: [(0, np.arange(n), np.arange(m), data.q, data.k, data.logsumexp)]
    return data
