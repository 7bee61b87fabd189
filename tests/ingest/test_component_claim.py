"""The rule that tells components of the trained demo model from those of its weights shuffled, and of random ones.

Seeds here are among those that the rule's limits were set by; `python -m bench.discovery` judges it on others.
"""

from __future__ import annotations

import planted
import pytest
import synthetic
import torch

import qkstore
from bench.discovery import chance
from ingest import job
from ingest.prompts import boxes
from qkstore.analysis.decomposition.claim import called, claim, claims, sentence
from qkstore.analysis.decomposition.study import study

torch.set_num_threads(1)
ROW = {"component": 3, "name": "order of the key", "named": True, "rho_ci": [0.6, 0.8], "gap_ci": [0.1, 0.3]}
ROW |= {"agreement": {"explained": 0.8}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Layer 1 of the demo model, of its weights shuffled, and of random ones, which need more prompts to have any."""
    path = tmp_path_factory.mktemp("claim") / "store"
    for name, kind, seed, n, n_test in (
        ("trained", chance.TRAINED, 0, 700, 250),
        ("shuffled", chance.SHUFFLED, 5, 700, 250),
        ("random", chance.BEGUN, 0, 1500, 500),
    ):
        prompts = [p for p in boxes.build(n, "both", 0, n_test) if p.variant == "base"]
        job.ingest(path, name, chance.weights(kind, seed), prompts, chance.OPTIONS, task="boxes", seed=0)
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


def test_components_of_random_weights_have_names_and_none_is_clear(store):
    found = study(store.run("random"), 1, 0)
    assert len(found.rows) >= 3, "the control: random weights have components"
    assert sum(row["named"] for row in found.rows) >= 3, "with names"
    assert not any(row["clear"] or row["matches"] for row in found.rows)
    assert all(called(row).endswith(", not told from chance") for row in found.rows)
    assert "none clear of chance" in found.headline
    moved, at_random = found.condition("all"), found.condition(f"random {len(found.rows)}")
    assert moved["gap_gain"] > 0
    assert at_random["gap_gain"] > 0, "a swap of random dimensions moves the gap, too: it is what is beyond that counts"


def test_what_is_not_told_from_chance_need_not_be_chance(tmp_path):
    """A planted head that attends to its own token: of eleven dimensions one by itself moves little."""
    synthetic.write(tmp_path / "store", "planted", planted.planted(200))
    found = study(qkstore.open(tmp_path / "store").run("planted"), 0, planted.PLANTED["same-token"])
    assert len(found.rows) == planted.WORDS - 1
    assert all(row["matches"] and row["rho"] > 0.9 for row in found.rows)
    assert not any(row["clear"] for row in found.rows), "an open end of the rule, which docs/discovery.md tells"
    each = [found.condition(str(j))["gap_gain"] for j in range(len(found.rows))]
    assert found.condition("all")["gap_gain"] > 2 * max(each), "together they do"


def test_each_limit_is_asked_for():
    assert claim(ROW).told == "clear"
    assert claim(ROW).matches
    weak = claim(ROW | {"rho_ci": [0.5, 0.9]})
    assert not weak.clear
    assert weak.told == "not told from chance: " + weak.why
    assert weak.why == "its correlation on the judged split may be as low as 0.50, and 0.5 is asked for"
    still = claim(ROW | {"gap_ci": [0.01, 0.5]})
    assert still.why == (
        "its swap may move the logit gap by as little as 0.01 beyond random dimensions, and 0.02 is asked for"
    )
    assert "as little as −0.15" in claim(ROW | {"gap_ci": [-0.15, 0.5]}).why
    assert claim(ROW | {"gap_ci": None}).why == "it was not swapped"
    assert not claim(ROW | {"agreement": {"explained": 0.3}}).matches
    assert not claim(ROW | {"agreement": None}).matches
    assert claim(ROW | {"agreement": None}).clear, "one that no label explains may be clear: it is the find"


def test_the_sentence_counts():
    rows = [
        ROW,
        ROW | {"component": 4, "agreement": None, "named": False},
        ROW | {"component": 5, "gap_ci": [-1.0, 1.0]},
    ]
    assert sentence(rows).startswith("Clear are 2 of 3:")
    assert "; of 1 of them a label tells what is matched. Of the others 1 have a name" in sentence(rows)
    assert "matched" not in sentence(rows[2:]), "nothing is clear"
    assert sentence(rows[2:]).endswith("Of the others 1 have a name, as components of random weights have, too")


def test_what_stands_beside_a_name():
    assert claim(ROW).short == "clear"
    one_side = ROW | {"agreement": {"explained": 0.3}}
    assert claim(one_side).short == "clear, but no label tells what it matches"
    assert called(one_side) == "order of the key"
    still = ROW | {"gap_ci": [-1.0, 1.0]}
    assert claim(still).short == "not told from chance"
    assert called(still) == "order of the key, not told from chance"
