"""Vectors stored as 16-bit numbers: what an ingest writes then, and that it says so, resumes so and is refused else."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch

import qkstore
from ingest import batches, job, model
from ingest.__main__ import parser
from ingest.model.capture import Capture
from ingest.prompts import boxes
from ingest.prompts.corpus import Corpus
from qkstore.errors import QKStoreError, RunError

torch.set_num_threads(1)
BOXES = boxes.build(12, "ent", 0, 4)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> model.Model:
    return model.load(str(models.folder(tmp_path_factory.mktemp("model"), models.words(BOXES))))


def ingest(store: Path, small: model.Model, store_dtype: str, **more) -> qkstore.Run:
    options = job.Options(batch_size=5, store_dtype=store_dtype)
    return qkstore.Run(job.ingest(store, "a", small, BOXES, options, task="boxes ent", **more))


def test_the_vectors_are_those_of_floats_rounded_and_the_log_sum_exps_the_same(tmp_path, small):
    plain, compact = (ingest(tmp_path / kind, small, kind) for kind in ("float32", "int16"))
    assert (compact.store_dtype, compact.settings["store_dtype"], compact.dtype) == ("int16", "int16", "float32")
    rows = np.arange(plain.n_queries)
    for layer in plain.layers:
        for head in range(plain.n_heads):
            for side in ("queries", "keys"):
                mine, theirs = (getattr(run, side)(layer, head) for run in (compact, plain))
                assert (np.abs(mine - theirs) <= 0.51 * np.abs(theirs).max(axis=1, keepdims=True) / 32767).all()
            assert np.array_equal(compact.logsumexp(layer, head, rows), plain.logsumexp(layer, head, rows))


class Stop(Exception):
    pass


def stop(stage: str, done: int, total: int, now: str = "") -> None:
    if (stage, done) == ("capture", 2):
        raise Stop


def test_an_ingest_begun_with_floats_does_not_go_on_with_16_bits(tmp_path, small):
    with pytest.raises(Stop):
        ingest(tmp_path, small, "float32", progress=stop)
    with pytest.raises(RunError, match="begun differently .*store_dtype float32 → int16"):
        ingest(tmp_path, small, "int16")
    assert ingest(tmp_path, small, "float32").store_dtype == "float32"


def test_a_store_dtype_that_there_is_not_is_refused_before_anything_is_made(tmp_path, small):
    with pytest.raises(RunError, match="no store dtype 'int8'; did you mean 'int16'"):
        ingest(tmp_path, small, "int8")
    assert not list(tmp_path.rglob("*.npy"))


def test_its_size_is_foretold(small):
    corpus, capture = Corpus(small.tokenizer, BOXES), Capture(small.net)
    layer, n, m = capture.layers[0], sum(map(len, corpus.queries)), sum(map(len, corpus.keys))
    for kind, a_vector in (("float32", 4 * layer.d_head), ("int16", 2 * layer.d_head + 4)):
        vectors = (n * layer.n_heads + m * layer.n_kv_heads) * a_vector
        assert batches.run_bytes(corpus, capture, kind) == len(capture.layers) * (vectors + 8 * n * layer.n_heads)


@pytest.mark.parametrize(
    "command", [["model", "--run", "a", "--model", "x", "--task", "boxes"], ["paper", "--model", "demo"]]
)
def test_the_commands_take_it(command):
    assert parser().parse_args(command).store_dtype == "float32"
    assert parser().parse_args([*command, "--store-dtype", "int16"]).store_dtype == "int16"
    with pytest.raises(QKStoreError, match="invalid choice: 'int8'"):
        parser().parse_args([*command, "--store-dtype", "int8"])
