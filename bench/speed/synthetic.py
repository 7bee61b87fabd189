"""A run of any shape with a planted feature, written by the project's own path, and the same vectors as raw files.

    python -m bench.speed.synthetic FOLDER SHAPE

Head PLANTED of each layer reads the order of the key that its query asks for, by a code of RANK dimensions; all other
heads are noise. So a timed result can be checked: the rank of ΔC, and which head comes first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

import qkstore
from qkstore.contrast import Contrast
from qkstore.run import Run
from qkstore.run.incoming import Incoming

ROOT = Path(__file__).resolve().parents[2]
PLANTED, RANK, STRENGTH = 1, 4, 8.0
PART = 512  # prompts at a time
ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot'",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
OTHER = ORDER.replace(
    name="next",
    positive="k.order_id = q.queried_order % 9 + 1",
    negative="k.order_id <> q.queried_order % 9 + 1",
)


@dataclass(frozen=True)
class Shape:
    """What a run has.

    test: the share of prompts that are of the test split. raw: layers that are written as raw files, too.
    """

    prompts: int
    keys: int = 9
    d_head: int = 128
    layers: int = 1
    heads: int = 4
    kv_heads: int = 2
    test: float = 0.0
    raw: int = 1
    store_dtype: str = "float32"


class Made:
    """A folder with the run `bench` and the raw files of some of its layers."""

    def __init__(self, folder: Path, shape: Shape):
        self.folder, self.shape = folder, shape

    @property
    def file(self) -> Path:
        return self.folder / "runs" / "bench.duckdb"

    def run(self) -> Run:
        """The run, opened anew."""
        return qkstore.open(self.folder).run("bench")

    def raw(self, side: str, layer: int, head: int) -> Path:
        """The file of one head's vectors: q of a query head, k of a KV head."""
        return self.folder / f"{side}-{layer}-{head}.f32"

    def read(self, side: str, layer: int, head: int) -> np.ndarray:
        """(n, d_head) float32 of a raw file, whole."""
        return np.fromfile(self.raw(side, layer, head), np.float32).reshape(-1, self.shape.d_head)

    def logsumexp(self, layer: int, head: int) -> np.ndarray:
        """(n,) of a raw file."""
        return np.fromfile(self.raw("lse", layer, head), np.float32)


def made(folder: Path, shape: Shape) -> Made:
    """A run of a shape, made once a folder, in a process of its own: its memory is not that of what is measured."""
    place = folder / "-".join(str(value) for value in asdict(shape).values())
    if not (place / "whole").exists():
        command = [sys.executable, "-m", "bench.speed.synthetic", str(place), json.dumps(asdict(shape))]
        subprocess.run(command, check=True, cwd=ROOT)
    return Made(place, shape)


def write(folder: Path, shape: Shape) -> None:
    """Spool the run part by part, publish it, and write the raw files beside it."""
    s, rng = shape, np.random.default_rng(1)
    asked = rng.integers(0, s.keys, s.prompts)
    codes, bases = _codes(rng, s.keys), [_basis(rng, s.d_head) for _ in range(s.layers)]
    to = Made(folder, shape)
    with Incoming(folder, "bench", {}) as incoming:
        for number, start in enumerate(range(0, s.prompts, PART)):
            rows = np.arange(start, min(start + PART, s.prompts))
            q, k = _vectors(np.random.default_rng([2, number]), s, codes[asked[rows]], codes, bases)
            keys = (rows[:, None] * s.keys + np.arange(s.keys)).ravel()
            lse = _logsumexp(q, k, s)
            incoming.put(number, rows, keys, q, k, lse)
            _append(to, q, k, lse)
        layers = [
            dict(layer=i, scaling=s.d_head**-0.5, softcap=None, window=None, causal=True) for i in range(s.layers)
        ]
        incoming.publish(_manifest(s), layers, *tables(s, asked))
    (folder / "whole").touch()


def _codes(rng: np.random.Generator, keys: int) -> np.ndarray:
    """(keys, RANK): a code for each place, of mean 0 and of second moment STRENGTH² times the identity."""
    drawn = rng.standard_normal((keys, RANK))
    return STRENGTH * np.sqrt(keys) * np.linalg.qr(drawn - drawn.mean(axis=0))[0]


def _basis(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, RANK)))[0].T


def _vectors(
    rng: np.random.Generator, s: Shape, asked: np.ndarray, codes: np.ndarray, bases: list
) -> tuple[np.ndarray, np.ndarray]:
    """q: (layers, heads, n, d), k: (layers, kv_heads, n · keys, d) of a part of the prompts."""
    n, group = len(asked), PLANTED // (s.heads // s.kv_heads)
    q = rng.standard_normal((s.layers, s.heads, n, s.d_head), np.float32)
    k = rng.standard_normal((s.layers, s.kv_heads, n * s.keys, s.d_head), np.float32)
    for layer, basis in enumerate(bases):  # one for both sides, so that logits have the feature, too
        q[layer, PLANTED] += asked @ basis
        k[layer, group] += np.tile(codes @ basis, (n, 1))
    return q, k


def _logsumexp(q: np.ndarray, k: np.ndarray, s: Shape) -> np.ndarray:
    """(layers, heads, n) over the keys of each query's own prompt."""
    n, group = q.shape[2], s.heads // s.kv_heads
    own = k.reshape(s.layers, s.kv_heads, n, s.keys, s.d_head)
    logits = [[np.einsum("nd,nmd->nm", q[i, h], own[i, h // group]) for h in range(s.heads)] for i in range(s.layers)]
    scaled = s.d_head**-0.5 * np.array(logits, np.float64)
    largest = scaled.max(axis=-1, keepdims=True)
    return (np.log(np.exp(scaled - largest).sum(axis=-1)) + largest[..., 0]).astype(np.float32)


def _append(to: Made, q: np.ndarray, k: np.ndarray, lse: np.ndarray) -> None:
    for side, array in (("q", q), ("k", k), ("lse", lse)):
        for layer in range(min(to.shape.raw, len(array))):
            for head, values in enumerate(array[layer]):
                with open(to.raw(side, layer, head), "ab") as file:
                    values.tofile(file)


def _manifest(s: Shape) -> dict:
    shape = dict(n_layers=s.layers, n_heads=s.heads, n_kv_heads=s.kv_heads, d_head=s.d_head)
    return shape | dict(model="bench", architecture="none", dtype="float32", task="bench", store_dtype=s.store_dtype)


def tables(s: Shape, asked: np.ndarray) -> tuple[pl.DataFrame, ...]:
    """Prompts, tokens, query rows and key rows: as many boxes as there are keys, then the slot that asks."""
    n, m = s.prompts, s.keys
    prompt, place = np.arange(n).repeat(m + 1), np.tile(np.arange(m + 1), n)
    slot = place == m
    tokens = pl.DataFrame(
        {
            "prompt_id": prompt,
            "pos": place,
            "token_id": place,
            "text": np.where(slot, "box", "Z"),
            "char_start": place,
            "char_end": place + 1,
            "role": np.where(slot, "answer_slot", "box"),
            "span": place,
            "span_last": np.full(len(prompt), True),
            "order_id": place + 1,
        }
    )
    prompts = pl.DataFrame(
        {
            "prompt_id": np.arange(n),
            "id": [f"p{i}" for i in range(n)],
            "text": ["x"] * n,
            "split": np.where(np.arange(n) < round(n * (1 - s.test)), "train", "test"),
            "variant": ["base"] * n,
            "counterfactual_id": [None] * n,
            "answer": ["Z"] * n,
            "queried_order": asked + 1,
        }
    )

    def rows(name: str, role: str) -> pl.DataFrame:
        return tokens.filter(pl.col("role") == role).select("prompt_id", "pos").with_row_index(name)

    return prompts, tokens, rows("query_row", "answer_slot"), rows("key_row", "box")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Shape(**json.loads(sys.argv[2])))
