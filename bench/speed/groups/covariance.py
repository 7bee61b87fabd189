"""One head's ΔC from the contrast's text to the matrix, against the same arithmetic on raw files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from bench.speed import floor, turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, RANK, Made, Shape, made
from qkstore.analysis import covariance
from qkstore.analysis.head import build_split
from qkstore.contrast import pairs
from qkstore.run import Run

WARM, COLD = 1.5, 2.0
TURNS = {3000: 25, 30_000: 7}
MISSED = (
    "The floor has its pairs in memory; ours finds them by SQL in another process, and looks at each value that it "
    "reads. Vectors come through Arrow, a copy more than a raw file needs"
)


class Sides:
    """Both sides of one run: its vectors in the store, and the same ones in raw files."""

    def __init__(self, there: Made):
        self.made, self.run, n = there, there.run(), there.shape.prompts
        self.pairs, self.size = pairs(self.run, ORDER, build_split(self.run)), (n, n * there.shape.keys)
        self.check()

    def ours(self) -> np.ndarray:
        found = covariance(self.run, ORDER, 0, PLANTED)
        self.rank = found.subspace.rank
        return found.delta

    def floor(self) -> np.ndarray:
        group = self.made.shape.heads // self.made.shape.kv_heads
        q, k = self.made.read("q", 0, PLANTED), self.made.read("k", 0, PLANTED // group)
        made = floor.delta(q, k, floor.mixing(self.pairs, *self.size))
        np.linalg.svd(made)  # ours gives a subspace, too
        return made

    def check(self) -> None:
        one, other = self.ours(), self.floor()
        off = np.linalg.norm(one - other) / np.linalg.norm(other)
        assert off < 1e-6, f"ΔC differs from that of raw files by {off:.1e}"
        assert self.rank == RANK, f"rank {self.rank} of a feature of {RANK} dimensions"

    def cold(self) -> None:
        """A connection that has read nothing, and files that the system does not hold."""
        self.run.close()
        self.run: Run = self.made.run()
        turns.cold(self.made.file, self.made.raw("q", 0, PLANTED), self.made.raw("k", 0, 0))


def row(sides: Sides, cold: bool) -> Row:
    n, keys = sides.made.shape.prompts, sides.made.shape.keys
    turns.forget()
    both = turns.paired(sides.ours, sides.floor, TURNS[n], before=sides.cold if cold else None)
    (ours, least), how, aim = both.medians, "cold" if cold else "warm", COLD if cold else WARM
    return Row(
        f"delta-{n}-{how}",
        f"one head's ΔC, {how}, {n:,} prompts × {keys} keys, d {sides.made.shape.d_head}",
        "the same arithmetic on raw files, pairs at hand",
        f"{1000 * ours:.0f} ms, floor {1000 * least:.0f} ms",
        *both.beside,
        aim=f"≤ {aim}×",
        met=both.ratio <= aim,
        peak_mb=turns.peak(),
        missed=MISSED,
        figures={"ours_ms": 1000 * ours, "floor_ms": 1000 * least},
    )


def measure(prompts: int, scale: Scale) -> Iterator[Row]:
    sides = Sides(made(scale.folder, Shape(prompts, heads=4, kv_heads=1)))
    yield row(sides, cold=False)
    yield row(sides, cold=True)


MEASURES = {f"delta-{n}": partial(measure, n) for n in TURNS}
