"""A run of random words with a query and a key at each, and heads of known types planted in it."""

from __future__ import annotations

import numpy as np
import polars as pl
import synthetic

WORDS, LENGTH, SHARP = 12, 24, 6.0
PLANTED = {"induction": 0, "previous-token": 1, "same-token": 2}  # the head of each; head 3 is noise


def planted(n: int = 40, seed: int = 0) -> synthetic.Synthetic:
    """Prompts of random words, a query and a key at each; three heads whose q and k are one-hot, and one of noise."""
    rng = np.random.default_rng(seed)
    ids, made = rng.integers(WORDS, size=(n, LENGTH)), synthetic.synthetic(8, n_layers=1, n_heads=4, n_kv_heads=4)
    prompt_id, pos = np.repeat(np.arange(n), LENGTH), np.tile(np.arange(LENGTH), n)
    text = [" ".join(f"w{i}" for i in row) for row in ids]
    made.prompts = pl.DataFrame({"prompt_id": range(n), "text": text, "variant": "base"}).with_columns(
        split=pl.when(pl.col("prompt_id") < 3 * n // 4).then(pl.lit("train")).otherwise(pl.lit("test"))
    )
    words = {"token_id": ids.ravel(), "text": [f"w{i}" for i in ids.ravel()]}
    made.tokens = pl.DataFrame({"prompt_id": prompt_id, "pos": pos} | words).with_columns(role=pl.lit(None, pl.String))
    places = pl.DataFrame({"prompt_id": prompt_id, "pos": pos})
    made.query_rows, made.key_rows = (places.with_row_index(f"{side}_row") for side in ("query", "key"))
    one = np.eye(LENGTH)  # of words, and of places
    word, before, noise = one[ids.ravel()], one[np.roll(ids, 1, axis=1).ravel()], rng.normal(size=(2, len(pos), LENGTH))
    q = np.stack([word, one[pos - 1], word, noise[0]]) * SHARP
    k = np.stack([before, one[pos], word, noise[1]]) * SHARP
    made.q, made.k = (side[None].astype(np.float32) for side in (q, k))
    logits = np.einsum("hptd,hpsd->hpts", *(x.reshape(4, n, LENGTH, LENGTH) for x in (q, k))) * synthetic.SCALING
    logits[:, :, np.triu_indices(LENGTH, 1)[0], np.triu_indices(LENGTH, 1)[1]] = -np.inf
    made.logsumexp = np.logaddexp.reduce(logits, axis=-1).reshape(1, 4, -1)
    made.manifest |= {"d_head": LENGTH, "n_layers": 1, "n_heads": 4, "n_kv_heads": 4, "positions": "all"}
    rows = np.arange(n * LENGTH)
    made.batches = lambda: [(0, rows, rows, made.q, made.k, made.logsumexp)]
    return made
