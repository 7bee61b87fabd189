"""A pass that raises is one line: the model, the layer and what to do; large logits are no reason to refuse."""

from __future__ import annotations

import models
import pytest
import torch
import transformers as tf

from ingest import job
from ingest.model import wrap
from ingest.model.capture import Capture
from ingest.prompts import Prompt, Span
from qkstore.errors import ModelError, PromptError

torch.set_num_threads(1)

# -- a pass that raises is one line --------------------------------------------------------------------------------


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
        Capture(models.of(config()))


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


def test_a_first_look_that_needs_too_much_memory_is_one_line(monkeypatch):
    capture = Capture(models.net("llama"))

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(capture.forward.net.layers[2].mlp, "forward", full)
    with pytest.raises(ModelError, match="^two prompts of up to 9 tokens need more memory than there is; leave out"):
        models.vectors(capture, models.ids(9), models.ids(5))


def test_a_mask_of_one_row_stands_for_all(monkeypatch):
    """Some encoders give (B, 1, 1, T)."""
    made, plain = models.net("bert"), models.net("bert")
    made.set_attn_implementation("eager")
    plain.set_attn_implementation("eager")
    for layer in made.encoder.layer:
        inner = layer.attention.self.forward
        layer.attention.self.forward = lambda x, attention_mask, *a, inner=inner, **k: inner(
            x, None if attention_mask is None else attention_mask[:, :, :1], *a, **k
        )
    rows = models.ids(9), models.ids(5)
    for part in ("q", "k", "logsumexp"):
        mine, theirs = (
            getattr(models.vectors(Capture(made), *rows), part),
            getattr(models.vectors(Capture(plain), *rows), part),
        )
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("pad", [-1, 97, 10**6, None])
def test_a_padding_token_that_is_none_does_no_harm(pad):
    made = models.net("llama")
    expected = models.vectors(Capture(made), models.ids(9), models.ids(5))
    made.config.pad_token_id = pad
    assert torch.equal(models.vectors(Capture(made), models.ids(9), models.ids(5)).q, expected.q)


def test_a_config_without_a_vocabulary_is_read():
    made = models.net("llama")
    del made.config.vocab_size
    assert models.vectors(Capture(made), models.ids(9)).q.isfinite().all()


@pytest.mark.parametrize(("length", "fits"), [(6, True), (7, False)])
def test_positions_behind_the_padding_token_are_not_counted(length, fits, tmp_path):
    """RoBERTa with 8 positions and padding token 1 numbers its first token 2."""
    words = [f"w{i}" for i in range(20)]
    sizes = models.SIZES | dict(max_position_embeddings=8)
    model = wrap(models.of(tf.RobertaConfig(**sizes, pad_token_id=1)), models.word_tokenizer(words), "tiny")
    prompt = Prompt(" ".join(words[:length]), (Span(0, 2, "item"),))
    if fits:
        job.ingest(tmp_path, "a", model, [prompt], task="words")
    else:
        with pytest.raises(PromptError, match="prompt 0 has 7 tokens, 'tiny' takes at most 6"):
            job.ingest(tmp_path, "a", model, [prompt], task="words")


def test_float64_runs_through_a_mixture_of_experts():
    made = models.of(tf.MixtralConfig(**models.GROUPED, num_local_experts=4, num_experts_per_tok=2))
    kernel = made.config._experts_implementation
    assert models.vectors(Capture(made), models.ids(9), models.ids(5)).q.isfinite().all()
    assert made.config._experts_implementation == kernel


def test_every_part_keeps_the_kernel_that_it_had():
    vision = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, patch_size=16)
    text = models.GROUPED | dict(model_type="llama")
    config = tf.LlavaConfig(
        text_config=text, vision_config=vision | dict(model_type="clip_vision_model", image_size=32)
    )
    made = models.of(config)
    kernels = {"vision_config": "eager", "text_config": "sdpa"}
    for part, kernel in kernels.items():
        getattr(made.config, part)._attn_implementation_internal = kernel
    models.vectors(Capture(made), models.ids(9), models.ids(5))
    assert {part: getattr(made.config, part)._attn_implementation for part in kernels} == kernels


# -- large logits ---------------------------------------------------------------------------------------------------


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
    q, k = models.vectors(capture, models.ids(9)).q.double(), models.vectors(capture, models.ids(9)).k.double()
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
