"""All heads' scores with nulls at the shape of Llama-3.1-8B's heads, against the same arithmetic on raw files."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from bench.speed import floor, turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, RANK, Made, Shape, made
from qkstore.analysis.heads import HeadScore, heads
from qkstore.contrast import pairs
from qkstore.covariance import Pairs

DEALS = 19
MOST_RATIO, MOST_MS, MOST_MB, FIRST = 1.2, 60.0, 600.0, 1 / 3
HEADS = dict(prompts=6200, heads=32, kv_heads=8, test=0.5)
DEFAULT, FULL = Shape(**HEADS, layers=2, raw=1), Shape(**HEADS, layers=32, raw=2)
SAME = 1e-6
MISSED = {
    "heads-cpu": "vectors come through SQL, each value looked at; the floor reads them as they lie",
    "heads-memory": "imports, the process that answers SQL and DuckDB's 256 MiB for a folder are most of it",
    "heads-first-map": "nulls, dealt in one product a KV group, take a quarter of the time: the rest comes first",
}


class Floor:
    """The same numbers from raw files of the first `raw` layers, a KV group at a time."""

    def __init__(self, there: Made):
        self.made, run, s = there, there.run(), there.shape
        built, self.judged = (pairs(run, ORDER, split).localise() for split in ("train", "test"))
        self.built, self.W = built, floor.mixing(built[2], len(built[0]), len(built[1]))
        self.signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (DEALS, len(built[0])))
        self.test = _in_order(self.judged[2])
        self.heads = s.raw * s.heads
        run.close()

    def scores(self) -> list[floor.Scores]:
        s, counts = self.made.shape, floor.draws(len(self.judged[0]))
        return [one for layer in range(s.raw) for kv in range(s.kv_heads) for one in self._group(layer, kv, counts)]

    def _group(self, layer: int, kv: int, counts: np.ndarray) -> Iterator[floor.Scores]:
        s = self.made.shape
        mine = range(kv * s.heads // s.kv_heads, (kv + 1) * s.heads // s.kv_heads)
        q, k = np.stack([self.made.read("q", layer, h) for h in mine]), self.made.read("k", layer, kv)
        lse = np.stack([self.made.logsumexp(layer, h) for h in mine]).astype(np.float64)
        (rows, keys, _), (asked, there, _) = self.built, self.judged
        train = floor.group(q[:, rows], k[keys], self.W, self.signs)
        test = floor.judged(q[:, asked], k[there], lse[:, asked], self.test, s.d_head**-0.5, counts)
        for (norm, rank, observed, null), (accuracy, selectivity, interval) in zip(train, test):
            p = float((1 + (null >= observed).sum()) / (1 + DEALS))
            high = float(np.quantile(null, 0.95))
            yield floor.Scores(norm, rank, observed, high, p, accuracy, selectivity, interval)


def _in_order(pairs: Pairs) -> Pairs:
    order = np.argsort(pairs.query, kind="stable")
    return Pairs(pairs.query[order], pairs.key[order], pairs.sign[order], pairs.weight[order])


class Map:
    """The whole map of a run opened anew, and when the scores of all heads were there first."""

    def __init__(self, there: Made):
        self.made, self.firsts = there, []

    def __call__(self) -> None:
        run, seen = self.made.run(), {}
        start = time.perf_counter()

        def arrived(scores: list[HeadScore]) -> None:
            seen.update({(s.layer, s.head): time.perf_counter() for s in scores if (s.layer, s.head) not in seen})

        self.scores = heads(run, ORDER, DEALS, arrived=arrived)
        self.firsts.append((max(seen.values()) - start) / (time.perf_counter() - start))
        assert len(seen) == len(self.scores), "each head arrives"
        run.close()


def check(scores: list[HeadScore], floors: list[floor.Scores]) -> None:
    """Numbers of both are the same where no random number enters, and the planted head of each layer comes first."""
    for ours, least in zip(scores, floors):
        where = f"L{ours.layer} H{ours.head}"
        assert ours.rank == least.rank, f"{where}: rank {ours.rank}, of raw files {least.rank}"
        for name, value in (("delta_norm", least.norm), ("centred", least.observed)):
            assert abs(getattr(ours, name) / value - 1) < SAME, f"{where}: {name} {getattr(ours, name)}, not {value}"
        assert ours.accuracy == least.accuracy, f"{where}: accuracy {ours.accuracy}, not {least.accuracy}"
        assert abs(ours.selectivity / least.selectivity - 1) < 1e-5, f"{where}: selectivity"
        if ours.head == PLANTED:
            assert ours.rank == RANK, f"{where}: rank {ours.rank} of a feature of {RANK} dimensions"
            assert ours.accuracy > 0.7, f"{where}: accuracy {ours.accuracy} of a head that reads the order"
            assert ours.p_value == least.p_value == 1 / (DEALS + 1), f"{where}: p {ours.p_value}"
    for layer in {s.layer for s in scores}:
        best = max((s for s in scores if s.layer == layer), key=lambda s: s.strength or 0)
        assert best.head == PLANTED, f"layer {layer}: head {best.head} is before the planted one"


def measure(scale: Scale) -> Iterator[Row]:
    there = made(scale.folder, FULL if scale.full else DEFAULT)
    whole = Map(there)
    turns.forget()
    ours = [turns.ours(whole, turns.cpu)]
    peaks, n, least = (turns.peak(), turns.own_peak()), len(whole.scores), Floor(there)
    floors = [turns.seconds(lambda: check(whole.scores, least.scores()), turns.cpu)]
    for _ in range(0 if scale.full else 2):
        ours.append(turns.ours(whole, turns.cpu))
        floors.append(turns.seconds(least.scores, turns.cpu))
    both = turns.Paired(tuple(s / n for s in ours), tuple(s / least.heads for s in floors))
    yield from rows(there.shape, both, peaks, float(np.median(whole.firsts)))


def rows(shape: Shape, both: turns.Paired, peaks: tuple[float, float], first: float) -> Iterator[Row]:
    peak, own = peaks  # with and without the process that answers SQL
    (ours, least) = both.medians
    work = f"all heads' scores, null of {DEALS}, {shape.layers} layers × {shape.heads} heads, {shape.prompts:,} prompts"
    against = f"the same arithmetic on raw files, a KV group at a time ({shape.raw} layers of them)"
    figures = {"ms_a_head": 1000 * ours, "floor_ms_a_head": 1000 * least}
    yield Row(
        "heads-cpu",
        work,
        against,
        f"{1000 * ours:.0f} ms CPU a head, floor {1000 * least:.0f}",
        *both.beside,
        aim=f"≤ {MOST_RATIO}×, ≤ {MOST_MS:.0f} ms a head",
        met=both.ratio <= MOST_RATIO and 1000 * ours <= MOST_MS,
        peak_mb=peak,
        missed=MISSED["heads-cpu"],
        figures=figures,
    )
    size = 4e-6 * shape.prompts * shape.d_head * (shape.heads // shape.kv_heads + shape.keys)
    yield Row(
        "heads-memory",
        f"its memory, {shape.layers} layers",
        f"the vectors of one KV group, {size:.0f} MB",
        f"{peak:.0f} MB at most, {peak - own:.0f} of them of the process that answers SQL",
        peak / size,
        aim=f"≤ {MOST_MB:.0f} MB",
        met=peak <= MOST_MB,
        peak_mb=peak,
        missed=MISSED["heads-memory"],
    )
    yield Row(
        "heads-first-map",
        "the first whole map of it, without nulls",
        "the time of all of it",
        f"at {first:.0%} of the time",
        first,
        aim="≤ a third",
        met=first <= FIRST,
        missed=MISSED["heads-first-map"],
    )


MEASURES = {"heads": measure}
