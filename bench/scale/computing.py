"""CPU seconds of ΔC's fit and of the scores of a head, by queries, pairs and d_head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import qkstore
from bench.scale.constants import Constant, cpu
from bench.speed import synthetic
from bench.speed.synthetic import ORDER, Shape
from qkstore.analysis import Head
from qkstore.analysis.head import Rows
from qkstore.analysis.heads import heads

NULLS = 19  # as the command `heads` has it
HEADS = dict(layers=1, heads=8, kv_heads=2, test=0.5)
GRID = [(1000, 9, 64), (4000, 9, 64), (1000, 9, 128), (4000, 9, 128), (4000, 27, 128), (2000, 45, 64)]  # n, keys, d
TURNS = 3
FIT = ("fit, a head", "fit, a query and d²", "fit, a pair and d")
SWEEP = ("sweep, a head", "sweep, a query and d²", "sweep, a pair and d")


def measure(folder: Path, read: float, grid: Sequence[tuple[int, int, int]] = GRID) -> list[Constant]:
    """read: MB of vectors that a CPU second reads, which is taken off a sweep."""
    fitted, swept = [], []
    for n, keys, d in grid:
        shape = Shape(n, keys=keys, d_head=d, **HEADS)
        place = folder / f"{n}-{keys}-{d}"
        place.mkdir()
        synthetic.write(place, shape)
        run = qkstore.open(place).run("bench")
        data = Rows.of(run, ORDER, None).read(Head(run, 0, synthetic.PLANTED))
        assert data.covariance.n_pos == n, "each query has one positive key"
        seconds = cpu(lambda data=data: data.fit(data.pairs), TURNS)
        fitted.append(((1, n * d * d, n * keys * d), seconds))
        mb = 4e-6 * n * d * (1 + keys / (shape.heads / shape.kv_heads))
        each = [s / shape.heads - mb / read for s in cpu(lambda run=run: heads(run, ORDER, NULLS), 2)]
        swept.append(((1, n * d * d, n * keys * d), each))
        run.close()
        (place / "runs" / "bench.duckdb").unlink()
    told = f"{len(fitted)} runs of {min(grid)[0]:,} queries and more, 9 to 45 keys each, d 64 and 128"
    return [*solved(FIT, fitted, told), *solved(SWEEP, swept, f"{told}; {NULLS} nulls; without reading")]


def solved(names: tuple[str, ...], rows: list[tuple[tuple[float, ...], list[float]]], told: str) -> list[Constant]:
    """Non-negative seconds of each feature that explain the medians best, relative to each; with those of each turn."""
    from scipy.optimize import nnls

    features = np.array([f for f, _ in rows], float)

    def fit(seconds: np.ndarray) -> np.ndarray:
        scale = features.max(axis=0)
        weight = 1 / np.maximum(seconds, 1e-6)
        found, _ = nnls(features / scale * weight[:, None], seconds * weight)
        return found / scale

    each = [fit(np.array([s[turn] for _, s in rows])) for turn in range(len(rows[0][1]))]
    whole = fit(np.median([s for _, s in rows], axis=1))
    off = np.abs(features @ whole / np.median([s for _, s in rows], axis=1) - 1).max()
    told += f"; off by {off:.0%} at most"
    return [
        Constant(
            name, float(value), min(e[i] for e in each), max(e[i] for e in each), len(rows) * len(each), "CPU s", told
        )
        for i, (name, value) in enumerate(zip(names, whole, strict=True))
    ]


def fit_s(c: dict[str, float], queries: float, pairs: float, d: int) -> float:
    """CPU seconds of ΔC of a head whose vectors were read."""
    return c[FIT[0]] + c[FIT[1]] * queries * d * d + c[FIT[2]] * pairs * d


def sweep_s(c: dict[str, float], queries: float, pairs: float, d: int) -> float:
    """CPU seconds of a head's score with its null, whose vectors were read."""
    return c[SWEEP[0]] + c[SWEEP[1]] * queries * d * d + c[SWEEP[2]] * pairs * d
