"""A model folder that is not one whole model is refused in one line that says what it is and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import models
import pytest
import transformers as tf
from safetensors.torch import load_file, save_file

from ingest.model import files, load
from qkstore.errors import ModelError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return models.folder(tmp_path_factory.mktemp("whole") / "m", [f"w{i}" for i in range(30)])


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "m"))


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


def extra_weight(folder: Path) -> None:
    held = load_file(folder / "model.safetensors")
    held["model.layers.0.self_attn.q_proj.bias"] = held["model.layers.0.input_layernorm.weight"].clone()
    save_file(held, folder / "model.safetensors", {"format": "pt"})


UNUSED = {  # (what is done to the folder, what is said)
    "an adapter beside the weights": (adapter, "holds an adapter .*merge it into its base model first"),
    "an adapter alone": (adapter_alone, "holds an adapter .*merge it into its base model first"),
    "norms of q and k": (
        lambda f: configure(f, model_type="llama", architectures=["LlamaForCausalLM"]),
        r"hold 4 weights that its config.json leaves no place for, model.layers.0.self_attn.k_norm.weight for one",
    ),
    "a bias": (extra_weight, "hold 1 weights .*layers.0.self_attn.q_proj.bias for one; the two do not belong together"),
    "a layer too many": (
        lambda f: configure(f, num_hidden_layers=1, layer_types=None, max_window_layers=1),
        "weights that its config.json leaves no place for, model.layers.1",
    ),
}


@pytest.mark.parametrize("name", UNUSED)
def test_weights_that_would_not_be_used_are_refused(name, folder):
    change, said = UNUSED[name]
    change(folder)
    with pytest.raises(ModelError, match=said) as raised:
        load(str(folder))
    assert "\n" not in str(raised.value)


def test_weights_of_parts_that_are_not_run_are_no_reason_to_refuse(folder, tmp_path):
    held = load_file(folder / "model.safetensors")
    some = held["model.layers.0.input_layernorm.weight"]
    others = ("model.layers.0.self_attn.rotary_emb.inv_freq", "vision.layers.0.mlp.up.weight", "score.weight")
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
    net = tf.AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    net.save_pretrained(folder, max_shard_size="20KB")
    names = [file.name for file in files.weights(folder)]
    assert len(names) > 1
    loaded = load(str(folder)).weights_hash
    shutil.copy(folder / names[0], folder / "model-00009-of-00009.safetensors")
    assert load(str(folder)).weights_hash == loaded
    (folder / names[-1]).unlink()
    with pytest.raises(ModelError, match=f"lacks {names[-1]}, which its index names: copy the whole model"):
        load(str(folder))


UNREADABLE = {
    "weights are a pointer": (
        lambda f: (f / "model.safetensors").write_text(POINTER),
        "model.safetensors is a git-lfs pointer and not the file itself: fetch it with `git lfs pull`",
    ),
    "the tokenizer is a pointer": (
        lambda f: (f / "tokenizer.json").write_text(POINTER),
        "tokenizer.json is a git-lfs pointer",
    ),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "a weight file is damaged or cut short"),
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
        "its config.json is not JSON; copy it again",
    ),
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
        "has a tokenizer that cannot be built: KeyError: 'added_tokens'",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_says_what_it_is_and_what_to_do(name, folder):
    change, said = UNREADABLE[name]
    change(folder)
    with pytest.raises(ModelError, match=said) as raised:
        load(str(folder))
    assert "\n" not in str(raised.value)


def test_a_file_is_told_from_a_folder(folder):
    with pytest.raises(ModelError, match="model.safetensors is a file; give the folder that holds config.json"):
        load(str(folder / "model.safetensors"))


@pytest.mark.parametrize("kernel", ["flash_attention_2", "flex_attention"])
def test_a_kernel_that_a_config_asks_for_and_cannot_be_read_is_replaced(kernel, folder):
    configure(folder, attn_implementation=kernel)
    assert load(str(folder)).net.config._attn_implementation in ("sdpa", "eager")
