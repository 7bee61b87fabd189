"""Softmax over captured vectors is the model's own attention, for every architecture that can be read.

A model of which that would not be true is refused.
"""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch

from ingest.model.capture import Capture
from qkstore.errors import ModelError

torch.set_num_threads(1)

REQUIRED = ["llama", "qwen3", "gemma2", "gpt2", "mistral", "bert"]
MORE = ["gpt_oss", "modernbert"]
CAUSAL = [name for name in [*REQUIRED, *MORE] if name not in ("bert", "modernbert")]
LENGTHS = (9, 6, 12)  # longer than the windows of 3 to 5 tokens
BATCH = [torch.randint(3, 97, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in LENGTHS]
EVERY = [list(range(n)) for n in LENGTHS]


@pytest.fixture(scope="module", params=[*REQUIRED, *MORE])
def case(request):
    """A model, its Capture, and its own attentions of each prompt alone.

    The attentions (layer, head, query, key) are those of the eager kernel.
    """
    net = models.net(request.param)
    net.set_attn_implementation("eager")
    with torch.no_grad():
        own = [torch.stack(net(torch.tensor([ids]), output_attentions=True).attentions)[:, 0].numpy() for ids in BATCH]
    if request.param not in ("gemma2", "gpt_oss"):  # whose soft-cap and sinks only their eager kernels know
        net.set_attn_implementation("sdpa")
    return request.param, net, Capture(net), own


def attention(q, k, layer, logsumexp=None, visible=None) -> np.ndarray:
    """(H, n, n) attention of one prompt, written out from the definition.

    It is made of the stored q (H, n, d) and k (KV, n, d).
    """
    n, group = q.shape[1], q.shape[0] // k.shape[0]
    logits = np.stack([q[h] @ k[h // group].T * layer.scaling for h in range(len(q))])
    if layer.softcap is not None:
        logits = layer.softcap * np.tanh(logits / layer.softcap)
    i, j = np.arange(n)[:, None], np.arange(n)
    if visible is None:
        visible = np.ones((n, n), bool) if not layer.causal else j <= i
        if layer.window is not None:
            visible = visible & (abs(i - j) < layer.window)
    weights = np.where(visible, np.exp(logits), 0)
    return weights / (weights.sum(-1, keepdims=True) if logsumexp is None else np.exp(logsumexp)[..., None])


def gap(captured, capture, own, k=None, **how) -> float:
    """The largest difference between the model's own attentions and those of the stored vectors."""
    q, k, lse = captured.q.numpy(), captured.k.numpy() if k is None else k, captured.logsumexp.numpy()
    worst, start = np.float64(0), 0
    for p, n in enumerate(LENGTHS):
        rows = slice(start, start + n)
        for i, layer in enumerate(capture.layers):
            visible = how.get("visible")
            mine = attention(q[i, :, rows], k[i, :, rows], layer, lse[i, :, rows], visible(n) if visible else None)
            worst = np.maximum(worst, abs(mine - own[p][layer.layer]).max())  # unlike max(), it lets NaN through
        start += n
    return float(worst)


@pytest.mark.parametrize("padding", ["right", "left"])
def test_stored_vectors_give_the_models_own_attention(case, padding):
    _, _, capture, own = case
    assert gap(capture(BATCH, EVERY, EVERY, padding), capture, own) < 1e-5


def test_logsumexp_is_over_the_visible_keys_and_the_sinks(case):
    name, _, capture, own = case
    captured = capture(BATCH, EVERY, EVERY)
    layer, n = capture.layers[0], LENGTHS[0]
    normalised = attention(captured.q[0, :, :n].numpy(), captured.k[0, :, :n].numpy(), layer)
    by_lse = attention(
        captured.q[0, :, :n].numpy(), captured.k[0, :, :n].numpy(), layer, captured.logsumexp[0, :, :n].numpy()
    )
    if name == "gpt_oss":  # a sink takes its share, so the keys' weights do not sum to 1
        assert by_lse.sum(-1).min() < 0.8
        assert np.allclose(by_lse.sum(-1), own[0][0].sum(-1), atol=1e-5)
    else:
        assert np.allclose(by_lse, normalised, atol=1e-12)


def test_padding_side_changes_nothing(case):
    _, _, capture, _ = case
    right, left = capture(BATCH, EVERY, EVERY), capture(BATCH, EVERY, EVERY, "left")
    alone = [capture([ids], [every], [every]) for ids, every in zip(BATCH, EVERY, strict=True)]
    for part in ("q", "k", "logsumexp"):
        one_by_one = torch.cat([getattr(a, part) for a in alone], dim=2)
        assert torch.allclose(
            getattr(right, part), getattr(left, part), atol=1e-5
        )  # some kernels take softmax in float32
        assert torch.allclose(getattr(right, part), one_by_one, atol=1e-5)


def test_control_a_padding_token_that_is_seen_is_noticed(case):
    _, _, capture, own = case
    padded = [ids + [0] * (12 - len(ids)) for ids in BATCH]  # padded by hand: nothing says that these are no tokens
    if capture.layers[0].causal:
        padded = [[0] * (12 - len(ids)) + ids for ids in BATCH]
    at = [[12 - n + i for i in range(n)] if capture.layers[0].causal else list(range(n)) for n in LENGTHS]
    assert gap(capture(padded, at, at), capture, own) > 1e-2


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "mistral", "gpt_oss"])
def test_control_keys_before_rope_fail(name):
    net = models.net(name)
    capture, before = Capture(net), []
    capture.forward.settle(BATCH)
    norm = "k_norm" if name == "qwen3" else "k_proj"
    hooks = [
        getattr(layer.self_attn, norm).register_forward_hook(lambda m, i, out: before.append(out.detach()))
        for layer in net.layers
    ]
    captured = capture(BATCH, EVERY, EVERY)
    for hook in hooks:
        hook.remove()
    keys = [k.reshape(len(BATCH), max(LENGTHS), -1, 16) for k in before]  # (B, T, KV, d)
    unrotated = np.stack([np.concatenate([k[b, :n] for b, n in enumerate(LENGTHS)]).swapaxes(0, 1) for k in keys])
    assert unrotated.shape == tuple(captured.k.shape)
    assert gap(captured, capture, own_attentions(net), k=unrotated) > 1e-2
    assert gap(captured, capture, own_attentions(net)) < 1e-5


def own_attentions(net) -> list[np.ndarray]:
    net.set_attn_implementation("eager")
    with torch.no_grad():
        return [torch.stack(net(torch.tensor([ids]), output_attentions=True).attentions)[:, 0].numpy() for ids in BATCH]


def test_control_the_wrong_kv_head_fails(case):
    _, _, capture, own = case
    captured = capture(BATCH, EVERY, EVERY)
    assert gap(captured, capture, own, k=captured.k.roll(1, dims=1).numpy()) > 1e-2


def test_control_without_the_mask_fails(case):
    _, _, capture, own = case
    masked = any(layer.causal or layer.window for layer in capture.layers)
    wrong = (lambda n: np.ones((n, n), bool)) if masked else (lambda n: np.tri(n, dtype=bool))  # BERT hides nothing
    assert gap(capture(BATCH, EVERY, EVERY), capture, own, visible=wrong) > 1e-2


def test_facts_are_the_configurations(case):
    name, _, capture, _ = case
    facts = {
        "gemma2": dict(scaling=24**-0.5, softcap=0.5, window=5, causal=True),
        "mistral": dict(scaling=0.25, softcap=None, window=4, causal=True),
        "bert": dict(scaling=8**-0.5, softcap=None, window=None, causal=False),
        "llama": dict(scaling=0.25, softcap=None, window=None, causal=True),
    }.get(name)
    if facts:
        assert capture.layers[0].facts() == {"layer": 0} | facts
    if name == "gemma2":
        assert [layer.window for layer in capture.layers] == [5, None, 5]


# -- which positions, which layers -----------------------------------------------------------------------------------


def test_chosen_positions_and_layers_are_rows_of_all_of_them():
    net = models.net("qwen3")
    all_of_it = Capture(net)(BATCH, EVERY, EVERY)
    some = Capture(net, [2, 0])(BATCH, [[8], [], [3, 11]], [[0, 2], [5], []])
    q_rows, k_rows = [8, 15 + 3, 15 + 11], [0, 2, 9 + 5]
    assert torch.equal(some.q, all_of_it.q[[0, 2]][:, :, q_rows])
    assert torch.equal(some.k, all_of_it.k[[0, 2]][:, :, k_rows])
    assert torch.allclose(some.logsumexp, all_of_it.logsumexp[[0, 2]][:, :, q_rows], atol=1e-12)


def test_the_pass_stops_after_the_last_layer_needed():
    net = models.net("llama")
    ran = []
    for number, layer in enumerate(net.layers):
        layer.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    capture = Capture(net, [0, 1])
    assert ran[:3] == [0, 1, 2], "making a Capture probes every layer"
    capture.forward.settle(BATCH)
    ran.clear()
    capture(BATCH, EVERY, EVERY)
    assert ran == [0], "the MLP of layer 1 and all of layer 2 are not needed"


def test_the_model_is_left_as_it_was():
    net = models.net("llama")
    before = net(torch.tensor([BATCH[0]])).last_hidden_state
    capture = Capture(net, [1])
    capture(BATCH, EVERY, EVERY)
    with pytest.raises(ModelError, match="cannot be run on 1 texts of up to 1 tokens, before its first layer: index"):
        capture([[10**6]], [[0]], [[0]])
    assert net.config._attn_implementation == "sdpa"
    assert torch.equal(net(torch.tensor([BATCH[0]])).last_hidden_state, before)


def test_the_kernel_is_still_the_one_the_model_chose():
    """A pass that is read gives the same hidden states: the attention function only looks."""
    net = models.net("gemma2", dtype=torch.float32)
    assert net.config._attn_implementation == "eager"
    states = []
    net.layers[1].register_forward_pre_hook(lambda m, args: states.append(args[0].clone()))
    net(torch.tensor([BATCH[2]]))
    Capture(net, [2])([BATCH[2]], [[0]], [[0]])
    assert torch.equal(states[0], states[-1])


def test_bfloat16_is_stored_as_computed_and_its_logsumexp_in_float64():
    exact, net = models.net("qwen3"), models.net("qwen3", dtype=torch.bfloat16)
    coarse, fine = Capture(net)(BATCH, EVERY, EVERY), Capture(exact)(BATCH, EVERY, EVERY)
    assert coarse.q.dtype == torch.bfloat16
    assert coarse.logsumexp.dtype == torch.float64
    assert (coarse.q.double() - fine.q).abs().max() < 0.25 * fine.q.abs().max()
    layer, n = Capture(net).layers[0], LENGTHS[0]
    q, k = coarse.q[0, :, :n].double().numpy(), coarse.k[0, :, :n].double().numpy()
    sums = attention(q, k, layer, coarse.logsumexp[0, :, :n].double().numpy()).sum(-1)
    assert np.allclose(sums, 1, atol=1e-12), "the log-sum-exp belongs to the stored vectors, not to rounded logits"


# -- what cannot be read ---------------------------------------------------------------------------------------------
