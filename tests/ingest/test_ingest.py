"""An ingest from end to end: prompts through a real, tiny model into a run of a store.

It is interrupted, resumed and refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import models
import numpy as np
import pytest
import torch

import qkstore
from ingest import batches, job, model
from ingest.job import Options, record
from ingest.model.capture import Capture
from ingest.prompts import Prompt, Span, boxes, lists
from ingest.prompts.corpus import Corpus
from qkstore.errors import PromptError, RunError
from qkstore.run.incoming import Incoming

torch.set_num_threads(1)
BOXES = boxes.build(12, "ent", 0, 4)
WORDS = models.words(boxes.build(300, "both", 0, 300), BOXES, lists.build(300, 0, 300))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return models.folder(tmp_path_factory.mktemp("model"), WORDS)


@pytest.fixture(scope="module")
def small(folder) -> model.Model:
    return model.load(str(folder))


def vectors(path: Path) -> dict[str, np.ndarray]:
    """Every vector and log-sum-exp of a run file, by table, in order."""
    run = qkstore.open(path.parent.parent).run(path.stem)
    tables = {"query_vector": "head", "key_vector": "kv_head", "row_stat": "head"}
    return {
        t: np.array(
            run.table(f"SELECT {'logsumexp' if t == 'row_stat' else 'v'} AS x FROM {t} ORDER BY layer, {h}, row")
            .column("x")
            .to_pylist()
        )
        for t, h in tables.items()
    }


def same(a: Path, b: Path) -> bool:
    left, right = vectors(a), vectors(b)
    return all(left[t].shape == right[t].shape and left[t].tobytes() == right[t].tobytes() for t in left)


# -- what a run holds ------------------------------------------------------------------------------------------------


def test_a_runs_vectors_are_the_captured_ones_row_by_row(tmp_path, small):
    path = job.ingest(tmp_path, "a", small, BOXES, Options(batch_size=5), task="boxes ent")
    run = qkstore.open(tmp_path).run("a")
    for prompt_id in (0, 7, len(BOXES) - 1):
        corpus = Corpus(small.tokenizer, [replace(BOXES[prompt_id], counterfactual_of=None)])
        alone = Capture(small.net)([corpus.tokens[0].ids], corpus.queries, corpus.keys)
        for side, table, head, rows in (
            ("q", "query_vector", "head", "query_row"),
            ("k", "key_vector", "kv_head", "key_row"),
        ):
            sql = (
                f"SELECT v FROM {table} JOIN {side} ON row = {rows} WHERE prompt_id = $p AND layer = 1 "
                f"AND {head} = 1 ORDER BY pos"
            )
            stored = np.array(run.table(sql, {"p": prompt_id}).column("v").to_pylist())
            assert np.allclose(stored, getattr(alone, side)[1, 1].numpy(), atol=1e-5)
    assert path == tmp_path / "runs" / "a.duckdb"
    assert not (tmp_path / "runs" / ".incoming" / "a").exists()


def test_a_runs_labels_are_the_prompts(tmp_path, small):
    job.ingest(tmp_path, "a", small, BOXES, task="boxes ent", template="The {entity} …", seed=3)
    run = qkstore.open(tmp_path).run("a")
    for i, prompt in enumerate(BOXES):
        sql = (
            "SELECT token, box, entity, order_id, is_answer, span_last, queried_entity, split FROM k "
            "WHERE prompt_id = $p AND role = 'box' ORDER BY pos"
        )
        rows = run.table(sql, {"p": i}).to_pylist()
        spans = [s for s in prompt.spans if s.role == "box"]
        assert [r["token"] for r in rows] == [prompt.text[s.start : s.end] for s in spans]
        for row, span in zip(rows, spans, strict=True):
            assert {n: row[n] for n in span.labels} == span.labels
            assert row["span_last"]
            assert row["queried_entity"] == prompt.labels["queried_entity"]
            assert row["split"] == prompt.split
    partner = run.table(
        "SELECT a.id, b.id AS other FROM prompt a JOIN prompt b ON a.counterfactual_id = b.prompt_id"
    ).to_pylist()
    there = {p.id: p.counterfactual_of for p in BOXES if p.counterfactual_of}
    assert {r["id"]: r["other"] for r in partner} == there | {original: copy for copy, original in there.items()}
    assert run.table("SELECT count(*) AS n FROM q WHERE role = 'answer_slot' AND token = 'box'").to_pylist() == [
        {"n": len(BOXES)}
    ]
    assert (run.model, run.architecture, run.task, run.seed, run.bos) == (
        small.name,
        "Qwen3ForCausalLM",
        "boxes ent",
        3,
        "none",
    )
    assert (run.n_layers, run.n_heads, run.n_kv_heads, run.d_head, run.dtype) == (2, 4, 2, 16, "float32")
    assert run.weights_hash == small.weights_hash
    assert run.revision is None


def test_every_position_can_be_stored(tmp_path, small):
    job.ingest(tmp_path, "all", small, BOXES[:3], Options(positions="all"), task="boxes")
    run = qkstore.open(tmp_path).run("all")
    counts = run.table(
        "SELECT (SELECT count(*) FROM token) AS t, (SELECT count(*) FROM q) AS q, (SELECT count(*) FROM k) AS k"
    ).to_pylist()[0]
    assert (
        counts["t"] == counts["q"] == counts["k"] == sum(len(small.tokenizer(p.text)["input_ids"]) for p in BOXES[:3])
    )


def test_log_sum_exp_of_a_run_gives_attention_that_sums_to_one(tmp_path, small):
    job.ingest(tmp_path, "all", small, BOXES[:2], Options(positions="all"), task="boxes")
    run = qkstore.open(tmp_path).run("all")
    layer = run.layers[0]
    n = run.table("SELECT count(*) AS n FROM token WHERE prompt_id = 0").to_pylist()[0]["n"]
    rows = np.arange(n)
    logits = layer.scaling * run.queries(0, 3, rows) @ run.keys(0, 3, rows).T
    weights = np.where(layer.visible(rows[:, None], rows), np.exp(logits - run.logsumexp(0, 3, rows)[:, None]), 0)
    assert np.allclose(weights.sum(1), 1, atol=1e-5)


def test_the_last_token_is_the_answer_slot_where_none_is_labelled(small):
    prompts = [
        Prompt("The jam is in box", (Span(4, 7, "item"),)),
        Prompt("The jam is in box", (Span(4, 7, "answer_slot"),)),
    ]
    corpus = Corpus(small.tokenizer, prompts)
    assert corpus.queries == [[4], [1]]
    assert corpus.keys == [[1, 4], [1]]
    assert corpus.token_frame()["span_last"].to_list() == [
        False,
        True,
        False,
        False,
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    taken = [Prompt("The jam", (Span(4, 7, "item"),))]
    with pytest.raises(PromptError, match="prompt 0: its last token has the role 'item' and none is the 'answer_slot'"):
        Corpus(small.tokenizer, taken)
    assert Corpus(small.tokenizer, taken, query_roles=("item",)).queries == [[1]]


def test_a_word_of_several_tokens_carries_its_labels_on_each():
    text = "the skyscraper, then"
    corpus = Corpus(
        models.byte_tokenizer([text], vocab_size=260), [Prompt(text, (Span(4, 14, "item", {"kind": "house"}),))]
    )
    frame = corpus.token_frame()
    mine = frame.filter(frame["role"] == "item")
    assert len(mine) > 3
    assert set(mine["kind"]) == {"house"}
    assert mine["span_last"].to_list() == [False] * (len(mine) - 1) + [True]
    assert "".join(mine["text"]).strip() == "skyscraper"


def test_a_models_hash_is_of_its_weights(small, folder, tmp_path):
    other = model.wrap(small.net, small.tokenizer, "memory")
    with torch.no_grad():
        changed = model.wrap(small.net.double(), small.tokenizer, "memory")
    small.net.float()
    assert other.weights_hash != changed.weights_hash
    assert (
        model.load(str(folder)).weights_hash == small.weights_hash == model.load(str(folder), "bfloat16").weights_hash
    )


# -- batches, interruption, resuming ---------------------------------------------------------------------------------


def test_batches_are_of_like_length_and_bounded(small):
    corpus = Corpus(small.tokenizer, [Prompt("jam " * n) for n in (5, 1, 4, 2, 3, 5, 1)])
    made = batches.of(corpus, 2, 10**9, 1)
    assert [[len(corpus.tokens[p]) for p in b] for b in made] == [[1, 1], [2, 3], [4, 5], [5]]
    assert [[len(corpus.tokens[p]) for p in b] for b in batches.of(corpus, 9, 7, 1)] == [
        [1, 1, 2],
        [3],
        [4],
        [5],
        [5],
    ]
    assert sorted(p for b in made for p in b) == list(range(7))


class Stop(Exception):
    pass


def stop_after(batches: int):
    def progress(stage, done, total, now=""):
        if stage == "capture" and done == batches:
            raise Stop

    return progress


def test_a_resumed_run_equals_an_uninterrupted_one_and_repeats_no_batch(tmp_path, small):
    whole = job.ingest(tmp_path / "whole", "a", small, BOXES, Options(batch_size=6), task="boxes")
    passes = []
    hook = small.net.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        Capture(small.net).forward.settle([tokens.ids for tokens in Corpus(small.tokenizer, BOXES).tokens])
        a_start = len(passes)
        passes.clear()
        for batches in (2, 5):
            with pytest.raises(Stop):
                job.ingest(
                    tmp_path, "a", small, BOXES, Options(batch_size=6), task="boxes", progress=stop_after(batches)
                )
            assert qkstore.open(tmp_path).runs() == [], "no half run is visible"
        resumed = job.ingest(tmp_path, "a", small, BOXES, Options(batch_size=6), task="boxes")
    finally:
        hook.remove()
    assert len(passes) == 3 * a_start + -(-len(BOXES) // 6), "what a start checks, and each batch once"
    assert same(whole, resumed)


def test_control_one_bit_of_one_batch_would_be_seen(tmp_path, small, monkeypatch):
    """So that equal bytes above mean that every batch is as it was; those of other batch sizes are the processor's."""
    a = job.ingest(tmp_path / "a", "a", small, BOXES, Options(batch_size=6), task="boxes")
    b = job.ingest(tmp_path / "b", "a", small, BOXES, Options(batch_size=1), task="boxes")
    assert all(np.allclose(x, y, atol=1e-5) for x, y in zip(vectors(a).values(), vectors(b).values(), strict=True))
    put = Incoming.put

    def nudged(incoming, batch, query_rows, key_rows, q, k, logsumexp, **more):
        if batch == 2:
            q[0, 0, 0, 0] = np.nextafter(q[0, 0, 0, 0], np.float32(np.inf))
        put(incoming, batch, query_rows, key_rows, q, k, logsumexp, **more)

    monkeypatch.setattr(Incoming, "put", nudged)
    c = job.ingest(tmp_path / "c", "a", small, BOXES, Options(batch_size=6), task="boxes")
    assert not same(a, c)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(prompts=BOXES[:-1]), "prompts"),
        (dict(options=Options(batch_size=7)), "batch_size 6 → 7"),
        (dict(options=Options((0,), batch_size=6)), "layers 0-1 → 0"),
    ],
)
def test_an_ingest_is_not_resumed_differently(tmp_path, small, change, says):
    with pytest.raises(Stop):
        job.ingest(tmp_path, "a", small, BOXES, Options(batch_size=6), task="boxes", progress=stop_after(2))
    how = dict(prompts=BOXES, options=Options(batch_size=6)) | change
    with pytest.raises(RunError, match=f"begun differently.*{says}"):
        job.ingest(tmp_path, "a", small, how["prompts"], how["options"], task="boxes")


@pytest.mark.parametrize(("began", "says"), [("0.1.0 0a0a0a0a0a0a", "0.1.0 0a0a0a0a0a0a"), (None, "None")])
def test_an_ingest_that_other_code_began_is_not_resumed(tmp_path, small, monkeypatch, began, says):
    """None: code from before plans named theirs."""
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(record, "code_version", lambda: began)
        job.ingest(tmp_path, "a", small, BOXES, Options(batch_size=6), task="boxes", progress=stop_after(2))
    with pytest.raises(
        RunError, match=f"begun differently \\(code {says} → {job.code_version()}\\); repeat it as begun"
    ):
        job.ingest(tmp_path, "a", small, BOXES, Options(batch_size=6), task="boxes")


def test_a_run_is_made_once(tmp_path, small):
    path = job.ingest(tmp_path, "a", small, BOXES[:2], task="boxes")
    before = path.read_bytes()
    with pytest.raises(RunError, match=f"run 'a' is in the store already.*`qkstore remove --store {tmp_path} --run a`"):
        job.ingest(tmp_path, "a", small, BOXES[:2], task="boxes")
    assert path.read_bytes() == before


# -- what is refused -------------------------------------------------------------------------------------------------
