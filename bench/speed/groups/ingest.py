"""Capture and a whole ingest against bare passes that stop where they do; publication against a raw write."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial

import torch

from bench import publish
from bench.ingest import Times
from bench.ingest import measure as of_model
from bench.processes import cpu_s
from bench.speed import turns
from bench.speed.row import Row
from bench.speed.scale import Scale

CAPTURE, ROUNDS, BATCH = 1.02, 3, 32
MB_S, MOST_MB, DISK = 100.0, 1000.0, 1.3
MODELS = {  # config of bench/ingest.py: what it is, prompts, aim of the whole ingest
    "small": ("a model of a quarter of the 8B's shape", 48, 1.15),
    "demo": ("a model of 0.25 M", 1000, 1.4),
}
MISSED = {
    "capture": "vectors are copied out of the pass, and their log-sum-exps computed",
    "ingest": "tokenising, tables and syncing cost the same however small the model, whose passes are then little",
    "publish": "each value is checked, digested and copied into DuckDB's row groups once",
}


def measure(name: str, scale: Scale) -> Iterator[Row]:
    title, n, aim = MODELS[name]
    torch.set_num_threads(1)
    turns.forget()
    times = of_model(name, 4 * n if scale.full else n, ROUNDS, "cpu", BATCH, cpu_s)
    captured = turns.Paired(tuple(times.capture), tuple(times.bare))
    whole = turns.Paired(tuple(times.ingest), tuple(times.bare))
    if name == "small":
        yield row(f"ingest-{name}-capture", f"capture, {title}", captured, CAPTURE, MISSED["capture"], times)
    yield row(f"ingest-{name}", f"whole ingest, {title}", whole, aim, MISSED["ingest"], times)


def row(name: str, work: str, both: turns.Paired, aim: float, missed: str, times: Times) -> Row:
    (ours, least) = both.medians
    stages = {stage: statistics.median(s[stage] for s in times.stages) for stage in times.stages[0]}
    return Row(
        name,
        work,
        "bare passes that stop where it does",
        f"{ours:.2f} s CPU, passes {least:.2f} s",
        *both.beside,
        aim=f"≤ {aim}×",
        met=both.ratio <= aim,
        peak_mb=turns.peak(),
        missed=missed,
        figures={"s": ours, "passes_s": least, **{f"{stage}_s": s for stage, s in stages.items()}},
    )


def of_publish(scale: Scale) -> Iterator[Row]:
    o = publish.parsed(["--full"] if scale.full else ["--layers", "2"])
    each = [publish.measure(o) for _ in range(1 if scale.full else 3)]
    size = each[0][2]
    both = turns.Paired(*zip(*((ours["cpu"], floor["cpu"]) for ours, floor, _ in each)))
    ours, floor = both.medians
    peak, disk = (max(one[0][key] for one in each) for key in ("peak", "disk"))
    yield Row(
        "publish",
        f"publish {size:,.0f} MB of vectors, {o.layers} layers of the 8B's heads",
        f"np.save and fsync of the same bytes, {size / floor:,.0f} MB a CPU s",
        f"{size / ours:,.0f} MB a CPU s",
        *both.beside,
        aim=f"≥ {MB_S:.0f} MB a CPU s, ≤ {MOST_MB:,.0f} MB resident",
        met=size / ours >= MB_S and peak / 1e6 <= MOST_MB,
        peak_mb=peak / 1e6,
        missed=MISSED["publish"],
        figures={"mb_a_s": size / ours, "cores": each[0][0]["cpu"] / each[0][0]["wall"]},
    )
    yield Row(
        "publish-disk",
        "disk while publishing",
        "the run file",
        f"{disk:.2f} times the file",
        disk,
        aim=f"≤ {DISK}×",
        met=disk <= DISK,
        missed="a part of the spool is removed when what it held is in the file",
    )


MEASURES = {f"ingest-{name}": partial(measure, name) for name in MODELS} | {"publish": of_publish}
