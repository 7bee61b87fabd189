"""The q and k of all heads at the labelled positions, as our capture, TransformerLens and nnsight give them.

    python -m bench.speed.cache PEER OUT [--full] [--plant]

It runs with the Python of an environment that has the peers (bench/speed/groups/peers.py). One model, one process: all
sides take turns over the same batches, and each holds (layers, heads, prompts · positions, d_head) of q and of k after
rotary embedding in the end. Ours gives each query's log-sum-exp besides.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers as tf

from bench.processes import cpu_s
from bench.speed import turns
from bench.speed.row import Row
from ingest import demo
from ingest.model.capture import Capture
from ingest.prompts import Prompt, boxes
from ingest.prompts.corpus import Corpus

SAME, BATCH, TURNS = 1e-4, 32, 3
SMALL = dict(hidden_size=512, intermediate_size=1792, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2)
LARGE = dict(
    hidden_size=1024, intermediate_size=3584, num_hidden_layers=8, num_attention_heads=16, num_key_value_heads=4
)
Vectors = tuple[np.ndarray, np.ndarray]  # q: (layers, heads, n, d), k: (layers, kv_heads, m, d)


def model(full: bool) -> tf.PreTrainedModel:
    """A Llama of random weights, in float32."""
    torch.manual_seed(0)
    config = tf.LlamaConfig(**(LARGE if full else SMALL), head_dim=64, vocab_size=4096, rope_theta=5e5)
    return tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


class Batches:
    """Batches of prompts of one length: ids (n, length), and where each prompt's query and nine keys are."""

    def __init__(self, n: int):
        tokenizer = tf.AutoTokenizer.from_pretrained(demo.MODEL)
        made = [_boxes_alone(p) for p in boxes.build(n, "ent", 0, n_test=0) if p.variant == "base"][:n]
        corpus = Corpus(tokenizer, made)
        each = zip((t.ids for t in corpus.tokens), corpus.queries, corpus.keys)
        lengths = [len(t.ids) for t in corpus.tokens]
        self.each = [one for one in each if len(one[0]) == max(set(lengths), key=lengths.count)]
        self.n = len(self.each)

    def __iter__(self) -> Iterator[tuple[list[list[int]], list[list[int]], list[list[int]]]]:
        for start in range(0, self.n, BATCH):
            ids, queries, keys = map(list, zip(*self.each[start : start + BATCH]))
            yield ids, queries, keys


def _boxes_alone(prompt: Prompt) -> Prompt:
    return replace(prompt, spans=tuple(s for s in prompt.spans if s.role == "box"))


def together(parts: list[Vectors]) -> Vectors:
    q, k = zip(*parts)
    return np.concatenate(q, axis=2), np.concatenate(k, axis=2)


def at(vectors: torch.Tensor, places: list[list[int]]) -> np.ndarray:
    """(heads, n, d) of (batch, heads, length, d) at each prompt's places, prompt by prompt."""
    return torch.cat([one[:, place] for one, place in zip(vectors, places)], dim=1).numpy()


# -- the three sides -------------------------------------------------------------------------------------------------


def ours(net: tf.PreTrainedModel, batches: Batches) -> Callable[[], Vectors]:
    capture = Capture(net)

    def work() -> Vectors:
        made = (capture(*batch) for batch in batches)
        return together([(c.q.numpy(), c.k.numpy()) for c in made])

    return work


def transformer_lens(net: tf.PreTrainedModel, batches: Batches) -> Callable[[], Vectors]:
    """run_with_cache of the points after rotary embedding alone."""
    from transformer_lens.model_bridge import TransformerBridge

    tokenizer = tf.AutoTokenizer.from_pretrained(demo.MODEL)
    bridge = TransformerBridge.boot_transformers("bench", hf_model=net, tokenizer=tokenizer, device="cpu")
    names = [[f"blocks.{i}.attn.hook_rot_{side}" for i in range(net.config.num_hidden_layers)] for side in "qk"]

    def work() -> Vectors:
        parts = []
        for ids, queries, keys in batches:
            with torch.inference_mode():
                _, cache = bridge.run_with_cache(torch.tensor(ids), names_filter=[*names[0], *names[1]])
            read = (
                [at(_heads_first(cache[n], len(ids[0])), p) for n in side] for side, p in zip(names, (queries, keys))
            )
            q, k = (np.stack(side) for side in read)
            parts.append((q, k))
        return together(parts)

    return work


def _heads_first(vectors: torch.Tensor, length: int) -> torch.Tensor:
    """(batch, heads, length, d), which TransformerLens may give as (batch, length, heads, d)."""
    return vectors if vectors.shape[2] == length else vectors.transpose(1, 2)


def nnsight(net: tf.PreTrainedModel, batches: Batches) -> Callable[[], Vectors]:
    """A trace that saves what the rotary embedding returns, at the labelled positions alone."""
    from nnsight import NNsight

    traced = NNsight(net)

    def work() -> Vectors:
        parts = []
        for ids, queries, keys in batches:
            saved: list = []
            with torch.inference_mode(), traced.trace(torch.tensor(ids)):
                for layer in traced.model.layers:
                    q, k = layer.self_attn.source.apply_rotary_pos_emb_0.output
                    saved.append((q.save(), k.save()))
            q, k = (np.stack([at(pair[i], p) for pair in saved]) for i, p in enumerate((queries, keys)))
            parts.append((q, k))
        return together(parts)

    return work


PEERS = {"transformer-lens": transformer_lens, "nnsight": nnsight}


# -- the rows --------------------------------------------------------------------------------------------------------


def row(name: str, net: tf.PreTrainedModel, batches: Batches) -> Row:
    capture, peer = ours(net, batches), PEERS[name](copy.deepcopy(net), batches)
    (first, mine, peak), (second, theirs, other) = (held(side) for side in (capture, peer))
    check(first, second, name)
    both = turns.paired(capture, peer, TURNS, cpu_s).inverse
    (theirs_s, mine_s), (low, high) = both.medians, both.interval
    c = net.config
    shape = f"{c.num_hidden_layers} layers × {c.num_attention_heads} heads, d {c.head_dim}"
    return Row(
        f"peers-{name}",
        f"q and k of all heads at 10 positions of {batches.n} prompts, {shape}",
        f"{name} {version(name)}, the same model and batches",
        f"{mine_s:.1f} s CPU and {mine:.0f} MB more than before; theirs {theirs_s:.1f} s and {theirs:.0f} MB",
        both.ratio,
        low,
        high,
        faster=True,
        aim="faster, less memory",
        met=both.ratio > 1 and mine < theirs,
        peak_mb=peak,
        missed="the pass itself is nearly all of either",
        figures={"ours_s": mine_s, "peer_s": theirs_s, "ours_mb": mine, "peer_mb": theirs, "peer_peak_mb": other},
    )


def held(work: Callable[[], Vectors]) -> tuple[Vectors, float, float]:
    """What a side gives, the MB that it needs at most beyond what is held before it, and those at most in all."""
    turns.forget()
    before = turns.resident()
    made = work()
    return made, turns.peak() - before, turns.peak()


def check(ours: Vectors, theirs: Vectors, name: str) -> None:
    """Both give the same vectors."""
    for side, one, other in zip("qk", ours, theirs):
        assert one.shape == other.shape, f"{side} of shape {other.shape} from {name}, {one.shape} from ours"
        off = np.abs(one - other).max() / np.sqrt(np.mean(one**2))
        assert off < SAME, f"{side} of {name} differs by {off:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("out")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--plant", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(1)
    turns.planted = o.plant
    made = row(o.peer, model(o.full), Batches(1024 if o.full else 128))
    Path(o.out).write_text(json.dumps(made.to_dict()))


if __name__ == "__main__":
    main()
