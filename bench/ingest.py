"""An ingest's wall time against the bare forward passes of the same batches, in turns in one process.

    python bench/ingest.py [--config demo|small|llama-3.1-8b] [--prompts 128] [--rounds 3] [--device cpu]
                           [--limit 1.15] [--write]

The model has random weights in a real one's shape, or is the demo model, of 0.25 M parameters; prompts are boxes whose
nine box letters and last token are stored, in every head of every layer. The ingest is all of it: tokenising, passes,
spooling, sorting into a run file, syncing. It does not run what follows the last layer's keys, so the passes that count
stop there too. --write puts the table into docs/performance.md. Exit code 1 above --limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import transformers as tf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.page import write
from ingest import batches, demo, job, model
from ingest.model.batch import Batch
from ingest.model.capture import Capture
from ingest.prompts import boxes
from ingest.prompts.corpus import Corpus

GROUPED = dict(model_type="llama", head_dim=128, rms_norm_eps=1e-5, rope_theta=5e5)
CONFIGS = {  # name: (shape, dtype, what it is)
    "llama-3.1-8b": (
        GROUPED
        | dict(
            vocab_size=128256,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
        ),
        torch.bfloat16,
        "Llama-3.1-8B's shape, random weights",
    ),
    "small": (
        GROUPED
        | dict(
            vocab_size=4096,
            hidden_size=1024,
            intermediate_size=3584,
            num_hidden_layers=8,
            num_attention_heads=8,
            num_key_value_heads=2,
        ),
        torch.float32,
        "Llama-3.1-8B's shape with a quarter of its width, heads, KV heads and layers, random weights",
    ),
    "demo": (None, torch.float32, "the demo model, 2 layers, 4 heads, 0.25 M parameters"),
}


@dataclass
class Times:
    """Seconds of each round: whole passes, passes that stop where the ingest does, the ingest, and its stages.

    capture: of the captures alone, which pass over the same batches and keep nothing.
    """

    full: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    capture: list[float] = field(default_factory=list)
    ingest: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    megabytes: float = 0.0

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ingest, self.bare)]


Clock = Callable[[], float]  # seconds


class _Stop(Exception):
    pass


def make(name: str, device: str) -> model.Model:
    """The demo model, or one of random weights with its tokenizer: a prompt is 74 tokens."""
    shape, dtype, _ = CONFIGS[name]
    if shape is None:
        return model.load(str(demo.MODEL), device=device)
    torch.manual_seed(0)
    with torch.device(device):
        net = tf.AutoModel.from_config(tf.LlamaConfig(**shape), dtype=dtype)
    return model.wrap(net, tf.AutoTokenizer.from_pretrained(demo.MODEL), name, weights_hash="random")


def prompts(n: int) -> list:
    """Boxes prompts that label their boxes alone: beside the last token, nine keys each."""
    made = [p for p in boxes.build(n, "ent", 0, n_test=0) if p.variant == "base"]
    return [replace(p, spans=tuple(s for s in p.spans if s.role == "box")) for p in made]


def passes(net, batches: list[Batch], stop: bool) -> None:
    """The forward passes alone; `stop` ends each one where an ingest of every layer does."""

    def halt(*_):
        raise _Stop

    hook = net.layers[-1].self_attn.o_proj.register_forward_pre_hook(halt) if stop else None
    try:
        for batch in batches:
            try:
                with torch.inference_mode():
                    net(input_ids=batch.ids, attention_mask=batch.real.long(), use_cache=False)
            except _Stop:
                pass
    finally:
        if hook:
            hook.remove()


def timed(device: str, work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    start = clock()
    work()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def ingest(folder: str, loaded: model.Model, made: list, options: job.Options, times: Times, clock: Clock) -> None:
    marks: dict[str, float] = {}

    def progress(stage: str, done: int, total: int, now: str = "") -> None:
        marks.setdefault(stage, clock())
        marks[f"{stage} end"] = clock()

    start = clock()
    path = job.ingest(folder, "bench", loaded, made, options, task="bench", progress=progress)
    times.ingest.append(clock() - start)
    ends = [marks["tokenise end"], marks["capture end"], clock()]
    times.stages.append(dict(zip(("tokenise", "capture", "publish"), (b - a for a, b in zip([start, *ends], ends)))))
    times.megabytes = path.stat().st_size / 1e6


def measure(name: str, n: int, rounds: int, device: str, batch_size: int, clock: Clock = time.perf_counter) -> Times:
    loaded, made, times = make(name, device), prompts(n), Times()
    options, corpus = job.Options(batch_size=batch_size), Corpus(loaded.tokenizer, made)
    chosen = batches.of(
        corpus, batch_size, job.bytes_of(options.memory) // 2, batches.token_bytes(loaded, Capture(loaded.net))
    )
    passed = [
        Batch.of([corpus.tokens[p].ids for p in b], [[]] * len(b), [[]] * len(b), 0, "right", device) for b in chosen
    ]
    capture = Capture(loaded.net)
    sides = [tokens.ids for tokens in corpus.tokens], corpus.queries, corpus.keys
    wanted = [[[side[p] for p in b] for side in sides] for b in chosen]
    passes(loaded.net, passed[:1], stop=False)  # the first pass allocates
    for _ in range(rounds):
        times.capture.append(timed(device, lambda: [capture(*one) for one in wanted], clock))
        times.bare.append(timed(device, lambda: passes(loaded.net, passed, stop=True), clock))
        with tempfile.TemporaryDirectory() as folder:
            ingest(folder, loaded, made, options, times, clock)
        times.full.append(timed(device, lambda: passes(loaded.net, passed, stop=False), clock))
    return times


def table(o: argparse.Namespace, times: Times) -> list[str]:
    """The lines of docs/performance.md's table."""
    stages = {name: statistics.median(s[name] for s in times.stages) for name in times.stages[0]}
    cores = f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} of them used by torch"
    where = torch.cuda.get_device_name() if o.device.startswith("cuda") else cores
    rows = [
        ("model", f"{CONFIGS[o.config][2]}, {str(CONFIGS[o.config][1]).removeprefix('torch.')}"),
        ("machine", where),
        ("prompts, batch, rounds", f"{o.prompts:,}, {o.batch_size}, {len(times.ingest)}"),
        ("passes that stop where the ingest does", f"{statistics.median(times.bare):.1f} s"),
        ("whole passes", f"{statistics.median(times.full):.1f} s"),
        ("the ingest", f"{statistics.median(times.ingest):.1f} s, a run file of {times.megabytes:,.0f} MB"),
        ("of it: tokenise, capture, publish", ", ".join(f"{s:.1f} s" for s in stages.values())),
        ("ingest ÷ passes, by round", ", ".join(f"{r:.2f}" for r in times.ratios)),
        ("ingest ÷ passes, median", f"**{statistics.median(times.ratios):.2f}**"),
    ]
    return ["| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="small")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=float, default=1.15)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    o = parser.parse_args(arguments)
    model.check_device("float32", o.device)
    times = measure(o.config, o.prompts, o.rounds, o.device, o.batch_size)
    lines = table(o, times)
    print(*lines, sep="\n")
    if o.write:
        write(ROOT / "docs" / "performance.md", f"ingest {o.config}", lines)
    return int(statistics.median(times.ratios) > o.limit)


if __name__ == "__main__":
    sys.exit(main())
