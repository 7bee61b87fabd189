"""A GGUF file gives the vectors of the folder that it was made of."""

from __future__ import annotations

import json

import gguf
import models
import numpy as np
import pytest
import torch
import transformers as tf

import qkstore
from ingest import job
from ingest.model import load
from ingest.model.capture import Capture
from ingest.prompts import Prompt, Span
from qkstore.errors import ModelError

torch.set_num_threads(1)
TEXTS = ["The jam is in box Z. The hat is in box O. Which box is the jam in? Answer:", "A hat, a jam and a box."]
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
FAMILIES = {"llama": tf.LlamaConfig, "qwen3": tf.Qwen3Config}


def folder(path, family: str):
    """A model folder with a byte-level tokenizer, as Llama 3 and Qwen have it."""
    tokenizer = models.chat_tokenizer("qwen", TEXTS, vocab_size=320)
    config = FAMILIES[family](
        **SIZES, head_dim=16, vocab_size=len(tokenizer), max_position_embeddings=64, tie_word_embeddings=False
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


def write(path, family: str, net, tokenizer, quantised: bool = False):
    """The same model as a GGUF file; `quantised`: its matrices in Q8_0."""
    config, writer = net.config, gguf.GGUFWriter(str(path), family)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_rope_dimension_count(16)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_rope_freq_base(10000.0)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_the_vectors_of_its_folder(family, tmp_path):
    made = folder(tmp_path / "folder", family)
    ids, expected = vectors(load(str(tmp_path / "folder")))
    model = load(str(write(tmp_path / "m.gguf", family, *made)))
    mine, captured = vectors(model)
    assert mine == ids
    for part in ("q", "k", "logsumexp"):
        assert (getattr(captured, part) - getattr(expected, part)).abs().max() < 1e-6 * max(
            1.0, float(getattr(expected, part).abs().max())
        )
    assert model.quantisation == "F32"


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
    assert run.model == str(path)
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
