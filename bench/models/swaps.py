"""Swaps in closed form against re-runs of the model with the edit, one head after another.

    python bench/models/swaps.py [--model demo|smollm2] [--prompts 1000] [--rerun 256] [--heads 8]

Both sides answer one question: what attention does when keys swap their coordinates in a feature's subspace and in ten
random ones of its rank. The closed form does so for every prompt and head; the model is run again for a few prompts of
one head, and what that takes is counted a prompt, basis and head. Attention of the two has to agree, else there is no
figure. smollm2: SmolLM2-135M's shape with random weights. Prints CPU seconds a prompt, basis and head of both, and
their ratio; exit code 1 below --limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as tf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import qkstore
from ingest import demo, job, model
from ingest.model import live
from ingest.prompts import boxes
from qkstore.analysis import conditions, swapper
from qkstore.analysis.head import Head, judge_split
from qkstore.analysis.targets import visible_targets
from qkstore.contrast import Contrast
from qkstore.run import Run

BASES, AIM, SAME = 10, 1000.0, 1e-5
ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id and q.role = 'answer_slot' and k.role = 'box'",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
SMOLLM2 = dict(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
)


def loaded(name: str) -> model.Model:
    """The demo model, or SmolLM2-135M's shape with random weights and the demo's tokenizer; both with an LM head."""
    if name == "demo":
        return model.load(str(demo.MODEL), answers=True)
    torch.manual_seed(0)
    net = tf.AutoModelForCausalLM.from_config(tf.LlamaConfig(**SMOLLM2), dtype=torch.float32)
    return model.wrap(net, tf.AutoTokenizer.from_pretrained(demo.MODEL), name, weights_hash="random")


def seconds(what: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of this process, and what came of it."""
    start = time.process_time()
    found = what()
    return time.process_time() - start, found


def closed_form(run: Run, most: int, heads: int) -> float:
    """CPU seconds a prompt, basis and head, of the first heads of the last layers.

    As for the passes, prompts are drawn and subspaces built before the clock runs; vectors are read while it does.
    """
    every = [Head(run, layer, head) for layer in reversed(run.layers) for head in range(run.n_heads)][:heads]
    targets = visible_targets(run, (ORDER,), [], judge_split(run), most)
    spaces = [at.subspaces({"order": (ORDER,)}) for at in every]

    def all_heads() -> list:
        swaps = zip(every, spaces, strict=True)
        return [conditions(space, swapper(at, targets).each, run.d_head, BASES, 0) for at, space in swaps]

    all_heads()  # what is started once
    return seconds(all_heads)[0] / (len(targets) * (BASES + 1) * len(every))


def rerun(store: qkstore.Store, run: Run, net: model.Model, most: int) -> float:
    """CPU seconds a prompt, basis and head of passes with the edit; they have to agree with the closed form."""
    head = (max(run.layers), 0)
    taken, found = seconds(lambda: live.intervene(store, run, net, {"order": (ORDER,)}, [head], bases=BASES, most=most))
    assert found.gap <= SAME, f"live and closed form differ by {found.gap:.1e}"
    return taken / (found.n * (BASES + 2))  # one pass more, without an edit


def row(name: str = "demo", prompts: int = 1000, again: int = 256, heads: int = 8) -> dict:
    """What the bench's table tells: work, peer, measured, ratio, and the two figures in CPU seconds."""
    torch.set_num_threads(1)
    net = loaded(name)
    with tempfile.TemporaryDirectory() as folder:
        made = boxes.build(2 * prompts, "ent", 0, n_test=prompts)
        job.ingest(Path(folder), "swaps", net, made, job.Options(batch_size=64), task="boxes")
        store = qkstore.open(folder)
        run = store.run("swaps")
        closed, passes = closed_form(run, prompts, heads), rerun(store, run, net, again)
    return {
        "work": f"swaps in closed form, {prompts:,} prompts, {BASES} random bases, {heads} heads ({name})",
        "peer": f"the model run again with each edit, {again} prompts",
        "measured": f"{1e6 * closed:.2f} µs CPU a prompt, basis and head; a re-run {1e6 * passes:,.0f} µs",
        "ratio": passes / closed,
        "closed_s": closed,
        "rerun_s": passes,
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", choices=("demo", "smollm2"), default="demo")
    for name, default in (("--prompts", 1000), ("--rerun", 256), ("--heads", 8)):
        options.add_argument(name, type=int, default=default)
    options.add_argument("--limit", type=float, default=AIM, help="ratio below which the exit code is 1")
    o = options.parse_args()
    found = row(o.model, o.prompts, o.rerun, o.heads)
    print(f"{found['work']}\nagainst {found['peer']}\n{found['measured']}\nratio {found['ratio']:,.0f}")
    return int(found["ratio"] < o.limit)


if __name__ == "__main__":
    sys.exit(main())
