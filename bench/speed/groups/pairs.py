"""Contrasts of a million and of ten million pairs: from their text to ΔC, and a null of 99 deals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from bench.speed import floor, turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, Made, Shape, made
from qkstore.analysis import covariance
from qkstore.analysis.head import Head
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import Pairs

NS, BYTES, DEALS = 200.0, 60.0, 99
LEAST_BYTES = 9  # of a pair: two row numbers of 32 bits, and a sign
NULL_S = {1: 3.0, 10: 30.0}
APART = {1: 81, 10: 8}  # of 3,000 prompts, those with equal remainders of this are paired, each key with each query
TURNS = {1: 5, 10: 3}
MISSED = {
    "delta": "the pairs come out of DuckDB's join in another process and are checked before they count",
    "memory": "what a join, a sort and an answer take whatever their size weighs more on a million pairs than on ten",
    "null": "the same deals and products as for few pairs; reading the contrast's pairs is not in it",
}


def contrast(apart: int) -> Contrast:
    """Each query with the keys of every prompt of its remainder: those of the order it asks for against the others."""
    return Contrast(
        name="apart",
        where=f"k.prompt_id % {apart} = q.prompt_id % {apart} and k.role = 'box' and q.role = 'answer_slot'",
        positive="k.order_id = q.queried_order",
        negative="k.order_id <> q.queried_order",
    )


class Sides:
    """ΔC and its null from the contrast's text, and from raw files with the pairs in memory."""

    def __init__(self, there: Made, asked: Contrast):
        self.made, self.run, self.asked = there, there.run(), asked
        self.pairs: Pairs | None = None  # of the floor; read when ours has shown how much memory it needs
        self.deltas: dict[str, np.ndarray] = {}

    def ours(self) -> None:
        self.deltas["ours"] = covariance(self.run, self.asked, 0, PLANTED).delta

    def floor(self) -> None:
        q, k = self.made.read("q", 0, PLANTED), self.made.read("k", 0, 0)
        self.deltas["floor"] = floor.delta(q, k, floor.mixing(self.pairs, len(q), len(k)))

    def check(self) -> None:
        one, other = self.deltas["ours"], self.deltas["floor"]
        off = np.linalg.norm(one - other) / np.linalg.norm(other)
        assert off < 1e-6, f"ΔC differs from that of raw files by {off:.1e}"


class Nulls:
    """The null of one head, from vectors and pairs that were read."""

    def __init__(self, sides: Sides):
        self.data = Head(sides.run, 0, PLANTED).read(sides.asked)

    def ours(self) -> None:
        self.tested = self.data.null(DEALS)

    def floor(self) -> None:
        q, k, n = self.data.q.astype(np.float64), self.data.k, len(self.data.q)
        c = n * (floor.mixing(self.data.pairs, n, len(k)) @ k.astype(np.float64))
        x, c = q - q.mean(axis=0), c - c.mean(axis=0)
        self.observed = np.linalg.norm(x.T @ c) / n
        signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (DEALS, n))
        self.dealt = floor.null(x.astype(np.float32), c.astype(np.float32), signs)[0]

    def check(self) -> None:
        assert abs(self.tested.observed / self.observed - 1) < 1e-6, "‖ΔC‖ of centred queries"
        assert np.allclose(self.tested.null, self.dealt, rtol=1e-4), "the same deals give the same null"
        assert self.tested.p_value == 1 / (DEALS + 1), "the planted feature is beyond every deal"


def measure(millions: int, scale: Scale) -> Iterator[Row]:
    sides = Sides(made(scale.folder, Shape(3000)), contrast(APART[millions]))
    yield from of_delta(sides, millions)
    nulls, n = Nulls(sides), len(sides.pairs)
    turns.forget()
    both = turns.paired(nulls.ours, nulls.floor, TURNS[millions], turns.cpu)
    nulls.check()
    (ours, least), most = both.medians, NULL_S[millions]
    yield Row(
        f"pairs-{millions}m-null",
        f"null of {DEALS}, {n / 1e6:.1f} million pairs",
        "the same deals as products of float32, pairs at hand",
        f"{ours:.2f} s CPU, floor {least:.2f} s",
        *both.beside,
        aim=f"≤ {most:.0f} s",
        met=ours <= most,
        peak_mb=turns.peak(),
        missed=MISSED["null"],
        figures={"s": ours, "floor_s": least},
    )


def of_delta(sides: Sides, millions: int) -> Iterator[Row]:
    covariance(sides.run, ORDER, 0, PLANTED)  # few pairs: what is read and started is there
    turns.forget()
    before = turns.resident()
    sides.ours()
    peak = turns.peak()
    sides.pairs = pairs(sides.run, sides.asked)
    n = len(sides.pairs)
    both = turns.paired(sides.ours, sides.floor, TURNS[millions], turns.cpu)
    sides.check()
    (ours, least) = both.medians
    ns = 1e9 * ours / n
    yield Row(
        f"pairs-{millions}m",
        f"contrast text → ΔC, {n / 1e6:.1f} million pairs",
        "ΔC of raw files, pairs at hand",
        f"{ns:.0f} ns CPU a pair, floor {1e9 * least / n:.0f}",
        *both.beside,
        aim=f"≤ {NS:.0f} ns a pair",
        met=ns <= NS,
        peak_mb=peak,
        missed=MISSED["delta"],
        figures={"ns_a_pair": ns},
    )
    held = 1e6 * (peak - before) / n
    yield Row(
        f"pairs-{millions}m-memory",
        f"its memory beside what was held before ({before:.0f} MB)",
        f"two row numbers and a sign, {LEAST_BYTES} bytes",
        f"{held:.0f} bytes a pair",
        held / LEAST_BYTES,
        aim=f"≤ {BYTES:.0f} bytes a pair",
        met=held <= BYTES,
        peak_mb=peak,
        missed=MISSED["memory"],
        figures={"bytes_a_pair": held},
    )


MEASURES = {f"pairs-{millions}m": partial(measure, millions) for millions in APART}
