"""The rule that tells components of the trained demo model from those of the same weights, shuffled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import qkstore
from ingest import demo, job, model
from ingest.prompts import boxes
from qkstore.analysis.decomposition.claim import claim, claims, sentence
from qkstore.analysis.decomposition.study import study

torch.set_num_threads(1)
ROW = {"component": 3, "rho_ci": [0.6, 0.8], "gap_ci": [0.1, 0.3], "agreement": {"explained": 0.8}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Layer 1 of the demo model, as trained and with the entries of each of its matrices shuffled."""
    path, trained = tmp_path_factory.mktemp("claim") / "store", model.load(str(demo.MODEL))
    torch.manual_seed(5)
    shuffled = model.load(str(demo.MODEL)).net
    with torch.no_grad():
        for p in shuffled.parameters():
            p.copy_(p.flatten()[torch.randperm(p.numel())].reshape(p.shape) if p.dim() > 1 else p)
    prompts = [p for p in boxes.build(700, "both", 0, 250) if p.variant == "base"]
    for name, net in (("trained", trained.net), ("shuffled", shuffled)):
        small = replace(trained, net=net, name=name)
        job.ingest(path, name, small, prompts, job.Options(layers=(1,), batch_size=128), task="boxes", seed=0)
    return qkstore.open(path)


def test_trained_components_are_clear_and_those_of_shuffled_weights_are_not(store):
    found = {name: study(store.run(name), 1, 0) for name in ("trained", "shuffled")}
    trained, shuffled = (list(claims(each.rows).values()) for each in found.values())
    assert len(trained) >= 12
    assert sum(one.clear for one in trained) >= 0.8 * len(trained)
    assert sum(one.matches for one in trained) >= 0.8 * len(trained)
    assert shuffled, "the control: shuffled weights have components too"
    assert not any(one.clear or one.matches for one in shuffled)
    assert all(row["named"] for row in found["shuffled"].rows), "and labels explain them, of one side"


def test_each_limit_is_asked_for():
    assert claim(ROW).told == "clear"
    assert claim(ROW).matches
    weak = claim(ROW | {"rho_ci": [0.5, 0.9]})
    assert not weak.clear
    assert weak.told == "not told from chance: its correlation on the judged split may be 0.50, at most 0.5"
    still = claim(ROW | {"gap_ci": [0.01, 0.5]})
    assert still.why == "its swap may move the logit gap by 0.01 beyond random ones, at most 0.02"
    assert claim(ROW | {"gap_ci": None}).why == "it was not swapped"
    assert not claim(ROW | {"agreement": {"explained": 0.3}}).matches
    assert not claim(ROW | {"agreement": None}).matches
    assert claim(ROW | {"agreement": None}).clear, "one that no label explains may be clear: it is the find"


def test_the_sentence_counts():
    rows = [ROW, ROW | {"component": 4, "agreement": None}, ROW | {"component": 5, "gap_ci": [-1.0, 1.0]}]
    assert sentence(rows).startswith("Clear of what random weights give are 2 of 3:")
    assert sentence(rows).endswith("of 1 of them a label tells what is matched")
