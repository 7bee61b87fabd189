"""Families and number types whose weights lie on disk in part give the vectors of a model in memory, to the bit.

Mixtures of experts are changed as they are loaded, and so written anew; a dynamic RoPE changes its factors as it runs.
"""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import torch
import transformers as tf

from ingest import model
from ingest.model.capture import Capture
from ingest.prompts import boxes
from qkstore.errors import ModelError

torch.set_num_threads(1)
BOXES = boxes.build(20, "ent", 0, 8)
ROWS = [models.ids(12), models.ids(7), models.ids(9)]
EVERY = [list(range(len(row))) for row in ROWS]
EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2)
FAMILIES = {
    "gpt2": models.CONFIGS["gpt2"],
    "gemma2": models.CONFIGS["gemma2"],
    "bert": models.CONFIGS["bert"],
    "gpt_oss": models.CONFIGS["gpt_oss"],
    "mixtral": lambda: tf.MixtralConfig(**models.GROUPED, **EXPERTS),
    "dynamic": lambda: tf.LlamaConfig(**models.GROUPED, rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
}


def saved(path: Path, config) -> Path:
    """A model folder of a configuration, with random weights."""
    torch.manual_seed(0)
    kind = tf.AutoModelForCausalLM if type(config) in tf.MODEL_FOR_CAUSAL_LM_MAPPING else tf.AutoModel
    kind.from_config(config).save_pretrained(path)
    models.word_tokenizer(models.words(BOXES)[:90]).save_pretrained(path)
    return path


def equal_on_disk(folder: Path, dtype: model.Dtype, share: float) -> bool:
    whole = model.load(str(folder), dtype, answers=None)
    size = sum(p.numel() * p.element_size() for p in whole.net.parameters())
    memory = {"cpu": int(share * size) + 1}
    spread = model.load(str(folder), dtype, device="auto", answers=None, memory=memory)
    assert "disk" in spread.device
    assert spread.dtype == whole.dtype == dtype
    ends = [3, 4, 5] if whole.answers else None
    one, other = (Capture(m.net)(ROWS, EVERY, EVERY, ends=ends) for m in (whole, spread))
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("q", "k", "logsumexp", *(["logits"] if ends else []))
    )


@pytest.mark.parametrize("share", [0.7, 0], ids=["half", "disk"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_on_disk_gives_the_same_vectors(tmp_path, name, share):
    assert equal_on_disk(saved(tmp_path, FAMILIES[name]()), "float32", share)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("family", ["llama", "qwen"])
def test_weights_of_16_bits_in_several_files_are_read_in_every_number_type(tmp_path, family, dtype):
    folder = models.download(tmp_path / "m", family, [p.text for p in BOXES], sharded=True)
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert equal_on_disk(folder, dtype, 0.7)


def test_a_family_that_cannot_be_spread_is_told(tmp_path):
    folder = saved(tmp_path, tf.AlbertConfig(**models.SIZES, embedding_size=16))
    with pytest.raises(ModelError, match="AlbertModel cannot be spread over cpu, disk: .* must stay whole"):
        model.load(str(folder), device="auto", memory={"cpu": 30_000})
    assert model.load(str(folder), device="auto").device == "cpu", "where it fits it need not be spread"
