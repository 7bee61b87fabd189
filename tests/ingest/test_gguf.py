"""A GGUF file gives the vectors of the folder that it was made of."""

from __future__ import annotations

import json

import gguf
import models
import numpy as np
import pytest
import torch
import transformers as tf
from tqdm.auto import tqdm
from transformers import modeling_gguf_pytorch_utils

import qkstore
from ingest import job
from ingest.cli.model import prepare
from ingest.model import load
from ingest.model.capture import Capture
from ingest.prompts import Prompt, Span
from qkstore.errors import ModelError

torch.set_num_threads(1)
TEXTS = ["The jam is in box Z. The hat is in box O. Which box is the jam in? Answer:", "A hat, a jam and a box."]
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
FAMILIES = {"llama": tf.LlamaConfig, "qwen3": tf.Qwen3Config}


def folder(path, family: str, **facts):
    """A model folder with a byte-level tokenizer, as Llama 3 and Qwen have it. facts: of the config."""
    tokenizer = models.chat_tokenizer("qwen", TEXTS, vocab_size=320)
    config = FAMILIES[family](
        **SIZES,
        head_dim=16,
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        tie_word_embeddings=False,
        rope_theta=500000.0,  # and not the one that transformers takes where none is read
        **facts,
    )
    torch.manual_seed(0)
    net = tf.AutoModelForCausalLM.from_config(config)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.2)
    net.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return net, tokenizer


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows as llama.cpp has them: the two halves of RoPE interleaved."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write(path, family: str, net, tokenizer, quantised: bool = False, more=lambda writer: None):
    """The same model as a GGUF file; `quantised`: its matrices in Q8_0. more: writes what else it holds."""
    config, writer = net.config, gguf.GGUFWriter(str(path), family)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_rope_dimension_count(16)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], config.num_hidden_layers)
    for name, weight in net.state_dict().items():
        array = weight.float().numpy()
        if family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            array = permuted(array, 4 if "q_proj" in name else 2)
        kind = gguf.GGMLQuantizationType.Q8_0 if quantised and array.ndim > 1 else gguf.GGMLQuantizationType.F32
        data = gguf.quants.quantize(np.ascontiguousarray(array), kind)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), data, raw_dtype=kind)
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer, tokenizer) -> None:
    state, special = tokenizer.backend_tokenizer, set(tokenizer.all_special_ids)
    tokens = [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))]
    merges = json.loads(state.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)


def vectors(model):
    ids = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    every = [list(range(len(row))) for row in ids]
    return ids, Capture(model.net)(ids, every, every)


def apart(mine, other) -> float:
    """The largest difference of q, k and log-sum-exp, as a share of the largest value."""
    pairs = [(getattr(mine, part), getattr(other, part)) for part in ("q", "k", "logsumexp")]
    return max(float((a - b).abs().max()) / max(1.0, float(b.abs().max())) for a, b in pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_the_vectors_of_its_folder(family, tmp_path):
    made = folder(tmp_path / "folder", family)
    ids, expected = vectors(load(str(tmp_path / "folder")))
    model = load(str(write(tmp_path / "m.gguf", family, *made)))
    mine, captured = vectors(model)
    assert mine == ids
    assert apart(captured, expected) < 1e-6
    assert model.quantisation == "F32"


def test_a_command_leaves_stderr_to_its_own_progress(llama, tmp_path, monkeypatch, capsys):
    write(tmp_path / "m.gguf", "llama", *llama)
    with monkeypatch.context() as patched:
        patched.setattr(modeling_gguf_pytorch_utils, "tqdm", tqdm)  # a command of another test may have replaced it
        load(str(tmp_path / "m.gguf"))
        assert "de-quantizing" in capsys.readouterr().err, "the control: transformers draws a bar"
        prepare()
        load(str(tmp_path / "m.gguf"))
        assert capsys.readouterr().err == ""


def test_a_run_of_a_quantised_file_says_so_and_is_near(tmp_path):
    made = folder(tmp_path / "folder", "llama")
    _, exact = vectors(load(str(tmp_path / "folder")))
    path = write(tmp_path / "m.gguf", "llama", *made, quantised=True)
    _, coarse = vectors(load(str(path)))
    error = float((coarse.q - exact.q).norm() / exact.q.norm())
    assert 1e-4 < error < 0.05, "eight bits a weight"
    prompts = [Prompt(text, (Span(text.index("jam"), text.index("jam") + 3, "item"),)) for text in TEXTS]
    run = qkstore.Run(job.ingest(tmp_path / "store", "a", load(str(path)), prompts, task="jam"))
    assert run.quantisation == "F32, Q8_0"
    assert run.model == path.name, "not a path of somebody's disk"
    whole = qkstore.Run(job.ingest(tmp_path / "store", "b", load(str(tmp_path / "folder")), prompts, task="jam"))
    assert whole.quantisation is None
    assert whole.weights_hash != run.weights_hash


def test_control_without_the_rows_order_of_its_kind_the_vectors_are_others(tmp_path, monkeypatch):
    made = folder(tmp_path / "folder", "llama")
    _, exact = vectors(load(str(tmp_path / "folder")))
    monkeypatch.setitem(globals(), "permuted", lambda weight, heads: weight)
    _, wrong = vectors(load(str(write(tmp_path / "m.gguf", "llama", *made))))
    assert (wrong.q - exact.q).norm() > 0.1 * exact.q.norm()


def test_a_file_cut_short_and_one_of_an_unknown_family_are_told(tmp_path):
    path = write(tmp_path / "m.gguf", "llama", *folder(tmp_path / "folder", "llama"))
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:3000])
    (tmp_path / "other.gguf").write_bytes(path.read_bytes().replace(b"llama", b"frobs"))
    for name in ("cut", "other"):
        with pytest.raises(ModelError, match=rf"{name}.gguf' cannot be loaded from GGUF: ") as raised:
            load(str(tmp_path / f"{name}.gguf"))
        assert "\n" not in str(raised.value)


# -- what transformers passes over ------------------------------------------------------------------------------------


def tensor(name: str, size: int):
    return lambda writer: writer.add_tensor(name, np.full(size, 2, np.float32))


def linear(writer) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(4.0)


PASSED_OVER = {  # (what else the file holds, what is said)
    "norms of q": (tensor("blk.0.attn_q_norm.weight", 16), "leaves out 1 of its tensors, blk.0.attn_q_norm.weight"),
    "a bias of q": (tensor("blk.1.attn_q.bias", 64), "leaves out 1 of its tensors, blk.1.attn_q.bias for one"),
    "sinks": (tensor("blk.1.attn_sinks.weight", 4), "leaves out 1 of its tensors, blk.1.attn_sinks.weight"),
    "a layer too many": (tensor("blk.2.attn_norm.weight", 64), "leaves out 1 of its tensors, blk.2.attn_norm.weight"),
    "factors of long texts": (tensor("rope_factors_long.weight", 8), "leaves out 1 of its tensors, rope_factors_long"),
    "factors that do not fit": (tensor("rope_freqs.weight", 6), r"factors of RoPE \(rope_freqs\) have no place"),
    "scaled RoPE": (linear, "says rope.scaling.factor 4.0, the model made of it none"),
    "a window": (lambda w: w.add_sliding_window(4), "says attention.sliding_window 4, the model made of it 0"),
    "a soft-cap": (lambda w: w.add_attn_logit_softcapping(5.0), "says attn_logit_softcapping 5.0, the model .* 0"),
    "a scale": (lambda w: w.add_attention_scale(0.5), "says attention.scale 0.5, the model made of it 0.25"),
    "sight of later tokens": (
        lambda w: w.add_causal_attention(False),
        "says attention.causal False, the model .* True",
    ),
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("llama"), "llama")


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_transformers_passes_over_and_decides_vectors_is_refused(name, llama, tmp_path):
    more, said = PASSED_OVER[name]
    path = write(tmp_path / "m.gguf", "llama", *llama, more=more)
    with pytest.raises(ModelError, match=said + ".*; give the folder of the model that it was made of") as raised:
        load(str(path))
    assert "\n" not in str(raised.value)


def test_facts_that_the_model_has_are_no_reason_to_refuse(llama, tmp_path):
    def same(writer) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_attention_scale(0.25)
        writer.add_causal_attention(True)
        writer.add_sliding_window(0)

    load(str(write(tmp_path / "m.gguf", "llama", *llama, more=same)))


def test_the_factors_of_rope_that_a_file_holds_are_applied(tmp_path):
    """Llama 3.1 and later: the folder's config has the rule, a GGUF file the factors that come of it."""
    rule = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    made = folder(tmp_path / "folder", "llama", rope_scaling=rule | dict(original_max_position_embeddings=32))
    ids, expected = vectors(load(str(tmp_path / "folder")))
    plain = 500000.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = (plain / made[0].model.rotary_emb.inv_freq).numpy()
    assert factors.max() == pytest.approx(8)
    path = write(tmp_path / "m.gguf", "llama", *made, more=lambda w: w.add_tensor("rope_freqs.weight", factors))
    mine, captured = vectors(load(str(path)))
    assert mine == ids
    assert apart(captured, expected) < 1e-6
    _, without = vectors(load(str(write(tmp_path / "without.gguf", "llama", *made))))
    assert apart(without, expected) > 1e-2  # the control: without them the keys of late tokens are turned too far


def test_a_part_of_a_file_and_one_without_a_tokenizer_are_told(llama, tmp_path, monkeypatch):
    path = write(tmp_path / "part.gguf", "llama", *llama, more=lambda w: w.add_uint16("split.count", 3))
    with pytest.raises(ModelError, match="it is one of 3 parts: join them first"):
        load(str(path))
    monkeypatch.setitem(globals(), "_add_tokenizer", lambda writer, tokenizer: None)
    with pytest.raises(ModelError, match="the file holds no tokenizer that transformers .* reads; give the folder"):
        load(str(write(tmp_path / "none.gguf", "llama", *llama)))


def test_a_file_that_is_no_gguf_says_what_it_is(tmp_path):
    for content, said in {
        b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n": "is a git-lfs pointer and not the file itself",
        b"": "is no GGUF file .*copy it again",
        b"<html>": "is no GGUF file .*copy it again",
        b"GGUF": "the file is damaged or cut short .*copy it again",
    }.items():
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(ModelError, match=said):
            load(str(tmp_path / "m.gguf"))
    with pytest.raises(ModelError, match="there is no file .*none.gguf"):
        load(str(tmp_path / "none.gguf"))
    with pytest.raises(ModelError, match="holds no model, but m.gguf: give that file, --model .*m.gguf"):
        load(str(tmp_path))
