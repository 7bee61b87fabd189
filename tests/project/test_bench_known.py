"""bench/models/known.py: planted heads are found by the textbook's score and by the built-in contrast, each its own."""

from __future__ import annotations

import importlib.util
import sys

import models
import numpy as np
import pytest
import synthetic
import torch
from conftest import ROOT
from planted import PLANTED, planted

import qkstore
from ingest import job, model
from ingest.prompts import Prompt
from qkstore.contrast.known import BY_NAME
from qkstore.text import head_name

torch.set_num_threads(1)


def load():
    spec = importlib.util.spec_from_file_location("bench_known", ROOT / "bench" / "models" / "known.py")
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


known = load()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted")
    synthetic.write(path, "planted", data=planted())
    return qkstore.open(path).run("planted")


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_head_is_first_of_its_type_both_ways(run, name):
    (row,) = [row for row in known.rows(run) if row.name == name]
    assert row.best(row.scores)[0] == (0, PLANTED[name])
    for measure, by in row.measured.items():
        assert row.best(by)[0] == (0, PLANTED[name]), measure
    assert row.scores[0, PLANTED[name]] > (0.5 if name == "same-token" else 0.9)  # self is a same token, too
    assert max(score for head, score in row.scores.items() if head != (0, PLANTED[name])) < 0.3  # the control


def test_the_attention_on_positive_keys_is_the_textbooks(run):
    """By another way: the stored log-sum-exps and the contrast's pairs, of queries that have keys of both signs."""
    for row in known.rows(run):
        for head, score in row.scores.items():
            assert row.measured["attention_positive"][head] == pytest.approx(score, abs=0.03)
        assert row.correlation("attention_positive") > 0.5


def test_the_softmax_is_the_models_own_attention(tmp_path):
    """Of a tiny model: what the textbook's score is made of is what transformers computes."""
    words = [f"w{i}" for i in range(9)]
    rng = np.random.default_rng(0)
    texts = [" ".join(words[i] for i in rng.integers(9, size=14)) for _ in range(4)]
    prompts = [Prompt(text, split="test" if i else "train") for i, text in enumerate(texts)]
    tokenizer, net = models.word_tokenizer(words), models.net("llama")
    net.set_attn_implementation("eager")
    with torch.no_grad():
        own = [net(torch.tensor([tokenizer(t)["input_ids"]]), output_attentions=True).attentions for t in texts]
    tiny = model.wrap(models.net("llama"), tokenizer, "tiny")
    job.ingest(tmp_path, "tiny", tiny, prompts, job.Options(positions="all"), task="mine")
    run = qkstore.open(tmp_path).run("tiny")
    found = known.textbook(run)
    for (layer, head), scores in found.items():
        before = np.concatenate([own[p][layer][0, head].diagonal(-1)[1:].numpy() for p in (1, 2, 3)])
        assert scores["previous-token"] == pytest.approx(before.mean(), abs=1e-5)
        two = np.concatenate([own[p][layer][0, head].diagonal(-2)[1:].numpy() for p in (1, 2, 3)])  # the control
        assert scores["previous-token"] != pytest.approx(two.mean(), abs=1e-5)


def test_the_command_prints_a_row_a_type_and_fails_where_the_two_disagree(run, monkeypatch, capsys):
    asked = ["--store", str(run.path.parent.parent), "--runs", "planted"]
    monkeypatch.setattr(known, "LEAST", 0.5)
    assert known.main(asked) == 0
    told = capsys.readouterr().out
    assert all(f"| planted | {name} | {head_name(0, head)}" in told for name, head in PLANTED.items())
    monkeypatch.setattr(known, "BY_NAME", dict.fromkeys(known.NAMES, BY_NAME["first-token"]))
    monkeypatch.setattr(known, "LEAST", 0.99)
    assert known.main(asked) == 1
