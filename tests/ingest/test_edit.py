"""Edits in the forward pass equal a pass written out with edited keys, in any layers together.

Nothing else changes by a bit.
"""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch
import transformers as tf
from transformers import AttentionInterface

from ingest.model import attention
from ingest.model.edit import Case, Editor
from qkstore.errors import PromptError

torch.set_num_threads(1)
NAMES = ["llama", "qwen3", "gemma2", "gpt2"]
CASES = [
    Case([11, 12, 13, 14, 15, 16, 17, 18, 19], 8, 5, 7),
    Case([21, 22, 23, 24, 25, 26], 5, 4, 2),
    Case(list(range(30, 42)), 11, 8, 9),
]
FAR = Case(list(range(30, 42)), 11, 1, 9)  # a window of 5 hides the original from the query


def causal(name: str, dtype=torch.float64):
    """A tiny random model with its LM head, with weights large enough for attention to be far from uniform."""
    torch.manual_seed(0)
    net = tf.AutoModelForCausalLM.from_config(models.CONFIGS[name]()).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.25) if p.dim() > 1 else p.normal_(0, 0.5) if p.abs().sum() == 0 else None
    return net.to(dtype)


def projector(net, rank: int = 3, seed: int = 0) -> np.ndarray:
    """An oblique one, so that a transposed one would be another edit."""
    config = net.config.get_text_config()
    d = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    onto, by = np.random.default_rng(seed).standard_normal((2, d, rank))
    return onto @ np.linalg.inv(by.T @ onto) @ by.T


class Rerun:
    """One prompt at a time through attention that is written out, whose edited rows and heads are given edited keys."""

    def __init__(self, net, rows: str):
        self.net, self.rows, self.facts = net, rows, Editor(net).layers
        AttentionInterface.register("rerun-live", self.attend)

    def attend(self, module, query, key, value, mask, **_):
        facts, T = self.facts[module.layer_idx], query.shape[2]
        key, value = (x.repeat_interleave(facts.n_heads // facts.n_kv_heads, 1) for x in (key, value))
        place = torch.arange(T)
        seen = facts.visible(place[:, None], place[None, :])
        weights = self.softmax(facts, query, key, seen)
        for (layer, head), edit in self.edits.items():
            if layer == module.layer_idx:
                o, t = self.case.original, self.case.target
                k, P = key.clone(), torch.from_numpy(edit).to(key)
                k[0, head, o] += P @ (key[0, head, t] - key[0, head, o])
                k[0, head, t] += P @ (key[0, head, o] - key[0, head, t])
                rows = [self.case.query] if self.rows == "last" else range(T)
                rows = [r for r in rows if seen[r, o] and seen[r, t]]
                weights[:, head, rows] = self.softmax(facts, query, k, seen)[:, head, rows]
        self.seen[module.layer_idx] = weights[0, :, self.case.query][:, [self.case.original, self.case.target]]
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def softmax(self, facts, query, key, seen):
        logits = query @ key.transpose(2, 3) * facts.scaling
        logits = logits if facts.softcap is None else facts.softcap * torch.tanh(logits / facts.softcap)
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)

    def __call__(self, case: Case, edits: dict):
        self.case, self.edits, self.seen, before = case, edits, {}, self.net.config._attn_implementation
        self.net.set_attn_implementation("rerun-live")
        with torch.no_grad():
            logits = self.net(input_ids=torch.tensor([case.ids]), use_cache=False).logits[0, case.query]
        self.net.set_attn_implementation(before)
        return logits, self.seen


@pytest.mark.parametrize("rows", ["last", "all"])
@pytest.mark.parametrize("name", NAMES)
def test_heads_of_two_layers_together_equal_a_rerun_in_padded_batches(name, rows):
    net = causal(name)
    edits = {(0, 1): projector(net), (0, 2): projector(net, seed=1), (2, 3): projector(net, rank=5, seed=2)}
    editor, rerun, moved = Editor(net, 0, rows), Rerun(net, rows), 0.0
    plain, found = editor(CASES), {side: editor(CASES, edits, side) for side in ("right", "left")}
    for i, case in enumerate(CASES):
        logits, seen = rerun(case, edits)
        for side in found.values():
            assert torch.allclose(side.logits[i], logits, atol=1e-5)  # some kernels take the softmax in float32
            for layer, weights in seen.items():
                assert torch.allclose(side.attention[layer][i], weights, atol=1e-6)
        moved = max(moved, float((logits - plain.logits[i]).abs().max()))
        assert torch.allclose(rerun(case, {})[0], plain.logits[i], atol=1e-5)
    assert moved > 1e-2  # the control: without the edits, or with those of one layer alone, it would fail
    alone = editor(CASES, {at: P for at, P in edits.items() if at[0] == 0})
    assert (alone.logits - found["right"].logits).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_rows_last_and_all_differ_where_a_later_layer_reads_other_rows(name):
    net = causal(name)
    edits = {(0, 1): projector(net)}
    last, every = (Editor(net, 0, rows)(CASES, edits) for rows in ("last", "all"))
    assert torch.allclose(
        last.attention[0], every.attention[0], atol=1e-12
    )  # the query's row of the edited layer is the same
    assert (last.attention[1] - every.attention[1]).abs().max() > 1e-6


def outputs(net, editor, cases, edits):
    """What every layer's attention gives to its output projection: {layer: (B, T, H, d_value)}."""
    found, hooks = {}, []
    layers = net.transformer.h if hasattr(net, "transformer") else net.model.layers
    for number, layer in enumerate(layers):
        projection = layer.attn.c_proj if hasattr(layer, "attn") else layer.self_attn.o_proj
        hooks.append(
            projection.register_forward_pre_hook(
                lambda m, args, number=number: found.__setitem__(number, args[0].clone())
            )
        )
    editor(cases, edits)
    for hook in hooks:
        hook.remove()
    return {number: x.reshape(*x.shape[:2], 4, -1) for number, x in found.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_other_heads_rows_and_layers_keep_every_bit(name, dtype):
    net = causal(name, dtype)
    for rows in ("last", "all"):
        editor = Editor(net, 0, rows)
        before, after = (outputs(net, editor, CASES, edits) for edits in ({}, {(1, 2): projector(net)}))
        assert torch.equal(before[0], after[0])
        assert torch.equal(before[1][:, :, [0, 1, 3]], after[1][:, :, [0, 1, 3]])
        for i, case in enumerate(CASES):
            changed = (before[1][i, :, 2] != after[1][i, :, 2]).any(-1)
            later = max(case.original, case.target)
            edited = [case.query] if rows == "last" else list(range(later, len(case.ids)))
            assert changed[case.query]
            assert not changed[[r for r in range(len(case.ids)) if r not in edited]].any()


def test_control_editing_the_shared_key_changes_the_whole_group(monkeypatch):
    net = causal("llama", torch.float32)
    editor = Editor(net)
    before = outputs(net, editor, CASES[:1], {})

    def shared(name, module):
        def attend(module, query, key, value, mask, **options):
            if module.layer_idx == 1:
                key = key.clone()
                key[0, 1, [5, 7]] = key[0, 1, [7, 5]]
            return kernel(module, query, key, value, mask, **options)

        return attend

    kernel = attention.kernel_of("sdpa", None)
    monkeypatch.setattr("ingest.model.edit.kernel_of", shared)
    after = outputs(net, editor, CASES[:1], {})
    changed = (before[1] != after[1]).any(-1)[0, 8]
    assert changed.tolist() == [False, False, True, True], "heads 2 and 3 read KV head 1"


def test_a_whole_swap_exchanges_the_two_attentions_and_an_empty_one_changes_nothing():
    net = causal("qwen3", torch.float32)
    editor, d = Editor(net), 16
    plain, whole = editor(CASES), editor(CASES, {(0, 0): np.eye(d)})
    assert torch.allclose(whole.attention[0][:, 0], plain.attention[0][:, 0].flip(1), atol=1e-12)
    assert torch.equal(whole.attention[0][:, 1:], plain.attention[0][:, 1:])
    empty = editor(CASES, {(0, 0): np.zeros((d, d)), (2, 1): np.zeros((d, d))})
    assert torch.equal(empty.logits, plain.logits)
    assert all(torch.equal(empty.attention[n], plain.attention[n]) for n in plain.attention)


def test_a_row_whose_window_hides_a_key_is_not_edited():
    net = causal("gemma2", torch.float32)
    editor = Editor(net)
    assert [editor.layers[n].window for n in (0, 1)] == [5, None]
    before, hidden, seen = (
        outputs(net, editor, [FAR], edits) for edits in ({}, {(0, 1): projector(net)}, {(1, 1): projector(net)})
    )
    assert torch.equal(before[0], hidden[0])
    assert not torch.equal(before[1], seen[1])
    assert torch.equal(editor([FAR], {(0, 1): projector(net)}).attention[0], editor([FAR]).attention[0])


def test_a_query_before_a_key_cannot_see_it_and_is_not_edited():
    """A causal row sees neither its own future nor a swap in it.

    Rows between and after are another matter for `all`.
    """
    net = causal("llama")
    before = [Case(c.ids, min(c.original, c.target), c.original, c.target) for c in CASES[:2]]
    for rows in ("last", "all"):
        editor = Editor(net, 0, rows)
        plain, found = editor(before), editor(before, {(0, 1): projector(net)})
        assert torch.allclose(found.attention[0], plain.attention[0], atol=1e-14)
        assert torch.equal(found.logits, plain.logits)
        assert ((plain.attention[0] == 0).sum(-1) == 1).all(), "one of the two is in the future"
    one, other = (outputs(net, Editor(net, 0, "all"), before, edits) for edits in ({}, {(0, 1): projector(net)}))
    assert not torch.equal(one[0], other[0]), "rows after both keys were edited"


def test_a_window_hides_a_key_from_some_rows_of_all_and_not_from_others():
    """A window of 5: with keys at 6 and 9, rows 9 and 10 see both, row 11 the later one alone."""
    net, case = causal("gemma2"), Case(list(range(30, 42)), 11, 6, 9)
    before, after = (outputs(net, Editor(net, 0, "all"), [case], edits) for edits in ({}, {(0, 1): projector(net)}))
    assert (before[0][0, :, 1] != after[0][0, :, 1]).any(-1).nonzero().flatten().tolist() == [9, 10]
    rerun = Rerun(net, "all")(case, {(0, 1): projector(net)})
    assert torch.allclose(Editor(net, 0, "all")([case], {(0, 1): projector(net)}).logits[0], rerun[0], atol=1e-5)
    assert not torch.allclose(Editor(net, 0, "all")([case]).logits[0], rerun[0], atol=1e-5), (
        "the control: row 10 does reach the last one"
    )


def test_a_query_may_be_one_of_the_two_keys():
    net, case = causal("gpt2"), Case([11, 12, 13, 14], 3, 3, 1)
    logits, seen = Rerun(net, "last")(case, {(1, 2): projector(net)})
    found = Editor(net)([case], {(1, 2): projector(net)})
    assert torch.allclose(found.logits[0], logits, atol=1e-5)
    assert torch.allclose(found.attention[1][0], seen[1], atol=1e-6)


def test_the_shortest_prompt_has_two_tokens():
    for ids, query, original, target in (([5], 0, 0, 0), ([5], 0, 0, 1)):
        with pytest.raises(PromptError):
            Case(ids, query, original, target)
    with pytest.raises(PromptError, match="no position -1"):
        Case([5, 6], 1, -1, 0)
    net, case = causal("llama"), Case([5, 6], 1, 0, 1)
    whole = Editor(net)([case], {(0, 0): np.eye(16)})
    assert torch.allclose(whole.attention[0][0, 0], Editor(net)([case]).attention[0][0, 0].flip(0), atol=1e-12)
    assert torch.allclose(whole.attention[0].sum(-1), torch.ones(1, 4, dtype=torch.float64))


@pytest.mark.parametrize("rows", ["last", "all"])
def test_prompts_one_at_a_time_or_in_small_steps_are_those_of_one_batch(monkeypatch, rows):
    net = causal("qwen3")
    edits = {(0, 1): projector(net), (1, 3): projector(net, seed=4)}
    editor = Editor(net, 0, rows)
    together = editor(CASES, edits)
    monkeypatch.setattr("ingest.model.edit.LOGITS_BYTES", 1)  # a prompt a step
    steps, alone = editor(CASES, edits), [editor([c], edits) for c in CASES]
    for i, one in enumerate(alone):
        assert torch.allclose(one.logits[0], together.logits[i], atol=1e-6)
        assert all(torch.allclose(one.attention[n][0], together.attention[n][i], atol=1e-9) for n in (0, 1, 2))
    assert torch.allclose(steps.logits, together.logits, atol=1e-9)
    assert torch.allclose(steps.attention[0], together.attention[0], atol=1e-12)
