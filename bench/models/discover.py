"""Labelled discovery: what it finds in the demo model, in random weights and in null heads, and what it takes.

    python bench/models/discover.py demo [--store store] [--seeds 3]
    python bench/models/discover.py text [--store store]
    python bench/models/discover.py tail [--heads 4000]
    python bench/models/discover.py size [--layers 32] [--heads 32]

--write: the tables of docs/discovery.md anew.

demo: every match on every head of the four demo runs, which the store lacks are made; then of models of the demo's
architecture with random weights, as Hugging Face draws them and as the demo's training begins, --seeds of each. Exit
code 1 unless order, entity and category are found in all heads of layer 1 of the runs that ask by them and nowhere
else, and nothing is found in layer 0 or in random weights.

text: the familiar head types of SmolLM2-135M-Instruct on plain English and on words said twice, beside the textbook's
scores, and of the same architecture with random weights (bench/models/familiar.py). Exit code 1 where one of the
textbook's heads with a score of 0.3 or more is not found, or anything in random weights.

tail: heads without a feature, of bench/null.py; the share of p-values of ‖ΔC‖ below each level. Exit code 1 where one
is above twice its level; the rows of few queries, and of queries of uneven size, are there to show where the tail
fails, and are not counted. Then heads of random weights, and the p-values of their logits beside those of agreement
beyond random weights (bench/models/turned.py).

size: seconds and peak memory for all heads of a synthetic run under 20 label pairs. The planted label has nine values,
which count once each: t of eight degrees of freedom gives no p small enough among 20,480 tests, so it is looked for
alone, too. Exit code 1 unless it is found so in every head where it is planted, and nowhere else.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import qkstore
from bench.discovery.page import markdown
from bench.models import familiar, turned
from bench.null import planted
from bench.page import write
from bench.speed import synthetic
from qkstore.analysis import discovery
from qkstore.analysis.discovery.tail import p_norm

ASKED = {  # what the heads of layer 1 go by, by run
    "demo-boxes-ent": {"k.entity = q.queried_entity"},
    "demo-boxes-ord": {"k.order_id = q.queried_order"},
    "demo-boxes-both": {"k.entity = q.queried_entity", "k.order_id = q.queried_order"},
    "demo-lists": {"k.category = q.queried_category"},
}
KINDS = {"usual": "random weights", "begun": "weights as training begins"}
N, N_TEST = 1500, 1000  # prompts of a run of random weights
LEVELS = (0.5, 0.05, 0.01, 0.001, 0.0001)
SHAPE = synthetic.Shape(2500, d_head=64, layers=32, heads=32, kv_heads=8, test=0.2, raw=0)
PAIRS = 20  # of labels
EXTRA = ("colour", "form", "kind", "size")


# -- the demo model and random weights ---------------------------------------------------------------------------


def demo(store: Path, seeds: int) -> tuple[str, list[str]]:
    """The table of what is found, and what does not hold."""
    from ingest import demo as runs

    failed = []
    runs.build(store, lambda *_, **__: None)
    rows = [["run", "tests", "ΔC beyond its null", "found", "heads of layer 1", "heads of layer 0"]]
    for name, words in ASKED.items():
        found = _kept(store, name)
        there, run = _places(found), qkstore.open(store).run(name)
        for word in sorted({w for *_, w in there}) or ["–"]:
            heads = [sum(w == word and at == layer for at, _, w in there) for layer in (1, 0)]
            rows.append([name, str(found.n), str(found.n_delta), word, *(f"{n} of {run.n_heads}" for n in heads)])
        wanted = {(1, head, word) for head in range(run.n_heads) for word in words}
        failed += [f"{name}: {sorted(wanted ^ there)} differ"] if wanted != there else []
    drawn: dict[tuple[str, str], list[discovery.Discovery]] = {}
    for seed in range(seeds):
        for kind, model in _random(seed).items():
            for name in ASKED:
                called = f"{kind}-{seed}-{name.removeprefix('demo-')}"
                _ingested(store, called, name, model)
                found = _kept(store, called)
                drawn.setdefault((kind, name), []).append(found)
                failed += [f"{called}: {len(found.found())} found"] if found.found() else []
    for (kind, name), each in drawn.items():
        delta = [found.n_delta for found in each]
        told = f"{KINDS[kind]}, prompts of {name}, {len(each)} seeds"
        many = sum(len(found.found()) for found in each)
        rows.append([told, f"{each[0].n} each", f"{min(delta)}–{max(delta)}", f"{many} in all", "–", "–"])
    return markdown(rows), failed


def _kept(store: Path, name: str) -> discovery.Discovery:
    there = qkstore.open(store)
    return discovery.kept(there, there.run(name))


def _places(found: discovery.Discovery) -> set[tuple[int, int, str]]:
    return {(f.layer, f.head, found.match(f).words) for f in found.found()}


def _random(seed: int) -> dict:
    """Models of the demo's architecture with random weights: as they are usually drawn, and as its training begins."""
    import torch

    from bench.encoder import untrained
    from ingest import demo as runs
    from ingest import model, train

    loaded = model.load(str(runs.MODEL), answers=None)
    with torch.random.fork_rng(devices=[]):
        begun = model.wrap(train.new_model(seed), loaded.tokenizer, "random weights, as training begins")
        return {"usual": untrained(loaded, seed), "begun": begun}


def _ingested(store: Path, called: str, name: str, model) -> None:
    from ingest import demo as runs
    from ingest import job
    from ingest.prompts import task

    if not job.run_path(store, called).exists():
        kind, question, _ = runs.RUNS[name]
        made = task.of(kind, N, N_TEST, question, runs.SEED)
        options = replace(runs.OPTIONS, answers=False)
        job.ingest(store, called, model, made.prompts, options, task=made.name, seed=0)


# -- the tail of the null ----------------------------------------------------------------------------------------


def tail(heads: int) -> tuple[str, list[str]]:
    rows = [
        ("300 queries, nine keys", 300, {"kind": "several"}, True),
        ("300 queries, two keys", 300, {"kind": "pair"}, True),
        ("2,000 queries, nine keys", 2000, {"kind": "several"}, True),
        ("300 queries, a leak", 300, {"kind": "several", "leak": 0.5}, True),
        ("25 queries", 25, {"kind": "several"}, False),
        ("300 queries of uneven size", 300, {"kind": "several", "uneven": 1.0}, False),
    ]
    failed = []
    table = [["heads without a feature", "n", *(f"p ≤ {level:g}" for level in LEVELS), "least p"]]
    for row, (title, n, options, counted) in enumerate(rows):
        many = heads if n < 1000 else heads // 4
        p = np.array([_p(np.random.default_rng([row, i]), n, options) for i in range(many)])
        shares = [float((p <= level).mean()) for level in LEVELS]
        table.append([title, f"{many:,}", *(f"{s:.4f}" for s in shares), f"{p.min():.1e}"])
        print(*table[-1], sep="; ", flush=True)
        most = [2 * level + 3 * (level / many) ** 0.5 for level in LEVELS]
        failed += [f"{title}: {s} at {level}" for s, level, m in zip(shares, LEVELS, most) if counted and s > m]
    turns, more = turned.study(heads)
    return f"{markdown(table)}\n\n{markdown(turns)}", failed + more


def _p(rng: np.random.Generator, n: int, options: dict) -> float:
    q, k, pairs = planted(rng, n, mean=0.91, **options)
    c = pairs.key_contrast(k)
    q, x, c = (v.astype(np.float32) for v in (q, q - q.mean(axis=0), c - c.mean(axis=0)))
    return p_norm(q, x, c)


# -- what it takes -----------------------------------------------------------------------------------------------


def labelled(shape: synthetic.Shape, asked: np.ndarray) -> tuple[pl.DataFrame, ...]:
    """The tables of a synthetic run, with more labels that no head knows, dealt in each prompt anew."""
    prompts, tokens, *rows = TABLES(shape, asked)
    rng, m = np.random.default_rng(3), shape.keys
    for name in EXTRA:
        dealt = rng.permuted(np.tile(np.arange(m), (shape.prompts, 1)), axis=1)
        words = np.array([f"w{i}" for i in range(m)])
        on_keys = np.concatenate([words[dealt], np.full((shape.prompts, 1), None)], axis=1).ravel()
        tokens = tokens.with_columns(pl.Series(name, on_keys.tolist(), pl.String))
        prompts = prompts.with_columns(
            pl.Series(f"queried_{name}", words[rng.integers(0, m, shape.prompts)].tolist(), pl.String)
        )
    return prompts, tokens, *rows


TABLES = synthetic.tables


def size(folder: Path, shape: synthetic.Shape) -> tuple[str, list[str]]:
    import subprocess

    if not (folder / "whole").exists():
        given = [sys.executable, __file__, "made", "--store", str(folder), "--layers", str(shape.layers)]
        subprocess.run([*given, "--heads", str(shape.heads)], check=True, cwd=ROOT)
    run = qkstore.open(folder).run("bench")
    before, start, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    found = discovery.discover(run, most=PAIRS)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = [
        ["heads × label pairs", f"{found.n_heads:,} × {len(found.tried.matches)} = {found.n:,} tests"],
        ["prompts", f"{shape.prompts:,} of {shape.keys} keys, d_head {shape.d_head}"],
        ["run file", f"{run.path.stat().st_size / 1e9:.1f} GB"],
        ["seconds", f"{seconds:.0f}, of one CPU {used:.0f}: {1000 * used / found.n:.1f} ms a test"],
        ["peak memory", f"{peak / 1024:,.0f} MiB, {before / 1024:,.0f} MiB before"],
    ]
    alone = discovery.discover(run, labels=("order_id", "queried_order"), most=1)
    wanted = {(layer, synthetic.PLANTED) for layer in run.layers}
    for told, one in (("of all pairs", found), ("of the planted pair alone", alone)):
        there = {(f.layer, f.head) for f in one.found()}
        rows.append([f"found {told}", f"{len(wanted & there)} of {len(wanted)} heads, {len(there - wanted)} elsewhere"])
    there = {(f.layer, f.head) for f in alone.found()}
    differ = [] if there == wanted else [f"of the planted pair alone {sorted(wanted ^ there)} differ"]
    return markdown([["what", "figure"], *rows]), differ


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("demo", "text", "tail", "size", "made"))
    options.add_argument("--store")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--heads", type=int)
    options.add_argument("--write", action="store_true", help="docs/discovery.md anew")
    options.add_argument("--layers", type=int, default=SHAPE.layers)
    o = options.parse_args(arguments)
    shape, start = replace(SHAPE, layers=o.layers, heads=o.heads or SHAPE.heads), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(o.store or scratch)
        if o.what == "made":
            synthetic.tables = labelled
            synthetic.write(store, shape)
            return 0
        table, failed = {
            "demo": lambda: demo(store, o.seeds),
            "text": lambda: familiar.study(store, print),
            "tail": lambda: tail(o.heads or 4000),
            "size": lambda: size(store, shape),
        }[o.what]()
    print(table)
    if o.write:
        write(ROOT / "docs" / "discovery.md", f"labelled {o.what}", table.splitlines())
    print(*failed or ["all as it must be"], f"{time.perf_counter() - start:.0f} s", sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
