"""A model folder that is not one whole model is refused in one line that says what it is and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import models
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from ingest.model import load
from ingest.model.weights import files
from qkstore.errors import ModelError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return models.folder(tmp_path_factory.mktemp("whole") / "m", [f"w{i}" for i in range(30)])


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "m"))


def refused(folder: Path, change, said: str) -> None:
    """Loading the changed folder is refused in one line."""
    change(folder)
    with pytest.raises(ModelError, match=said) as raised:
        load(str(folder))
    assert "\n" not in str(raised.value)


def configure(folder: Path, **changes) -> None:
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | changes))


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    shutil.copy(folder / "model.safetensors", folder / "adapter_model.safetensors")


def adapter_alone(folder: Path) -> None:
    adapter(folder)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()


def extra_weight(folder: Path, *names: str) -> None:
    held = load_file(folder / "model.safetensors")
    for name in names or ["model.layers.0.self_attn.q_proj.bias"]:
        held[name] = held["model.layers.0.input_layernorm.weight"].clone()
    save_file(held, folder / "model.safetensors", {"format": "pt"})


def shards(folder: Path, keep: bool = False) -> list[str]:
    """The model in several files with an index; keep: beside the one file."""
    net, whole = tf.AutoModelForCausalLM.from_pretrained(folder), (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    net.save_pretrained(folder, max_shard_size="20KB")
    if keep:
        (folder / "model.safetensors").write_bytes(whole)
    return sorted(file.name for file in folder.glob("model-*.safetensors"))


def stray_shard(folder: Path) -> None:
    names = shards(folder)
    shutil.copy(folder / names[0], folder / "model-00009-of-00009.safetensors")


def pickles(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    shutil.copy(folder / "pytorch_model.bin", folder / "pytorch_model-00001-of-00002.bin")
    (folder / "model.safetensors").unlink()


LORA = "layers.0.self_attn.q_proj.lora_A.weight"
UNUSED = {  # (what is done to the folder, what is said)
    "an adapter beside the weights": (adapter, "holds an adapter .*merge it into its base model first"),
    "an adapter alone": (adapter_alone, "holds an adapter .*merge it into its base model first"),
    "norms of q and k": (
        lambda f: configure(f, model_type="llama", architectures=["LlamaForCausalLM"]),
        r"hold 4 weights that its config.json leaves no place for, model.layers.0.self_attn.k_norm.weight for one",
    ),
    "a bias": (extra_weight, "hold 1 weights .*layers.0.self_attn.q_proj.bias for one; the two do not belong together"),
    "an adapter without its config": (
        lambda f: shutil.copy(f / "model.safetensors", f / "adapter_model.safetensors"),
        r"holds an adapter \(adapter_model.safetensors\).*merge it into its base model first",
    ),
    "an adapter among the weights": (
        lambda f: extra_weight(f, f"base_model.model.model.{LORA}"),
        r"hold an adapter \(base_model.*lora_A.weight\), which would not be used: merge it",
    ),
    "a bias of the last norm": (lambda f: extra_weight(f, "model.norm.bias"), "model.norm.bias for one"),
    "a bias of the embedding": (lambda f: extra_weight(f, "model.embed_tokens.bias"), "embed_tokens.bias for one"),
    "positions that are learned": (
        lambda f: extra_weight(f, "model.embed_positions.weight"),
        "hold 1 weights that its config.json leaves no place for, model.embed_positions.weight for one",
    ),
    "one file and shards": (
        lambda f: shards(f, keep=True),
        "two sets of weights: model.safetensors would be loaded and model-00001-of-.* not; move the one",
    ),
    "a shard of another set": (
        stray_shard,
        "two sets of weights: model-00001-of-.* would be loaded and model-00009-of-00009.safetensors not",
    ),
    "pickles of two sets": (
        pickles,
        "two sets of weights: pytorch_model.bin would be loaded and pytorch_model-00001-of-00002.bin not",
    ),
    "a layer too many": (
        lambda f: configure(f, num_hidden_layers=1, layer_types=None, max_window_layers=1),
        "weights that its config.json leaves no place for, model.layers.1",
    ),
}


@pytest.mark.parametrize("name", UNUSED)
def test_weights_that_would_not_be_used_are_refused(name, folder):
    refused(folder, *UNUSED[name])


def test_weights_of_parts_that_are_not_run_are_no_reason_to_refuse(folder, tmp_path):
    held = load_file(folder / "model.safetensors")
    some = held["model.layers.0.input_layernorm.weight"]
    others = ("model.layers.0.self_attn.rotary_emb.inv_freq", "vision.layers.0.mlp.up.weight", "score.weight")
    others += ("model.vision_tower.embed.weight", "lm_head.bias", "mtp.norm.weight", "embed_out.weight")
    save_file(held | {name: some.clone() for name in others}, folder / "model.safetensors", {"format": "pt"})
    load(str(folder))
    held |= {"model.layers.2.mlp.up_proj.weight": some.clone()}
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    configure(folder, num_nextn_predict_layers=1)  # a head for later tokens stands behind the last layer
    load(str(folder))


def test_the_hash_is_of_the_files_that_were_loaded(whole, folder):
    before = load(str(whole)).weights_hash
    for left in ("old.safetensors", "consolidated.safetensors", "pytorch_model.bin"):
        (folder / left).write_bytes(b"left here")
    assert load(str(folder)).weights_hash == before
    extra_weight(folder)
    assert files.digest(folder) != before


def test_shards_are_those_that_the_index_names(folder):
    names = shards(folder)
    assert len(names) > 1
    assert [file.name for file in files.weights(folder)] == names
    load(str(folder))
    (folder / names[-1]).unlink()
    with pytest.raises(ModelError, match=f"lacks {names[-1]}, which its index names: copy the whole model"):
        load(str(folder))


def test_weights_under_another_name_have_a_hash_of_their_own(whole, folder):
    """Which config.json tells; a hash of no file at all would be that of every such model."""
    (folder / "model.safetensors").rename(folder / "w.safetensors")
    configure(folder, transformers_weights="w.safetensors")
    assert load(str(folder)).weights_hash == load(str(whole)).weights_hash
    (folder / "w.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights .*copy them there"):
        files.digest(folder)


WITH_HEADS = {
    "bert": tf.BertForMaskedLM,
    "gpt2": tf.GPT2LMHeadModel,
    "bart": tf.BartForConditionalGeneration,
    "t5": tf.T5ForConditionalGeneration,
}


@pytest.mark.parametrize("name", WITH_HEADS)
def test_a_model_that_is_saved_with_its_head_is_loaded_without(name, tmp_path):
    WITH_HEADS[name](models.CONFIGS[name]()).save_pretrained(tmp_path)
    models.word_tokenizer(["jam"]).save_pretrained(tmp_path)
    load(str(tmp_path))


def index(folder: Path, text: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)


def tokenizer_of(folder: Path, name: str, text: str) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / name).write_text(text)


UNREADABLE = {
    "weights are a pointer": (
        lambda f: (f / "model.safetensors").write_text(POINTER),
        "model.safetensors is a git-lfs pointer and not the file itself: fetch it with `git lfs pull`",
    ),
    "the tokenizer is a pointer": (
        lambda f: (f / "tokenizer.json").write_text(POINTER),
        "tokenizer.json is a git-lfs pointer",
    ),
    "empty weights": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        "model.safetensors is empty; copy it again",
    ),
    "an index is a pointer": (lambda f: index(f, POINTER), "index.json is a git-lfs pointer and not the file itself"),
    "an index that is not JSON": (lambda f: index(f, "{oops"), r"index.json is not JSON \(line 1\); copy it again"),
    "an index that is a list": (lambda f: index(f, "[]"), "index.json is no JSON object, but a list; copy it again"),
    "an index of nothing": (
        lambda f: index(f, '{"weight_map": {}}'),
        "index.json names no weight files .*copy it again",
    ),
    "a pickle of something else": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pytorch_model.bin. is damaged, or holds more than weights; copy it again, or save",
    ),
    "a config that is a list": (
        lambda f: (f / "config.json").write_text("[]"),
        "config.json is no JSON object, but a list; copy it again",
    ),
    "a config of nothing": (
        lambda f: (f / "config.json").write_text("{}"),
        "names no model_type; copy the model's own",
    ),
    "a number of layers in letters": (
        lambda f: configure(f, num_hidden_layers="two"),
        "expected int, got str .*; correct its config.json, or copy the model again",
    ),
    "endless layers": (lambda f: configure(f, num_hidden_layers=10**9), "num_hidden_layers 1000000000; possible are"),
    "in a part": (lambda f: configure(f, text_config={"num_layers": 10**9}), "num_layers 1000000000; possible are"),
    "a tokenizer that is not JSON": (
        lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text()[:200]),
        r"tokenizer.json is not JSON \(line \d+\); copy it again",
    ),
    "a SentencePiece file is a pointer": (
        lambda f: tokenizer_of(f, "tokenizer.model", POINTER),
        "tokenizer.model is a git-lfs pointer and not the file itself",
    ),
    "a SentencePiece file alone": (
        lambda f: tokenizer_of(f, "tokenizer.model", "pieces"),
        "no tokenizer.json in its folder: load the tokenizer where sentencepiece .* copy the tokenizer.json",
    ),
    "a tokenizer of another kind": (
        lambda f: tokenizer_of(f, "vocab.txt", "jam"),
        "tokenizer that cannot be built: ValueError: it knows no words, .*copy the tokenizer.json",
    ),
    "weights cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
        "a weight file is damaged or cut short; copy it again",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "there are no weights in its folder .*copy them",
    ),
    "config of another language": (
        lambda f: (f / "config.json").write_text("{oops"),
        r"config.json is not JSON \(line 1\); copy it again",
    ),
    "config of 5,000 digits": (lambda f: (f / "config.json").write_text("9" * 5000), r"JSON \(a number too"),
    "an unknown architecture": (
        lambda f: configure(f, model_type="frob"),
        "does not know its model_type; it needs",
    ),
    "code of its own": (
        lambda f: configure(f, model_type="frob", auto_map={"AutoConfig": "c.C", "AutoModel": "m.M"}),
        "it brings code of its own, which is not run",
    ),
    "other sizes": (lambda f: configure(f, hidden_size=48), "its weights have other shapes than its config.json says"),
    "no tokenizer": (
        lambda f: [file.unlink() for file in f.glob("tokenizer*")],
        "holds no tokenizer .*copy it beside the weights",
    ),
    "a tokenizer that cannot be built": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "has a tokenizer that cannot be built: KeyError: 'added_tokens'; copy its tokenizer.json and .* again",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_says_what_it_is_and_what_to_do(name, folder):
    refused(folder, *UNREADABLE[name])


def test_a_file_is_told_from_a_folder(folder):
    with pytest.raises(ModelError, match="model.safetensors is a file; give the folder that holds config.json"):
        load(str(folder / "model.safetensors"))


@pytest.mark.parametrize("kernel", ["flash_attention_2", "flex_attention"])
def test_a_kernel_that_a_config_asks_for_and_cannot_be_read_is_replaced(kernel, folder):
    configure(folder, attn_implementation=kernel)
    assert load(str(folder)).net.config._attn_implementation in ("sdpa", "eager")
