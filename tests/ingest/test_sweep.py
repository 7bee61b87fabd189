"""A part of bench/sweep.py: a type of each trait, at two ranges of lengths, alone and padded on either side."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys

import pytest
import torch
from conftest import ROOT

from ingest.model.layer import Layer

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("sweep", ROOT / "bench" / "sweep.py")
sweep = importlib.util.module_from_spec(spec)
sys.modules["sweep"] = sweep  # which its dataclasses look up
spec.loader.exec_module(sweep)
logging.getLogger("transformers").setLevel(logging.ERROR)

EQUAL = {  # {type: its trait}
    "llama": "grouped queries",
    "llama, MQA": "one key head",
    "llama, YaRN": "YaRN",
    "llama, dynamic NTK": "dynamic NTK",
    "phi3, LongRoPE": "LongRoPE",
    "phi3": "fused q, k and v",
    "gpt2": "learned positions, fused",
    "gpt_neox": "rotary on a part, fused",
    "qwen2": "biases",
    "qwen3": "norms of q and k",
    "olmo2": "norms over all heads",
    "cohere": "parallel blocks",
    "granite": "multipliers",
    "mistral": "window",
    "gemma2": "soft-cap, every other layer a window",
    "gemma3_text": "two kinds of RoPE",
    "gemma3n_text": "keys shared by layers",
    "gpt_oss": "sinks, experts",
    "mixtral": "experts",
    "deepseek_v3": "latent attention",
    "zamba2": "hybrid, one block at several depths",
    "jamba": "hybrid with Mamba",
    "qwen3_next": "hybrid with linear attention",
    "bert": "encoder",
    "roberta": "positions behind the padding token",
    "modernbert": "encoder with a window",
    "bart": "encoder of an encoder-decoder",
    "gemma3": "text tower",
    "llava": "text tower under another",
}
REFUSED = {
    "llama4_text": "layers 0,2 mask keys by a rule other than .*chunks.*choose --layers 1,3",
    "deepseek_v32": "the option 'indices'",
    "diffllama": "calls its attention more than once",
    "t5": "a bias of positions",
    "falcon": "does not route",
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_stored_is_the_models_own_attention(name):
    seen = sweep.outcome(name)
    assert seen.outcome == "equal", f"{name} ({EQUAL[name]}): {seen.said}"
    assert seen.gap < sweep.LEFT_LIMIT


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_one_line(name):
    seen = sweep.outcome(name)
    assert seen.outcome == "refused"
    assert re.search(REFUSED[name], seen.said)


FAULTS = {
    "another scale": lambda layer, q, k, plain: plain(layer, q, k) * 1.01,
    "another head's keys": lambda layer, q, k, plain: plain(layer, q, k.roll(1, dims=1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_control_a_fault_is_found(fault, monkeypatch):
    plain = Layer.logits
    monkeypatch.setattr(sweep, "weights", _with(lambda layer, q, k: FAULTS[fault](layer, q, k, plain)))
    seen = sweep.outcome("llama")
    assert seen.outcome == "WRONG"
    assert seen.gap > 2 * sweep.LEFT_LIMIT


def _with(logits):
    """sweep.weights of other logits; the stored log-sum-exp stays."""
    weights = sweep.weights

    def changed(layer, q, k, logsumexp):
        class Other:
            visible = staticmethod(layer.visible)
            logits = staticmethod(lambda q, k: made(layer, q, k))

        return weights(Other, q, k, logsumexp)

    made = logits
    return changed


def test_control_attention_is_far_from_uniform():
    """Where every weight is 1/n, nothing that is compared could differ."""
    net = sweep.tiny.net("llama")
    own = sweep.attentions(net, sweep.tiny.ids(12, net), sweep._capture(net))
    assert max(layer[:, -1].max() for layer in own.values()) > 0.5


def test_a_type_that_cannot_be_built_is_no_other_outcome():
    assert sweep.outcome("vit").outcome == "not built"
    assert sweep.outcome("chatglm").outcome == "not built"


def test_the_page_holds_the_table_of_the_command():
    page = (ROOT / "docs" / "architectures.md").read_text()
    told = page.partition(sweep.BEGIN)[2].partition(sweep.END)[0].strip().splitlines()
    rows = [line.removeprefix("| ").split(" | ")[:2] for line in told if line.startswith("| ")][1:]
    counts = {kind: sum(row[1] == kind for row in rows) for kind in ("equal", "refused", "not built", "WRONG")}
    assert told[0].endswith(f"{len(rows)} types: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    assert counts["WRONG"] == 0
    assert {row[0] for row in rows if row[1] == "equal"} >= set(EQUAL)
