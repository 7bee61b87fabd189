"""Small runs with a planted feature, made with numpy alone: what the tests need where no model matters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import once
import polars as pl

import qkstore
from qkstore.run.incoming import Incoming

BOXES = 4
D = 8
SCALING = 0.5
ENTITIES = ("jam", "hat", "pen", "cup", "map", "key", "toy", "fan")


@dataclass
class Synthetic:
    """What was written, as arrays.

    q (layers, heads, n, d), k (layers, kv_heads, m, d), logsumexp (layers, heads, n).
    """

    prompts: pl.DataFrame
    tokens: pl.DataFrame
    query_rows: pl.DataFrame
    key_rows: pl.DataFrame
    q: np.ndarray
    k: np.ndarray
    logsumexp: np.ndarray
    manifest: dict
    layers: list[dict]

    @property
    def plan(self) -> dict:
        return {"run": "synthetic", "n": len(self.prompts)}

    def batches(self, size: int = 16):
        """The arguments of Incoming.put, `size` prompts a batch."""
        for number, start in enumerate(range(0, len(self.prompts), size)):
            rows = np.arange(start, min(start + size, len(self.prompts)))
            keys = (rows[:, None] * BOXES + np.arange(BOXES)).ravel()
            yield number, rows, keys, self.q[:, :, rows], self.k[:, :, keys], self.logsumexp[:, :, rows]


def synthetic(
    n: int = 64, n_layers: int = 2, n_heads: int = 4, n_kv_heads: int = 2, seed: int = 0, store_dtype: str = "float32"
) -> Synthetic:
    """n prompts of "the jam is in box Z" clauses.

    Odd rows are counterfactuals of the row before, the last quarter is test. Layer 1, heads 0 and 1 read the order (a
    random direction a place); head 2 of layer 1 reads the entity; the rest is noise.
    """
    rng = np.random.default_rng(seed)
    prompt_rows, token_rows, order, entities = [], [], [], []
    for i in range(n):
        split = "test" if i >= 3 * n // 4 else "train"
        pool = list(ENTITIES[4:] if split == "test" else ENTITIES[:5])
        if i % 2 == 0:
            words, place = [pool[j] for j in rng.permutation(len(pool))[:BOXES]], int(rng.integers(BOXES))
        else:
            words = list(entities[-1])
            words[place] = next(w for w in ENTITIES if w not in words)
        order.append(place)
        entities.append(words)
        boxes = [chr(65 + j) for j in rng.permutation(26)[:BOXES]]
        text = (
            " ".join(f"the {w} is in box {b} ." for w, b in zip(words, boxes))
            + f" which box is the {words[place]} in ? box"
        )
        prompt_rows.append(
            dict(
                prompt_id=i,
                id=f"p{i}",
                text=text,
                split=split,
                variant="counterfactual" if i % 2 else "base",
                counterfactual_id=None if i % 2 else i + 1 if i + 1 < n else None,
                answer=boxes[place],
                queried_order=place + 1,
                queried_entity=words[place],
            )
        )
        token_rows += _tokens(i, text, words, boxes)
    q, k = _vectors(
        rng,
        np.array(order),
        np.array([[ENTITIES.index(w) for w in ws] for ws in entities]),
        n_layers,
        n_heads,
        n_kv_heads,
    )
    group = n_heads // n_kv_heads
    q_read, k_read = (rounded(v) if store_dtype == "int16" else v for v in (q, k))
    keys = np.repeat(k_read, group, axis=1).reshape(n_layers, n_heads, n, BOXES, D)
    logits = np.einsum("lhnd,lhnbd->lhnb", q_read, keys) * SCALING
    prompts = pl.DataFrame(prompt_rows, schema_overrides={"counterfactual_id": pl.Int32})
    tokens = pl.DataFrame(token_rows, infer_schema_length=None)
    slots = tokens.filter(pl.col("role") == "answer_slot").select("prompt_id", "pos")
    keys = tokens.filter(pl.col("role") == "box").select("prompt_id", "pos")
    manifest = dict(
        model="synthetic",
        architecture="none",
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_head=D,
        dtype="float32",
        task="synthetic",
        positions="labelled",
        query_roles=["answer_slot"],
        seed=seed,
        weights_hash="0" * 64,
        store_dtype=store_dtype,
    )
    layers = [dict(layer=i, scaling=SCALING, softcap=None, window=None, causal=True) for i in range(n_layers)]
    # the row's mass beyond the stored keys: as much again as one key of logit 0
    logsumexp = np.logaddexp(np.log(np.exp(logits).sum(-1)), 0.0)
    return Synthetic(
        prompts,
        tokens,
        slots.with_row_index("query_row"),
        keys.with_row_index("key_row"),
        q.astype(np.float32),
        k.astype(np.float32),
        logsumexp,
        manifest,
        layers,
    )


def rounded(v: np.ndarray, steps: int = 32767) -> np.ndarray:
    """Vectors (…, d) as numbers of so many steps of a scale a vector."""
    scale = np.abs(v).max(axis=-1, keepdims=True) / steps
    return np.rint(v / scale) * scale


def _tokens(i: int, text: str, words: list[str], boxes: list[str]) -> list[dict]:
    rows, at, clause = [], 0, 0
    for pos, word in enumerate(text.split(" ")):
        row = dict(
            prompt_id=i,
            pos=pos,
            token_id=sum(map(ord, word)),
            text=word,
            char_start=at,
            char_end=at + len(word),
            role=None,
            span=None,
            span_last=None,
            entity=None,
            order_id=None,
            box=None,
        )
        if clause < BOXES and word == boxes[clause]:
            row |= dict(role="box", span=clause, span_last=True, entity=words[clause], order_id=clause + 1, box=word)
            clause += 1
        rows.append(row)
        at += len(word) + 1
    rows[-1] |= dict(role="answer_slot", span=BOXES, span_last=True)
    return rows


def _vectors(rng, order, entity, n_layers: int, n_heads: int, n_kv_heads: int):
    n = len(order)
    q, k = rng.normal(size=(n_layers, n_heads, n, D)), rng.normal(size=(n_layers, n_kv_heads, n * BOXES, D))
    place, word = (np.linalg.qr(rng.normal(size=(D, D)))[0] * 4 for _ in range(2))
    if n_layers > 1:
        q[1, :2] += place[order]
        k[1, 0] += place[np.tile(np.arange(BOXES), n)]
        q[1, 2] += word[entity[np.arange(n), order]]
        k[1, 1] += word[entity.ravel()]
    return q, k


def write(store: Path, name: str = "synthetic", data: Synthetic | None = None, **options) -> Synthetic:
    """Publish a synthetic run into a store directory; one of `options` alone is made once and copied."""
    if data is not None:
        publish(store, name, data)
        return data
    data = synthetic(**options)
    once.runs(key(name, options), store, lambda path: publish(path, name, data))
    return data


def key(name: str, options: dict) -> str:
    """The name of a run of these options, as a folder's."""
    return "-".join([name, *(f"{option}={value}" for option, value in sorted(options.items()))])


def publish(store: Path, name: str, data: Synthetic) -> None:
    (store / "runs").mkdir(parents=True, exist_ok=True)
    with Incoming(store, name, data.plan) as incoming:
        for batch in data.batches():
            incoming.put(*batch)
        incoming.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)


def two_runs(path: Path, contrast):
    """The store at `path` with two runs, one with dots in its name, and a saved contrast."""
    write(path, n=16)
    write(path, "v1.2-b", data=synthetic(8, seed=1))
    store = qkstore.open(path)
    store.catalog.save(contrast)
    return store
