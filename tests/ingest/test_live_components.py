"""Components swapped in the running model: they equal their closed form, of one head and of several together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import qkstore
from ingest import __main__ as command
from ingest import demo, job, model
from ingest.model import live
from ingest.prompts import boxes
from qkstore import analysis
from qkstore.analysis import live as kept
from qkstore.analysis.decomposition import swaps
from qkstore.analysis.plans import ComponentGroups
from qkstore.errors import ContrastError

torch.set_num_threads(1)
MOST, AT, TOGETHER = 24, (1, 0), ((1, 0), (1, 2))
GROUP = "components 0,2"


@pytest.fixture(scope="module")
def net():
    return model.load(str(demo.MODEL), answers=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path, small = tmp_path_factory.mktemp("live") / "store", replace(model.load(str(demo.MODEL)), name="demo")
    job.ingest(path, "both", small, boxes.build(400, "both", 3, 60), job.Options(batch_size=64), task="boxes", seed=3)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def found(store):
    return {at: analysis.components(store.run("both"), *at) for at in TOGETHER}


@pytest.fixture(scope="module")
def alone(store, net, found):
    components = ComponentGroups({AT: found[AT]}, {GROUP: {AT: [0, 2]}})
    return live.intervene(store, store.run("both"), net, {}, [AT], most=MOST, components=components)


def test_live_is_the_closed_form(alone, found):
    closed = swaps(found[AT], {GROUP: [0, 2]}, most=MOST)
    assert (
        [c.name for c in alone.conditions[:3]]
        == [GROUP, "all", "all others"]
        == [c.name for c in closed.conditions[:3]]
    )
    assert 0 <= alone.gap <= 1e-5
    assert alone.n == closed.n == MOST
    by_rank = {c.rank: c for c in closed.conditions[3:]}
    for c, other in zip(alone.conditions, closed.conditions[:3], strict=False):
        assert_same(c.attention["1:0"], other)
    for c in alone.conditions[3:]:
        assert c.bases == 10
        assert_same(c.attention["1:0"], by_rank[c.ranks["1:0"]])
    assert (
        alone.conditions[1].attention["1:0"].delta_p > 0.5
    )  # the control: an edit that did nothing would be off by it


def assert_same(one, other):
    assert (one.rank, one.n) == (other.rank, other.n)
    for name in ("original_before", "target_before", "original_after", "target_after"):
        assert abs(getattr(one, name) - getattr(other, name)) <= 1e-5


def test_all_components_move_the_answer_and_everything_else_does_not(alone):
    _, everything, rest = alone.conditions[:3]
    at_random = alone.conditions[4]
    assert alone.unanswered is None
    assert at_random.ranks == everything.ranks
    assert (
        everything.answers.difference_after > at_random.answers.difference_after > everything.answers.difference_before
    )
    assert rest.answers.difference_after < at_random.answers.difference_after
    assert everything.attention["1:0"].beyond["gap_gain"][1] > 0 > rest.attention["1:0"].beyond["gap_gain"][2]


def test_heads_together_are_each_as_alone(store, net, found, alone):
    run, components = store.run("both"), ComponentGroups(found, {GROUP: {(1, 0): [0, 2], (1, 2): [1]}})
    both = live.intervene(store, run, net, {}, TOGETHER, most=MOST, components=components)
    assert both.gap <= 1e-5
    assert both.conditions[0].ranks == {"1:0": 2, "1:2": 1}
    assert both.components["all"]["1:2"] == list(range(len(found[1, 2])))
    together, single = (found.conditions[1].answers for found in (both, alone))
    assert together.difference_after > single.difference_after, "two heads swapped say more than one"


def test_with_contrasts_all_conditions_move_the_same_keys(store, net, found):
    run = store.run("both")
    named, parts = {"lexical": store.feature(run, "lexical")}, ComponentGroups({AT: found[AT]}, {})
    both = live.intervene(store, run, net, named, [AT], most=MOST, components=parts)
    assert [c.name for c in both.conditions] == [
        "lexical",
        "all",
        "all others",
        "random",
        "random, as many as all",
        "random, as many as all others",
    ]
    alone = analysis.intervene(run, named, *AT, most=MOST)
    assert_same(both.conditions[0].attention["1:0"], alone.conditions[0])
    assert len({c.attention["1:0"].target_before for c in both.conditions}) == 1
    assert both.gap <= 1e-5
    assert kept.results(store, run, named) == [], "a page of the contrast alone does not show them"
    assert both.key in [r.key for r in kept.results(store, run)]


def test_a_result_comes_back_and_is_told_from_that_of_another_group(store, net, found, alone, monkeypatch):
    assert kept.Live.of(json.loads(json.dumps(alone.to_dict()))) == alone
    monkeypatch.setattr(live, "_Work", None)
    same = ComponentGroups({AT: found[AT]}, {GROUP: {AT: [0, 2]}})
    assert live.intervene(store, store.run("both"), net, {}, [AT], most=MOST, components=same) == alone
    with pytest.raises(TypeError):  # the control: it would be computed
        other = ComponentGroups({AT: found[AT]}, {GROUP: {AT: [0, 1]}})
        live.intervene(store, store.run("both"), net, {}, [AT], most=MOST, components=other)


def test_the_command_prints_the_closed_form_beside_it(store, capsys):
    words = ["intervene", "--store", str(store.path), "--run", "both", "--model", "demo", "--heads", "1:0"]
    assert command.main([*words, "--components", "0,2", "--most", str(MOST), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["components"][GROUP] == {"1:0": [0, 2]}
    everything = said["conditions"][1]
    assert np.isclose(
        everything["attention"]["1:0"]["target_after"], everything["closed"]["1:0"]["target_after"], atol=1e-5
    )
    assert command.main([*words, "--components", "0,2", "--most", str(MOST)]) == 0
    assert "largest |live − closed form| in layer 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--heads", "0:0", "--components"], "queries of this head are all the same, so they choose nothing"),
        (["--heads", "1:0", "--components", "0,99"], "no component 99; this head has 0 to"),
        (["--heads", "1:0", "--components", "0;2"], "components '0;2': write numbers, such as 0,3,5, or 1:0=0,3,5"),
        (["--heads", "1:0", "--components", "2,2"], "components '2,2': write numbers"),
        (["--heads", "1:0,1:2", "--components", "0"], "components '0' of which head? Of several write 1:0=0,3,5 1:2=1"),
        (["--heads", "1:0,1:2", "--components", "1:0=0"], "head 1:2 has none; name components of every head that is"),
        (["--heads", "1:0", "--components", "1:3=0"], "head 1:0 has none"),
        (["--components"], "no head to edit; choose --heads 1:0,1:2 or --layer 1"),
        (["--heads", "1:0"], "nothing to swap: name a --contrast, or swap the heads' --components"),
        (["--heads", "1:0", "--and", "order", "--components"], "--and order without --contrast"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(store, capsys, options, says):
    words = ["intervene", "--store", str(store.path), "--run", "both", "--model", "demo", *options]
    assert command.main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert says in error


def test_other_weights_and_a_head_without_components_are_refused(store, net, found):
    run, parts = store.run("both"), ComponentGroups({AT: found[AT]}, {})
    other = replace(net, weights_hash="0" * 64)
    with pytest.raises(Exception, match="model '.*' has 000000000000: give --model the one the run was made with"):
        live.intervene(store, run, other, {}, [AT], components=parts)
    none = ComponentGroups({AT: analysis.components(run, *AT, n=0)}, {})
    with pytest.raises(
        ContrastError, match="layer 1 head 0 has no component above chance, so there is nothing to swap"
    ):
        none.plans(10, 0)
