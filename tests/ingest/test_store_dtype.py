"""Vectors stored as 16-bit numbers: what an ingest writes then, and that it says so, resumes so and is refused else."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import synthetic
import torch

import qkstore
from ingest import batches, job, model
from ingest.__main__ import parser
from ingest.model.capture import Capture
from ingest.prompts import boxes
from ingest.prompts.corpus import Corpus
from qkstore.analysis import Head
from qkstore.contrast.builtin import contrasts
from qkstore.errors import QKStoreError, RunError
from qkstore.run import vectors

torch.set_num_threads(1)
BOXES = boxes.build(12, "ent", 0, 4)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> model.Model:
    return model.load(str(models.folder(tmp_path_factory.mktemp("model"), models.words(BOXES))))


def ingest(store: Path, small: model.Model, store_dtype: str, **more) -> qkstore.Run:
    options = job.Options(batch_size=5, store_dtype=store_dtype)
    return qkstore.Run(job.ingest(store, "a", small, BOXES, options, task="boxes ent", **more))


@pytest.fixture(scope="module")
def both(tmp_path_factory, small) -> tuple[qkstore.Run, qkstore.Run]:
    folder = tmp_path_factory.mktemp("stores")
    return ingest(folder / "float32", small, "float32"), ingest(folder / "int16", small, "int16")


def test_the_vectors_are_those_of_floats_rounded(both):
    plain, compact = both
    assert (compact.store_dtype, compact.settings["store_dtype"], compact.dtype) == ("int16", "int16", "float32")
    for layer in plain.layers:
        for head in range(plain.n_heads):
            for side in ("queries", "keys"):
                mine, theirs = (getattr(run, side)(layer, head) for run in (compact, plain))
                assert (np.abs(mine - theirs) <= 0.51 * np.abs(theirs).max(axis=1, keepdims=True) / 32767).all()


def stored(run: qkstore.Run, layer: int, head: int, logsumexp: np.ndarray) -> np.ndarray:
    """(n,) of each query the sum of exp(logit) over its stored keys, by plain NumPy, less its whole sum."""
    q, k = (v.astype(float) for v in (run.queries(layer, head), run.keys(layer, head)))
    (q_prompt, q_pos), (k_prompt, k_pos) = run.query_places, run.key_places
    seen = (q_prompt[:, None] == k_prompt) & (k_pos <= q_pos[:, None])
    return np.exp(logsumexp) - np.where(seen, np.exp(run.layers[layer].scaling * q @ k.T), 0).sum(axis=1)


def test_what_a_query_leaves_to_keys_that_are_not_stored_is_exact(both):
    plain, compact = both
    rows, off = np.arange(plain.n_queries), []
    for layer in plain.layers:
        for head in range(plain.n_heads):
            own, mine = (run.logsumexp(layer, head, rows) for run in both)
            left = stored(plain, layer, head, own)
            assert (left > 0).all()
            assert np.allclose(stored(compact, layer, head, mine), left, rtol=1e-9, atol=0)
            assert np.allclose(own, mine, atol=1e-3)
            off.append(np.abs(stored(compact, layer, head, own) / left - 1).max())
    assert max(off) > 1e-8, "beside the model's own log-sum-exp it would not be"


def test_logits_and_attention_are_within_what_rounding_can_do(both):
    """And 8-bit numbers are not."""
    plain = both[0]
    [contrast] = [c for c in contrasts(plain) if c.name == "lexical"]
    far = []
    for layer, head in ((i, h) for i in plain.layers for h in range(plain.n_heads)):
        exact, near = (Head(run, layer, head).read(contrast, "whole") for run in both)
        q, k, scaling = exact.q[exact.pairs.query], exact.k[exact.pairs.key], exact.head.facts.scaling
        bound, logits, own = vectors.logit_error(q, k, scaling), near.logits(), exact.logits()
        assert (np.abs(logits - own) <= bound).all()
        shares = near.attention(logits), exact.attention(own)
        assert np.nanmax(np.abs(np.log(shares[0] / shares[1]))) <= 2 * bound.max()
        coarse = [synthetic.rounded(v.astype(float), 127) for v in (q, k)]
        far.append(np.abs(scaling * np.einsum("nd,nd->n", *coarse) - own) > bound)
    assert np.mean(far) > 0.9


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
