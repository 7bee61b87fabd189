"""The same ingest on a GPU and on the CPU: by how much vectors and live swaps differ, and prompts a second.

    python bench/machine/device.py [--model FOLDER_OR_FILE.gguf] [--device cuda] [--n 100] [--timed 1000] [--write]

Float32 on both: the largest difference of q, k and log-sum-exp, relative to the root mean square of their layer, beside
the floor of the same ingest on the CPU with one prompt a batch, and the control of the next prompt's vectors. Then live
swaps of the demo model's heads on both. Speed: whole ingests of --timed prompts on the device in float32 and bfloat16.
Exit code 1 where a difference is above LIMIT. --write puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import qkstore
from bench.page import write
from ingest import demo, job, model
from ingest.model import live
from ingest.prompts import task
from qkstore.run import Run

LIMIT = 1e-3  # relative to the root mean square; the next prompt's vectors are off by about 1
LIVE_LIMIT = 1e-3  # of an attention weight
SEED = 11  # of prompts that no bench of the demo uses


def ingested(store: str, name: str, loaded: model.Model, prompts: task.Task, n: int, batch_size: int = 32) -> Run:
    """A run of the first n prompts, all layers."""
    job.ingest(
        store, name, loaded, prompts.prompts[:n], job.Options(batch_size=batch_size), task=prompts.name, seed=SEED
    )
    return qkstore.open(store).run(name)


def gaps(one: Run, other: Run, shift: int = 0) -> dict[str, float]:
    """{what: the largest difference ÷ root mean square, over layers and heads}; shift: rows of `other` that many on."""
    worst = {"q": 0.0, "k": 0.0, "log-sum-exp": 0.0}
    for n in one.layers:
        for head in range(one.n_heads):
            rows = np.arange(len(one.queries(n, head)))
            mine = (one.queries(n, head), one.keys(n, head), one.logsumexp(n, head, rows))
            theirs = (other.queries(n, head), other.keys(n, head), other.logsumexp(n, head, rows))
            for what, a, b in zip(worst, mine, theirs, strict=True):
                gap = np.abs(a - np.roll(b, shift, axis=0)).max() / np.sqrt(np.mean(np.square(a, dtype=float)))
                worst[what] = float(np.maximum(worst[what], gap))  # lets NaN through
    return worst


def swapped(store: str, device: str, most: int) -> live.Live:
    """Live swaps of order and lexical at every head of the demo model's second layer, on that device."""
    small = model.load(str(demo.MODEL), device=device, answers=True)
    opened = qkstore.open(store)
    run = opened.run("swaps")
    features = {name: opened.feature(run, name) for name in ("order", "lexical")}
    heads = [(1, head) for head in range(run.n_heads)]
    return live.intervene(opened, run, small, features, heads, most=most, batch_size=128)


def live_gap(one: live.Live, other: live.Live) -> tuple[float, float]:
    """The largest difference of a condition's mean attention on the target, and of a share of answers."""
    attention, shares = 0.0, 0.0
    for a, b in zip(one.conditions, other.conditions, strict=True):
        heads = [abs(a.attention[h].target_after - b.attention[h].target_after) for h in a.attention]
        attention = max(attention, *heads)
        shares = max(shares, abs(a.answers.target_after - b.answers.target_after))
    return attention, shares


def speed(folder: str, where: str, device: str, dtype: model.Dtype, prompts: task.Task, n: int, size: int) -> str:
    """Prompts a second of a whole ingest, and what the model took of the device's memory at most."""
    loaded = model.load(where, dtype, device)
    ingested(folder, f"warm-{dtype}", loaded, prompts, min(n, 4 * size), size)
    start = time.perf_counter()
    run = ingested(folder, f"timed-{dtype}", loaded, prompts, n, size)
    seconds = time.perf_counter() - start
    made = min(n, len(prompts.prompts))
    memory = torch.cuda.max_memory_allocated() / 1e9 if torch.device(device).type == "cuda" else float("nan")
    megabytes = run.path.stat().st_size / 1e6
    return f"{made / seconds:,.0f} ({made:,} prompts in {seconds:.1f} s, {megabytes:,.0f} MB; {memory:.1f} GB at most)"


def told(found: dict[str, float]) -> str:
    return ", ".join(f"{what} {gap:.1e}" for what, gap in found.items())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(demo.MODEL))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--task", default="boxes")
    parser.add_argument("--n", type=int, default=100, help="prompts on both devices")
    parser.add_argument("--timed", type=int, default=1000, help="prompts of the timed ingests")
    parser.add_argument("--batch-size", type=int, default=128, help="of the timed ingests")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    o = parser.parse_args(arguments)
    model.check_device("float32", o.device)
    prompts = task.of(o.task, o.timed, 0, "ent", SEED)
    with tempfile.TemporaryDirectory() as store:
        on_cpu = model.load(o.model)
        base = ingested(store, "cpu", on_cpu, prompts, o.n)
        floor = gaps(base, ingested(store, "alone", on_cpu, prompts, o.n, batch_size=1))
        there = ingested(store, "there", model.load(o.model, device=o.device), prompts, o.n)
        found, control = gaps(base, there), gaps(base, there, shift=1)
        small, asked = model.load(str(demo.MODEL)), task.of("boxes", 400, 200, "both", SEED)
        ingested(store, "swaps", small, replace(asked, name="boxes"), len(asked.prompts))
        attention, shares = live_gap(swapped(store, "cpu", 100), swapped(store, o.device, 100))
        rates = [speed(store, o.model, o.device, d, prompts, o.timed, o.batch_size) for d in ("float32", "bfloat16")]
    where = torch.cuda.get_device_name() if o.device.startswith("cuda") else "CPU"
    name = Path(o.model).name if o.model != str(demo.MODEL) else "demo"
    rows = [
        ("model", f"{name}, {len(base.layers)} layers, {base.n_heads} heads, {base.d_head} wide"),
        ("machine", f"{where}, beside {os.cpu_count()} CPU cores; torch {torch.__version__}"),
        (f"GPU − CPU, {o.n} prompts, float32", told(found)),
        ("floor: one prompt a batch − 32, both on the CPU", told(floor)),
        ("control: the next row's vectors", told(control)),
        ("live swaps of the demo model, GPU − CPU", f"attention {attention:.1e}, share of answers {shares:.3f}"),
        (f"prompts a second, {o.task}, batch {o.batch_size}, float32", rates[0]),
        (f"prompts a second, {o.task}, batch {o.batch_size}, bfloat16", rates[1]),
    ]
    lines = ["| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    print(*lines, sep="\n")
    if o.write:
        write(ROOT / "docs" / "performance.md", f"device {name}", lines)
    agree = all(gap <= LIMIT for gap in found.values()) and attention <= LIVE_LIMIT  # NaN does not
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())
