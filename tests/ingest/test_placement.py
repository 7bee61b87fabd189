"""A model that is spread over devices, memory and disk gives the vectors and the edits of one on one device.

To the bit. Disk and memory are real here; the several devices are those of `elsewhere`.
"""

from __future__ import annotations

import gc
import importlib.util
import tempfile
from pathlib import Path

import elsewhere
import models
import pytest
import test_edit
import test_gguf
import torch
import transformers as tf

import qkstore
from ingest import demo, job, model
from ingest.__main__ import main
from ingest.job import ranks
from ingest.model import live
from ingest.model.batch import Batch
from ingest.model.capture import Capture
from ingest.model.edit import Editor
from ingest.model.weights import placement
from ingest.prompts import boxes
from qkstore.errors import ModelError

torch.set_num_threads(1)
BOXES = boxes.build(20, "ent", 0, 8)
ROWS = [models.ids(12), models.ids(7), models.ids(9)]
EVERY = [list(range(len(row))) for row in ROWS]
ENDS = [5, 6, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return models.folder(tmp_path_factory.mktemp("model"), models.words(boxes.build(300, "both", 0, 300), BOXES))


@pytest.fixture(scope="module")
def plain(folder) -> model.Model:
    return model.load(str(folder), answers=None)


def room(whole: model.Model, share: float) -> dict:
    """Memory for a share of a model's weights."""
    return {"cpu": int(share * sum(p.numel() * p.element_size() for p in whole.net.parameters())) + 1}


def read(net, layers=None, **how):
    found = Capture(net, layers)(ROWS, EVERY, EVERY, **how)
    return [x for x in (found.q, found.k, found.logsumexp, found.logits) if x is not None]


def equal(one: list, other: list) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) and b.device.type == "cpu" for a, b in zip(one, other))


# -- memory and disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "told"), [(2, "cpu"), (0.7, "auto: cpu, disk"), (0, "auto: disk")], ids=["memory", "both", "disk"]
)
def test_a_model_that_lies_on_disk_in_part_gives_the_same_vectors(folder, plain, share, told):
    spread = model.load(str(folder), device="auto", answers=None, memory=room(plain, share))
    assert spread.device == told
    assert spread.weights_hash == plain.weights_hash
    meta = [p for p in spread.net.parameters() if p.device.type == "meta"]
    assert bool(meta) == ("disk" in told), "its weights are not in memory"
    assert equal(read(spread.net), read(plain.net))
    assert equal(read(spread.net, [0]), read(plain.net, [0])), "a pass that ends at the first layer"
    for padding in ("right", "left"):
        how = dict(ends=ENDS, padding=padding)
        assert equal(read(spread.net, **how), read(plain.net, **how)), "the pass after one that was cut short"


def test_an_encoder_decoder_gives_its_encoder(tmp_path):
    torch.manual_seed(0)
    net = tf.AutoModelForSeq2SeqLM.from_config(models.CONFIGS["bart"]())
    net.save_pretrained(tmp_path)
    models.word_tokenizer(models.words(BOXES)).save_pretrained(tmp_path)
    whole = model.load(str(tmp_path))
    spread = model.load(str(tmp_path), device="auto", memory=room(whole, 0.7))
    assert spread.device == "auto: cpu, disk"
    assert equal(read(spread.net), read(whole.net))


def test_what_has_to_be_written_anew_goes_with_the_model(folder, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    held = model.load(str(folder), device="auto", memory=room(plain, 0))
    assert list((tmp_path / "temporary").iterdir()) == [], "safetensors are read where they lie"
    net = tf.AutoModelForCausalLM.from_pretrained(folder)
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    held = model.load(str(tmp_path), device="auto", memory=room(plain, 0))
    [written] = (tmp_path / "temporary").iterdir()
    assert list(written.iterdir())
    assert equal(read(held.net), read(plain.net.base_model))
    del held
    gc.collect()
    assert not written.exists()
    (folder / "tokenizer.json").rename(folder / "away.json")
    try:
        with pytest.raises(ModelError):
            model.load(str(folder), device="auto")
    finally:
        (folder / "away.json").rename(folder / "tokenizer.json")
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == [], "nor is anything left of a model that is refused"


def test_a_gguf_file_may_be_spread_too(tmp_path):
    made = test_gguf.folder(tmp_path / "folder", "llama")
    path = test_gguf.write(tmp_path / "m.gguf", "llama", *made, more=test_gguf.tensor("rope_freqs.weight", 8))
    whole = model.load(str(path), answers=None)
    spread = model.load(str(path), device="auto", answers=None, memory=room(whole, 0.7))
    assert spread.device == "auto: cpu, disk"
    assert (spread.weights_hash, spread.quantisation) == (whole.weights_hash, whole.quantisation)
    assert equal(read(spread.net), read(whole.net))


@pytest.mark.parametrize("rows", ["last", "all"])
def test_edits_of_a_model_on_disk_are_those_of_one_in_memory(folder, plain, rows):
    spread = model.load(str(folder), device="auto", answers=True, memory=room(plain, 0.7))
    assert same_edits(plain.net, spread.net, rows)


def same_edits(one, other, rows: str) -> bool:
    """Whether edits in the first and the last layer do the same to attention and logits, in one pass and in several."""
    last = one.config.num_hidden_layers - 1
    edits = {(0, 1): test_edit.projector(one), (last, 3): test_edit.projector(one, rank=5, seed=2)}
    each = [{}, edits, {(last, 0): test_edit.projector(one, seed=4)}]
    shown = []
    for net in (one, other):
        editor = Editor(net, 0, rows)
        passes = [editor(test_edit.CASES, edits, side) for side in ("right", "left")]
        shown.append(passes + list(editor.passes(test_edit.CASES, each)))
    assert not torch.equal(shown[0][0].logits, shown[0][2].logits), "the control: an edit does something"
    return all(
        torch.equal(a.logits, b.logits.cpu())
        and all(torch.equal(a.attention[n], b.attention[n].cpu()) for n in range(last + 1))
        for a, b in zip(*shown, strict=True)
    )


# -- several devices ---------------------------------------------------------------------------------------------------


def places(net, last: str = "lazy:1") -> dict[str, str]:
    """The embedding and one layer on a first device, all that follows on another."""
    inner = "" if net.base_model is net else f"{net.base_model_prefix}."
    named = {f"{inner}{name}": last for name, _ in net.base_model.named_children() if name != "layers"}
    named |= {f"{inner}{name}": elsewhere.MAIN for name in ("embed_tokens", "rotary_emb")}
    named |= {f"{inner}layers.{n}": last if n else elsewhere.MAIN for n in range(net.config.num_hidden_layers)}
    tied = net.config.tie_word_embeddings  # to the embedding, beside which it then stays
    return named | ({} if net.base_model is net else {"lm_head": elsewhere.MAIN if tied else last})


def eager(net):
    net.set_attn_implementation("eager")  # the one kernel that is the same for every device
    return net


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("last", ["lazy:1", "cpu"], ids=["devices", "memory"])
def test_layers_on_two_devices_give_the_vectors_of_one(name, last):
    one, other = (eager(models.net(name, torch.float32)) for _ in range(2))
    with elsewhere.Elsewhere():
        other = elsewhere.spread(other, places(other, last))
        where = {str(p.device) for p in other.parameters()}
        assert where == {"lazy:0", "lazy:1" if last == "lazy:1" else "meta"}
        found = read(other), read(other, [1]), read(other, padding="left")
    assert placement.hooked(other) == torch.device("lazy:0")
    assert equal(found[0], read(one))
    assert equal(found[1], read(one, [1]))
    assert equal(found[2], read(one, padding="left"))


def test_logits_come_from_the_last_device():
    one, other = (eager(test_edit.causal("qwen3", torch.float32)) for _ in range(2))
    with elsewhere.Elsewhere():
        found = read(elsewhere.spread(other, places(other)), ends=ENDS)
    assert equal(found, read(one, ends=ENDS))


@pytest.mark.parametrize("rows", ["last", "all"])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_edits_on_two_devices_are_those_of_one(name, rows):
    one, other = (eager(test_edit.causal(name, torch.float32)) for _ in range(2))
    with elsewhere.Elsewhere():
        assert same_edits(one, elsewhere.spread(other, places(other)), rows)


def test_control_columns_on_another_device_than_the_layer_would_be_seen(monkeypatch):
    net = eager(models.net("llama", torch.float32))
    monkeypatch.setattr(Batch, "on", lambda batch, device: batch)
    with elsewhere.Elsewhere(), pytest.raises(ModelError, match="is given tensors on lazy:0 and lazy:1"):
        read(elsewhere.spread(net, places(net)))


def test_on_one_device_a_batch_is_not_copied():
    batch = Batch.of(ROWS, EVERY, EVERY, 0, "right", "cpu")
    assert batch.on(torch.device("cpu")) is batch
    away = batch.on(torch.device("meta"))
    assert away is batch.on(torch.device("meta"))
    assert {t.device.type for t in (away.ids, away.columns, *away.queries, *away.keys, *away.slots)} == {"meta"}


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_run_says_what_its_model_was_spread_over(tmp_path, folder, plain, monkeypatch, capsys):
    given = ["--model", str(folder), "--task", "boxes", "--n", "3", "--n-test", "2", "--store", str(tmp_path)]
    assert main(["model", *given, "--run", "whole"]) == 0
    monkeypatch.setattr(placement.Placement, "__init__", narrow(room(plain, 0.7)))
    capsys.readouterr()
    assert main(["model", *given, "--run", "spread", "--device", "auto"]) == 0
    assert "meta device" not in capsys.readouterr().err
    one, other = map(qkstore.open(tmp_path).run, ("whole", "spread"))
    assert (one.settings["device"], other.settings["device"]) == ("cpu", "auto: cpu, disk")
    assert one.settings | {"device": None} == other.settings | {"device": None}
    assert one.weights_hash == other.weights_hash
    for layer in one.layers:
        assert one.queries(layer, 0).tobytes() == other.queries(layer, 0).tobytes()
        assert one.keys(layer, 1).tobytes() == other.keys(layer, 1).tobytes()


def narrow(memory: dict):
    """A machine with so little memory."""
    made = placement.Placement.__init__
    return lambda self, device, asked=None: made(self, device, memory)


def test_an_intervention_says_so_too(tmp_path):
    small = model.load(str(demo.MODEL), answers=True)
    spread = model.load(str(demo.MODEL), device="auto", answers=True, memory=room(small, 0.7))
    run = qkstore.Run(job.ingest(tmp_path, "r", small, boxes.build(60, "ent", 3, 30), task="boxes"))
    store, made = qkstore.open(tmp_path), []
    for each in (small, spread):
        features = {"order": store.feature(run, "order")}
        made.append(live.intervene(store, run, each, features, [(1, 0)], most=8).to_dict())
    assert [result["device"] for result in made] == ["cpu", "auto: cpu, disk"], "neither is taken for the other"
    assert made[0] | {"device": None} == made[1] | {"device": None}


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ({"": 0}, None),
        ({"": "cpu"}, None),
        ({"a": 0, "b": 1}, "auto: cuda x2"),
        ({"a": 0, "b": "cpu", "c": "disk"}, "auto: cuda x1, cpu, disk"),
        ({"": "disk"}, "auto: disk"),
    ],
)
def test_what_a_model_is_spread_over_is_told(there, told):
    net = torch.nn.Linear(1, 1)
    net.hf_device_map = there
    assert placement.spread(net) == told


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_without_accelerate_there_is_one_line(folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "accelerate" else find(name))
    with pytest.raises(ModelError, match=r"accelerate, which is not installed: pip install 'qkstore\[ingest\]'"):
        model.load(str(folder), device="auto")


def test_ranks_of_one_machine_do_not_all_take_its_gpus():
    environment = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    with pytest.raises(ModelError, match="torchrun started 2 ranks on this one: use --nproc-per-node 1"):
        ranks.device("auto", environment | {"LOCAL_WORLD_SIZE": "2"})
    assert ranks.device("auto", environment | {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}) == "auto"
    assert ranks.device("auto", {}) == "auto"


def test_a_model_that_is_split_by_heads_is_refused(plain, monkeypatch):
    monkeypatch.setattr(plain.net, "_tp_size", 2, raising=False)
    with pytest.raises(ModelError, match="tensor parallelism: every rank would read a part of the heads"):
        Capture(plain.net)


def test_toy_heads_are_not_spread(tmp_path, capsys):
    given = ["--store", str(tmp_path), "--d-head", "4", "--r1", "1", "--r2", "1", "--device", "auto"]
    assert main(["toy", *given]) == 2
    assert "no device 'auto'" in capsys.readouterr().err
