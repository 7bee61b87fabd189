"""The size of a run file, in 32 and in 16 bits, against raw bfloat16 of the same vectors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, RANK, Shape, made
from qkstore.analysis import covariance

MOST = {"float32": 2.05, "int16": 1.1}
CLOSE = {"float32": 0.0, "int16": 1e-4}  # of ‖v − stored v‖ ÷ ‖v‖
HEADS = dict(prompts=6200, heads=32, kv_heads=8)
MISSED = "labels, log-sum-exps and the tables of digests come on top of the vectors, which are twice as large"


def measure(dtype: str, scale: Scale) -> Iterator[Row]:
    shape = Shape(**HEADS, layers=4 if scale.full else 1, store_dtype=dtype)
    there = made(scale.folder, shape)
    run, plain = there.run(), there.read("q", 0, PLANTED)
    off = float(np.linalg.norm(run.queries(0, PLANTED) - plain) / np.linalg.norm(plain))
    assert off <= CLOSE[dtype], f"vectors differ from those that were written by {off:.1e}"
    rank = covariance(run, ORDER, 0, PLANTED).subspace.rank
    assert rank == RANK, f"rank {rank} of a feature of {RANK} dimensions"
    vectors = shape.layers * shape.prompts * (shape.heads + shape.keys * shape.kv_heads)
    size, raw = there.file.stat().st_size, 2 * vectors * shape.d_head
    yield Row(
        f"size-{dtype}",
        f"size of a run of {dtype}, {shape.layers} × {shape.heads} heads, {shape.prompts:,} prompts",
        f"raw bf16, {raw / 1e6:,.1f} MB",
        f"{size / 1e6:,.1f} MB; vectors off by {off:.0e}",
        size / raw,
        aim=f"≤ {MOST[dtype]}×",
        met=size / raw <= MOST[dtype],
        missed=MISSED,
        figures={"bytes": size, "off": off},
    )


MEASURES = {f"size-{dtype}": partial(measure, dtype) for dtype in MOST}
