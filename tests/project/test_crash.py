"""kill -9 during ingest, ten times: the store opens and shows no half run.

The resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import re
import subprocess
import sys

import models
import pytest
import torch
import transformers as tf
from conftest import ROOT

from ingest.prompts import boxes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alone")]


def test_ten_kills(tmp_path):
    words = re.findall(r"\w+|[^\w\s]", " ".join(p.text for p in boxes.build(200, "ent", 0, 100)))
    tokenizer = models.word_tokenizer(words)
    torch.manual_seed(0)
    config = tf.Qwen3Config(
        **models.GROUPED | dict(vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=256)
    )
    tf.Qwen3ForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    command = [sys.executable, ROOT / "bench" / "crash.py", tmp_path, tmp_path / "model", "--kills", "10"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 ingests killed" in done.stdout
    kept = [int(n) for n in re.findall(r"(\d+) batches kept", done.stdout)]
    assert kept == sorted(kept)  # what was done stayed
    assert kept[-1] > kept[0]  # the kills fell on an ingest at work
