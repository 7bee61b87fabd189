"""What is stored is what the model saw, each prompt alone, or the model is refused in one line.

Five kinds of fault, each with several cases: vectors that depend on a prompt's neighbours, models that run otherwise
when they are read, calls taken for layers, passes that raise, and a tolerance that does not know how large logits are.
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
from qkstore.errors import ModelError, PromptError

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


def net(config, dtype=torch.float64):
    """A base model whose attention is far from uniform."""
    torch.manual_seed(0)
    made = tf.AutoModel.from_config(config).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return made.to(dtype)


def ids(length: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 97, (length,), generator=torch.Generator().manual_seed(seed * 100 + length)).tolist()


def vectors(capture: Capture, *rows: list[int]):
    every = [list(range(len(row))) for row in rows]
    return capture(list(rows), every, every)


# -- A: a prompt's vectors do not depend on its neighbours -----------------------------------------------------------

NEIGHBOURS = {"LongRoPE": (phi3, 12, 30), "dynamic NTK": (dynamic, 12, 80), "padding is read": (mobilebert, 7, 12)}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_prompts_that_change_each_other_share_no_batch(name):
    config, short, long = NEIGHBOURS[name]
    capture = Capture(net(config()))
    with pytest.raises(ModelError, match=rf"prompts of {short} and {long} tokens cannot share a batch$"):
        vectors(capture, ids(short), ids(long))


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_run_holds_the_vectors_of_each_prompt_alone(name, tmp_path):
    config, short, long = NEIGHBOURS[name]
    words = [f"w{i}" for i in range(90)]
    lengths = (short, long, short, long + 1, short - 1, long, short)
    texts = [" ".join(words[(5 * p + 3 * i) % 90] for i in range(n)) for p, n in enumerate(lengths)]
    prompts = [Prompt(text, (Span(0, text.index(" "), "item"),)) for text in texts]
    model = wrap(net(config()), models.word_tokenizer(words), "tiny")
    path = job.ingest(tmp_path, "a", model, prompts, Options(batch_size=4), task="words")
    run = qkstore.open(tmp_path).run(path.stem)
    stored = np.stack([run.queries(1, head) for head in range(run.n_heads)])
    for p, text in enumerate(texts):
        row = model.tokenizer(text)["input_ids"]
        alone = Capture(net(config()), [1])([row], [[len(row) - 1]], [[0]]).q[0, :, 0].numpy()
        assert abs(stored[:, p] - alone).max() < 1e-5, f"prompt {p} of {len(row)} tokens"


def test_control_side_by_side_the_vectors_do_change():
    """What a batch of these lengths would give, with nothing that forbids it."""
    for config, short, long in NEIGHBOURS.values():
        made = net(config())
        alone = vectors(Capture(made), ids(short)).q
        capture = Capture(made)
        capture.forward.settle = lambda ids: None
        capture.forward.sides = lambda length: 0
        both = vectors(capture, ids(short), ids(long)).q[:, :, :short]
        assert (both - alone).abs().max() > 0.1


def test_what_dynamic_ntk_saw_before_is_forgotten():
    capture = Capture(net(dynamic()))
    before = vectors(capture, ids(70)).q
    vectors(capture, ids(100))
    assert torch.equal(vectors(capture, ids(70)).q, before)


def test_lengths_on_one_side_of_longropes_threshold_share_a_batch():
    capture = Capture(net(phi3()))
    vectors(capture, ids(7), ids(16))
    vectors(capture, ids(17), ids(40))
    assert not capture.forward.sides.equal
    assert capture.forward.sides(16) != capture.forward.sides(17)


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
        Capture(net(deepseek()))


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
    vectors(capture, ids(8), ids(5))
    with pytest.raises(ModelError, match="on 9 tokens its last hidden states differ"):
        vectors(capture, ids(9), ids(5))


# -- C: a layer's number is its place in the model --------------------------------------------------------------------


def test_a_hybrids_attention_has_the_number_of_its_depth():
    made = net(zamba2())
    with pytest.raises(ModelError, match="choose with --layers 1,4$"):
        Capture(made)
    capture = Capture(made, [1, 4])
    assert [layer.layer for layer in capture.layers] == [1, 4]
    row = [ids(9)]
    states = []
    hook = made.layers[4].register_forward_pre_hook(lambda m, args: states.append(args[0].clone()))
    both, late = capture(row, [[8]], [[0]]), Capture(made, [4])(row, [[8]], [[0]])
    hook.remove()
    assert torch.equal(both.q[1], late.q[0])
    assert not torch.allclose(both.q[0], late.q[0]), "the control: one block at two depths"
    assert states


def test_modules_that_do_not_know_their_number_are_numbered_by_their_layer():
    made = models.net("llama")
    plain = vectors(Capture(made, [2]), ids(9))

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
    assert torch.equal(vectors(Capture(made, [2]), ids(9)).q, plain.q)


def test_one_block_at_several_depths_is_a_layer_at_each():
    albert = Capture(net(tf.AlbertConfig(**models.SIZES, embedding_size=16, pad_token_id=0)))
    assert [layer.layer for layer in albert.layers] == [0, 1, 2]
    made = models.net("llama")
    made.layers = torch.nn.ModuleList([made.layers[0], made.layers[1], made.layers[0]])
    q = vectors(Capture(made), ids(9)).q
    assert torch.equal(vectors(Capture(made, [2]), ids(9)).q[0], q[2])
    assert not torch.allclose(q[0], q[2])


def test_a_layer_that_calls_twice_is_refused():
    with pytest.raises(ModelError, match=r"layer 0 \(DiffLlamaAttention\) calls its attention more than once"):
        Capture(net(tf.DiffLlamaConfig(**models.GROUPED)))
    made = models.net("qwen3")
    inner, layer = made.layers[1].self_attn.forward, made.layers[1].self_attn
    layer.forward = lambda *args, **kwargs: (inner(*args, **kwargs)[0] + inner(*args, **kwargs)[0], None)
    with pytest.raises(ModelError, match=r"layer 1 \(Qwen3Attention\) calls its attention more than once"):
        Capture(made)


# -- G: a pass that raises is one line --------------------------------------------------------------------------------


def clip():
    vision = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, patch_size=16)
    return tf.CLIPConfig(text_config=dict(models.SIZES), vision_config=vision | dict(image_size=32))


def whisper():
    halves = {f"{h}_{n}": v for h in ("encoder", "decoder") for n, v in (("layers", 2), ("attention_heads", 4))}
    return tf.WhisperConfig(vocab_size=97, d_model=32, **halves, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (clip, "CLIPModel is no single text model: it has no token embedding"),
        (whisper, "WhisperModel takes no text: its forward pass has no input_ids"),
    ],
)
def test_models_that_take_no_text_are_named(config, said):
    with pytest.raises(ModelError, match=f"^{said}$"):
        Capture(net(config()))


def test_what_a_model_raises_is_told_with_its_layer_and_the_cause(monkeypatch):
    made = models.net("llama")

    def broken(*_, **__):
        raise RuntimeError("\nno such kernel\nand more")

    made.layers[1].mlp.forward = broken
    with pytest.raises(
        ModelError, match=r"^LlamaModel cannot be run on 2 texts of up to 6 tokens, in layer 1: no such kernel; try"
    ):
        Capture(made)
    assert made.config._attn_implementation == "sdpa"


def test_a_mask_of_one_row_stands_for_all(monkeypatch):
    """Some encoders give (B, 1, 1, T)."""
    made, plain = models.net("bert"), models.net("bert")
    made.set_attn_implementation("eager")
    plain.set_attn_implementation("eager")
    for layer in made.encoder.layer:
        inner = layer.attention.self.forward
        layer.attention.self.forward = lambda x, mask=None, *a, inner=inner, **k: inner(
            x, None if mask is None else mask[:, :, :1], *a, **k
        )
    rows = ids(9), ids(5)
    for part in ("q", "k", "logsumexp"):
        mine, theirs = getattr(vectors(Capture(made), *rows), part), getattr(vectors(Capture(plain), *rows), part)
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("pad", [-1, 97, 10**6, None])
def test_a_padding_token_that_is_none_does_no_harm(pad):
    made = models.net("llama")
    expected = vectors(Capture(made), ids(9), ids(5))
    made.config.pad_token_id = pad
    assert torch.equal(vectors(Capture(made), ids(9), ids(5)).q, expected.q)


def test_a_config_without_a_vocabulary_is_read():
    made = models.net("llama")
    del made.config.vocab_size
    assert vectors(Capture(made), ids(9)).q.isfinite().all()


@pytest.mark.parametrize(("length", "fits"), [(6, True), (7, False)])
def test_positions_behind_the_padding_token_are_not_counted(length, fits, tmp_path):
    """RoBERTa with 8 positions and padding token 1 numbers its first token 2."""
    words = [f"w{i}" for i in range(20)]
    sizes = models.SIZES | dict(max_position_embeddings=8)
    model = wrap(net(tf.RobertaConfig(**sizes, pad_token_id=1)), models.word_tokenizer(words), "tiny")
    prompt = Prompt(" ".join(words[:length]), (Span(0, 2, "item"),))
    if fits:
        job.ingest(tmp_path, "a", model, [prompt], task="words")
    else:
        with pytest.raises(PromptError, match="prompt 0 has 7 tokens, 'tiny' takes at most 6"):
            job.ingest(tmp_path, "a", model, [prompt], task="words")


def test_float64_runs_through_a_mixture_of_experts():
    made = net(tf.MixtralConfig(**models.GROUPED, num_local_experts=4, num_experts_per_tok=2))
    kernel = made.config._experts_implementation
    assert vectors(Capture(made), ids(9), ids(5)).q.isfinite().all()
    assert made.config._experts_implementation == kernel


def test_every_part_keeps_the_kernel_that_it_had():
    vision = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, patch_size=16)
    text = models.GROUPED | dict(model_type="llama")
    config = tf.LlavaConfig(
        text_config=text, vision_config=vision | dict(model_type="clip_vision_model", image_size=32)
    )
    made = net(config)
    kernels = {"vision_config": "eager", "text_config": "sdpa"}
    for part, kernel in kernels.items():
        getattr(made.config, part)._attn_implementation_internal = kernel
    vectors(Capture(made), ids(9), ids(5))
    assert {part: getattr(made.config, part)._attn_implementation for part in kernels} == kernels


# -- H: large logits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("name", "kernel"), [("gemma2", "eager"), ("llama", "eager"), ("llama", "sdpa"), ("qwen3", "sdpa")]
)
def test_large_logits_are_no_reason_to_refuse(name, dtype, kernel):
    made = models.net(name, dtype=dtype, **(dict(attn_logit_softcapping=None) if name == "gemma2" else {}))
    made.set_attn_implementation(kernel)
    for module in made.modules():
        if hasattr(module, "scaling") and hasattr(module, "q_proj"):
            module.scaling *= 40
    capture = Capture(made)
    q, k = vectors(capture, ids(9)).q.double(), vectors(capture, ids(9)).k.double()
    logits = q[0, 0] @ k[0, 0].T * capture.layers[0].scaling
    assert logits.std() > 30, "the test needs large logits"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_control_a_small_bias_is_still_refused(dtype, monkeypatch):
    from transformers.models.llama import modeling_llama

    plain = modeling_llama.eager_attention_forward
    ramp = torch.linspace(0, 0.3, 6)[None, None, :, None]
    biased = lambda m, q, k, v, mask, **o: plain(m, q, k + ramp.to(k), v, mask, **o)  # noqa: E731
    made = models.net("llama", dtype=dtype)
    made.set_attn_implementation("eager")
    monkeypatch.setattr(modeling_llama, "eager_attention_forward", biased)
    with pytest.raises(ModelError, match="adds to its logits"):
        Capture(made)
