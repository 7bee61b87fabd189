"""One head's ΔC, warm, from the contrast's text to the matrix, against the same arithmetic on raw files.

    python bench/covariance.py [--prompts 3000] [--keys 9] [--d-head 128] [--rounds 15]

Both sides take turns in one process. The floor reads q and k with np.load and has its pairs in memory already: what no
store can beat. Prints both medians and their ratio; exit code 1 above --limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import qkstore
from qkstore.analysis import covariance
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import ContrastiveCovariance
from qkstore.run.incoming import Incoming

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot'",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


def make(store: Path, n: int, m: int, d: int, heads: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A run of n prompts with m keys each.

    Head 1 is what is measured; the others are there so that the file holds several heads.
    """
    rng = np.random.default_rng(0)
    q, k = (
        rng.normal(size=(1, heads, n, d)).astype(np.float32),
        rng.normal(size=(1, heads, n * m, d)).astype(np.float32),
    )
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
            "split": ["train"] * n,
            "variant": ["base"] * n,
            "counterfactual_id": [None] * n,
            "answer": ["Z"] * n,
            "queried_order": rng.integers(1, m + 1, n),
        }
    )

    def rows(name: str, role: str) -> pl.DataFrame:
        return tokens.filter(pl.col("role") == role).select("prompt_id", "pos").with_row_index(name)

    manifest = dict(
        model="bench",
        architecture="none",
        n_layers=1,
        n_heads=heads,
        n_kv_heads=heads,
        d_head=d,
        dtype="float32",
        task="bench",
    )
    with Incoming(store, "bench", {}) as incoming:
        incoming.put(0, np.arange(n), np.arange(n * m), q, k, np.zeros((1, heads, n), np.float32))
        layer = dict(layer=0, scaling=d**-0.5, softcap=None, window=None, causal=True)
        incoming.publish(manifest, [layer], prompts, tokens, rows("query_row", "answer_slot"), rows("key_row", "box"))
    np.save(store / "q.npy", q[0, 1])
    np.save(store / "k.npy", k[0, 1])
    return q[0, 1], k[0, 1]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("--prompts", 3000), ("--keys", 9), ("--d-head", 128), ("--rounds", 15)):
        options.add_argument(name, type=int, default=default)
    options.add_argument("--limit", type=float, default=3.0, help="ratio above which the exit code is 1")
    o = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        make(store, o.prompts, o.keys, o.d_head)
        run = qkstore.open(store).run("bench")
        local = pairs(run, ORDER).localise()[2]

        def from_store() -> np.ndarray:
            return covariance(run, ORDER, 0, 1).delta

        def from_files() -> np.ndarray:
            q, k = np.load(store / "q.npy"), np.load(store / "k.npy")
            delta = ContrastiveCovariance(o.d_head).update(q, k, local).delta
            np.linalg.svd(delta)  # the store's side gives a subspace, too
            return delta

        assert np.allclose(from_store(), from_files(), rtol=1e-9, atol=0), "both sides compute one matrix"
        times = {from_store: [], from_files: []}
        for _ in range(o.rounds):
            for side, taken in times.items():
                start = time.perf_counter()
                side()
                taken.append(1000 * (time.perf_counter() - start))
        ours, floor = (statistics.median(t) for t in times.values())
    print(f"{o.prompts:,} queries, {len(local):,} pairs, d_head {o.d_head}, median of {o.rounds}")
    print(f"contrast text to ΔC, from the store   {ours:7.1f} ms   (min {min(times[from_store]):.1f})")
    print(f"same arithmetic, from raw files       {floor:7.1f} ms   (min {min(times[from_files]):.1f})")
    print(f"ratio                                 {ours / floor:7.2f}")
    return int(ours / floor > o.limit)


if __name__ == "__main__":
    sys.exit(main())
