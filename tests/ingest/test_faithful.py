"""What is stored is what the model saw, each prompt alone, or the model is refused in one line.

Three silent kinds of fault, each with several cases: vectors that depend on a prompt's neighbours, models that run
otherwise when they are read, and calls taken for layers.
"""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch
import transformers as tf

import qkstore
from ingest import job
from ingest.job import Options
from ingest.model import wrap
from ingest.model.capture import Capture
from ingest.prompts import Prompt, Span
from qkstore.errors import ModelError

torch.set_num_threads(1)

DYNAMIC = dict(rope_type="dynamic", rope_theta=1e4, factor=2.0)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=1e4,
    factor=4.0,
    short_factor=[1.0] * 8,
    long_factor=[4.0] * 8,
    original_max_position_embeddings=16,
)


def phi3():
    sizes = models.GROUPED | dict(hidden_size=64, max_position_embeddings=64)
    return tf.Phi3Config(**sizes, rope_parameters=LONGROPE, original_max_position_embeddings=16)


def dynamic():
    return tf.LlamaConfig(**models.GROUPED | dict(max_position_embeddings=64, rope_parameters=DYNAMIC))


def mobilebert():  # every token reads the embeddings of the places beside it, be they padding
    narrow = dict(intra_bottleneck_size=16, embedding_size=16)
    return tf.MobileBertConfig(**models.SIZES | dict(num_hidden_layers=2), **narrow)


def deepseek():
    experts = dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, n_group=1, topk_group=1)
    latent = dict(q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8)
    indexer = dict(index_topk=6, index_n_heads=2, index_head_dim=16)
    return tf.DeepseekV32Config(**models.GROUPED | dict(num_key_value_heads=4), **experts, **latent, **indexer)


def zamba2():
    mamba = dict(mamba_d_state=8, n_mamba_heads=4, mamba_headdim=16, mamba_ngroups=1)
    kinds = ["mamba", "hybrid", "mamba", "mamba", "hybrid", "mamba"]
    shared = dict(attention_head_dim=16, num_mem_blocks=1, adapter_rank=4)
    sizes = models.GROUPED | dict(num_hidden_layers=6)
    return tf.Zamba2Config(**sizes, layers_block_type=kinds, **mamba, **shared)


# -- A: a prompt's vectors do not depend on its neighbours -----------------------------------------------------------

NEIGHBOURS = {"LongRoPE": (phi3, 12, 30), "dynamic NTK": (dynamic, 12, 80), "padding is read": (mobilebert, 7, 12)}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_prompts_that_change_each_other_share_no_batch(name):
    config, short, long = NEIGHBOURS[name]
    capture = Capture(models.of(config()))
    with pytest.raises(ModelError, match=rf"prompts of {short} and {long} tokens cannot share a batch$"):
        models.vectors(capture, models.ids(short), models.ids(long))


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_run_holds_the_vectors_of_each_prompt_alone(name, tmp_path):
    config, short, long = NEIGHBOURS[name]
    words = [f"w{i}" for i in range(90)]
    lengths = (short, long, short, long + 1, short - 1, long, short)
    texts = [" ".join(words[(5 * p + 3 * i) % 90] for i in range(n)) for p, n in enumerate(lengths)]
    prompts = [Prompt(text, (Span(0, text.index(" "), "item"),)) for text in texts]
    model = wrap(models.of(config()), models.word_tokenizer(words), "tiny")
    path = job.ingest(tmp_path, "a", model, prompts, Options(batch_size=4), task="words")
    run = qkstore.open(tmp_path).run(path.stem)
    stored = np.stack([run.queries(1, head) for head in range(run.n_heads)])
    for p, text in enumerate(texts):
        row = model.tokenizer(text)["input_ids"]
        alone = Capture(models.of(config()), [1])([row], [[len(row) - 1]], [[0]]).q[0, :, 0].numpy()
        assert abs(stored[:, p] - alone).max() < 1e-5, f"prompt {p} of {len(row)} tokens"


def test_control_side_by_side_the_vectors_do_change():
    """What a batch of these lengths would give, with nothing that forbids it."""
    for config, short, long in NEIGHBOURS.values():
        made = models.of(config())
        alone = models.vectors(Capture(made), models.ids(short)).q
        capture = Capture(made)
        capture.forward.settle = lambda ids, padding: None
        capture.forward.sides = lambda length: 0
        both = models.vectors(capture, models.ids(short), models.ids(long)).q[:, :, :short]
        assert (both - alone).abs().max() > 0.1


def test_what_dynamic_ntk_saw_before_is_forgotten():
    capture = Capture(models.of(dynamic()))
    before = models.vectors(capture, models.ids(70)).q
    models.vectors(capture, models.ids(100))
    assert torch.equal(models.vectors(capture, models.ids(70)).q, before)


def test_lengths_on_one_side_of_longropes_threshold_share_a_batch():
    capture = Capture(models.of(phi3()))
    models.vectors(capture, models.ids(7), models.ids(16))
    models.vectors(capture, models.ids(17), models.ids(40))
    assert not capture.forward.sides.equal
    assert capture.forward.sides(16) != capture.forward.sides(17)


def test_a_model_that_reads_padding_on_the_left_is_padded_on_the_right(monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    made, plain = models.net("llama"), LlamaRMSNorm.forward
    first = made.layers[0].input_layernorm
    monkeypatch.setattr(  # every token takes up something of those before it, padding or not
        LlamaRMSNorm, "forward", lambda m, x: plain(m, x + x.cumsum(1) / 9 if m is first else x)
    )
    capture = Capture(made)
    every = [list(range(5)), list(range(9))]
    right = capture([models.ids(5), models.ids(9)], every, every)
    assert torch.allclose(right.q[:, :, :5], models.vectors(Capture(made), models.ids(5)).q, atol=1e-6)
    with pytest.raises(ModelError, match="LlamaModel reads padding on the left as text; pad on the right"):
        capture([models.ids(5), models.ids(9)], every, every, "left")


# -- B: the model runs as it does when nobody reads it ----------------------------------------------------------------


def by_name(monkeypatch, change):
    """A Llama whose attention does something else under a kernel's name that it does not know."""
    from transformers.models.llama.modeling_llama import LlamaAttention

    forward = LlamaAttention.forward

    def wrapped(self, hidden_states, *args, **kwargs):
        known = self.config._attn_implementation in ("eager", "sdpa")
        return forward(self, *change(hidden_states, kwargs, known), *args, **kwargs)

    monkeypatch.setattr(LlamaAttention, "forward", wrapped)


def test_an_option_that_chooses_keys_is_refused():
    with pytest.raises(
        ModelError, match="DeepseekV32Attention gives its kernel the option 'indices', which is not known"
    ):
        Capture(models.of(deepseek()))


def test_an_unknown_option_is_refused_and_an_empty_one_is_not(monkeypatch):
    for value in (None, 3):
        with monkeypatch.context() as patched:
            by_name(patched, lambda x, kwargs, known, value=value: (kwargs.update(block_indices=value), (x,))[1])
            if value is None:
                Capture(models.net("llama"))
            else:
                with pytest.raises(ModelError, match="LlamaAttention gives its kernel the option 'block_indices'"):
                    Capture(models.net("llama"))


def test_a_model_that_does_otherwise_under_another_name_is_refused(monkeypatch):
    by_name(monkeypatch, lambda x, _, known: (x if known else 1.5 * x.roll(1, dims=-1),))
    with pytest.raises(ModelError, match="LlamaModel runs otherwise when its attention is read"):
        Capture(models.net("llama"))


def test_a_difference_that_only_longer_prompts_show_is_found(monkeypatch):
    by_name(monkeypatch, lambda x, _, known: (x if known or x.shape[1] <= 8 else x.roll(1, dims=-1),))
    capture = Capture(models.net("llama"))
    models.vectors(capture, models.ids(8), models.ids(5))
    with pytest.raises(ModelError, match="on 9 tokens its last hidden states differ"):
        models.vectors(capture, models.ids(9), models.ids(5))


# -- C: a layer's number is its place in the model --------------------------------------------------------------------


def test_a_hybrids_attention_has_the_number_of_its_depth():
    made = models.of(zamba2())
    with pytest.raises(ModelError, match="choose with --layers 1,4$"):
        Capture(made)
    capture = Capture(made, [1, 4])
    assert [layer.layer for layer in capture.layers] == [1, 4]
    row = [models.ids(9)]
    both, late = capture(row, [[8]], [[0]]), Capture(made, [4])(row, [[8]], [[0]])
    assert torch.equal(both.q[1], late.q[0])
    assert not torch.allclose(both.q[0], late.q[0]), "the control: one block at two depths"


def test_modules_that_do_not_know_their_number_are_numbered_by_their_layer():
    made = models.net("llama")
    plain = models.vectors(Capture(made, [2]), models.ids(9))

    class Skipped(torch.nn.Module):
        def forward(self, hidden_states, **_):
            return torch.zeros_like(hidden_states), None

    first = made.layers[0].self_attn
    made.layers[0].self_attn = Skipped()
    for layer in made.layers[1:]:
        del layer.self_attn.layer_idx
        layer.self_attn.layer_idx = None
    assert sorted(Capture(made, [1, 2]).every) == [1, 2]
    made.layers[0].self_attn = first
    first.layer_idx = None
    assert torch.equal(models.vectors(Capture(made, [2]), models.ids(9)).q, plain.q)


def test_one_block_at_several_depths_is_a_layer_at_each():
    albert = Capture(models.of(tf.AlbertConfig(**models.SIZES, embedding_size=16, pad_token_id=0)))
    assert [layer.layer for layer in albert.layers] == [0, 1, 2]
    made = models.net("llama")
    made.layers = torch.nn.ModuleList([made.layers[0], made.layers[1], made.layers[0]])
    q = models.vectors(Capture(made), models.ids(9)).q
    assert torch.equal(models.vectors(Capture(made, [2]), models.ids(9)).q[0], q[2])
    assert not torch.allclose(q[0], q[2])


def test_a_layer_that_calls_twice_is_refused():
    with pytest.raises(ModelError, match=r"layer 0 \(DiffLlamaAttention\) calls its attention more than once"):
        Capture(models.of(tf.DiffLlamaConfig(**models.GROUPED)))
    made = models.net("qwen3")
    inner, layer = made.layers[1].self_attn.forward, made.layers[1].self_attn
    layer.forward = lambda *args, **kwargs: (inner(*args, **kwargs)[0] + inner(*args, **kwargs)[0], None)
    with pytest.raises(ModelError, match=r"layer 1 \(Qwen3Attention\) calls its attention more than once"):
        Capture(made)
