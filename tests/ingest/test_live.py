"""Live interventions on the demo model.

They equal the closed form, are kept in the catalogue, and are told on the command line and the page.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

import qkstore
from ingest import __main__ as command
from ingest import demo, intervene, job, model
from ingest.model import live
from ingest.prompts import boxes, lists
from qkstore import analysis, intervention
from qkstore.analysis import live as kept
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, ModelError, QKStoreError, RunError

torch.set_num_threads(1)
MOST = 24
TOGETHER = [(1, 0), (1, 2)]


@pytest.fixture(scope="module")
def net():
    return model.load(str(demo.MODEL), answers=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path, small = tmp_path_factory.mktemp("live") / "store", replace(model.load(str(demo.MODEL)), name="demo")
    made = {kind: boxes.build(60, kind, 3, 30) for kind in boxes.QUESTIONS} | {"lists": lists.build(30, 3, 20)}
    for name, prompts in made.items():
        job.ingest(path, name, small, prompts, job.Options(batch_size=64), task="boxes", seed=3)
    return qkstore.open(path)


def features(store, run, *names):
    return {name: store.feature(run, name) for name in names}


def same(one, other) -> bool:
    """Whether two conditions are the same but for the last digits: V Vᵀ is multiplied out in one of them."""
    return one.name == other.name and all(
        np.isclose(getattr(one, mean), getattr(other, mean), rtol=1e-9) for mean in intervention.MEANS
    )


@pytest.fixture(scope="module")
def both(store, net):
    run = store.run("both")
    return live.intervene(store, run, net, features(store, run, "order", "lexical"), TOGETHER, most=MOST)


@pytest.mark.parametrize(("kind", "head"), [("ent", (1, 2)), ("ord", (1, 0)), ("both", (0, 1))])
def test_live_is_the_closed_form(store, net, kind, head):
    run = store.run(kind)
    named = {
        "mine": (
            Contrast(
                "mine",
                where="k.prompt_id = q.prompt_id and q.role = 'answer_slot' and k.role = 'box' and q.variant = 'base'",
                positive="k.order_id = q.queried_order",
                negative="k.order_id <> q.queried_order",
            ),
        )
    }
    found = live.intervene(store, run, net, named, [head], most=MOST)
    closed = analysis.intervene(run, named, *head, most=MOST)
    assert 0 <= found.gap <= 1e-5
    assert found.n == closed.n == MOST
    assert found.split == "test"
    for c, other in zip(found.conditions, closed.conditions, strict=True):
        mine = c.attention[live.name_of(head)]
        assert (c.name, c.bases, mine.rank, mine.n) == (other.name, other.bases, other.rank, other.n)
        for name in ("original_before", "target_before", "original_after", "target_after", "delta_p"):
            assert abs(getattr(mine, name) - getattr(other, name)) <= 1e-5
            assert np.allclose(mine.ci[name], other.ci[name], atol=1e-5)
        assert same(c.closed[live.name_of(head)], other)
    swapped = found.conditions[0].attention[live.name_of(head)]
    assert (
        head[0] == 0 or swapped.delta_p > 0.1
    )  # the control: an edit that did nothing would differ from the closed form by this much


def test_heads_together_are_each_as_alone_and_move_the_answers(both):
    assert [c.name for c in both.conditions] == [
        "order",
        "lexical",
        "order+lexical",
        "random of order's rank",
        "random of lexical's rank",
        "random",
    ]
    assert both.gap <= 1e-5
    assert both.heads == ["1:0", "1:2"]
    assert all(set(c.attention) == {"1:0", "1:2"} for c in both.conditions)
    swapped, random = both.conditions[2], both.conditions[5]
    assert random.bases == 10
    assert swapped.bases is None
    assert random.ranks == swapped.ranks
    assert swapped.answers.difference_after > random.answers.difference_after + 3
    assert random.answers.original_after > 0.9
    assert swapped.answers.original_after < random.answers.original_after
    assert swapped.answers.original_before == 1.0
    # layer 1 is the last
    assert swapped.downstream is None
    assert swapped.later == []


def test_a_lower_layer_shows_what_comes_after_it(store, net):
    run = store.run("ent")
    found = live.intervene(store, run, net, features(store, run, "order"), [(0, 0), (1, 3)], most=MOST)
    edited = found.conditions[0]
    assert [(r["layer"], r["head"]) for r in edited.later] == [(1, 0), (1, 1), (1, 2)], "edited heads are told apart"
    assert np.isclose(np.mean([r["target_after"] for r in edited.later]), edited.downstream.target_after)
    alone = analysis.intervene(run, features(store, run, "order"), 0, 0, most=MOST)
    assert found.gap <= 1e-5
    assert same(edited.closed["0:0"], alone.conditions[0])


def test_rows_all_of_the_last_layer_changes_no_answer_more_than_last_does(store, net, both):
    """Only the query's row of the last layer reaches its logits."""
    run = store.run("both")
    every = live.intervene(store, run, net, features(store, run, "order", "lexical"), TOGETHER, "all", most=MOST)
    assert every.key != both.key
    assert every.rows == "all"
    for a, b in zip(every.conditions, both.conditions, strict=True):
        assert np.isclose(a.answers.difference_after, b.answers.difference_after, atol=1e-4)


def test_noise_of_bfloat16_is_told_and_larger(store, both, capsys):
    coarse = model.load(str(demo.MODEL), "bfloat16", answers=True)
    run = store.run("both")
    found = live.intervene(store, run, coarse, features(store, run, "order", "lexical"), TOGETHER, most=8)
    assert 0 <= both.noise["attention"] < 1e-5 < found.noise["attention"]
    assert both.noise["difference"] < 1e-3 < found.noise["difference"]
    capsys.readouterr()
    intervene.warn(found)
    said = capsys.readouterr().err
    assert said.startswith("warning: in bfloat16 two equal passes differ by up to")
    assert said.count("\n") == 1
    intervene.warn(both)
    assert not capsys.readouterr().err


# -- answers that are not known -------------------------------------------------------------------------------------


def test_without_a_known_answer_its_columns_are_left_out_with_the_reason(store, net, capsys):
    run = store.run("lists")
    found = live.intervene(store, run, net, features(store, run, "category"), [(1, 0)], most=6)
    assert found.unanswered.endswith("has no answer")
    assert found.gap <= 1e-5
    assert all(c.answers is None for c in found.conditions)
    assert found.noise["difference"] is None
    intervene.tell(found)
    assert "answers are left out: prompt" in capsys.readouterr().out
    assert set(kept.table(found, "1:0")["answers_target"]) == {None}


def test_a_key_that_is_not_the_answer_leaves_the_answers_out(store, net):
    run = store.run("ent")
    entity = Contrast(
        "entity",
        where="k.prompt_id = q.prompt_id and q.role = 'answer_slot' and k.role = 'entity' and q.variant = 'base'",
        positive="k.order_id = q.queried_order",
        negative="k.order_id <> q.queried_order",
    )
    found = live.intervene(store, run, net, {"entity": (entity,)}, [(1, 0)], most=6)
    assert "its original key is" in found.unanswered
    assert "answer is" in found.unanswered


# -- in the catalogue --------------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_and_is_not_computed_twice(store, net, both, monkeypatch):
    run = store.run("both")
    named = features(store, run, "order", "lexical")
    assert kept.Live.of(json.loads(json.dumps(both.to_dict()))) == both
    monkeypatch.setattr(live, "_Work", None)
    again = live.intervene(store, run, net, named, [*TOGETHER, TOGETHER[0]], most=MOST)
    assert again == both
    with pytest.raises(TypeError):  # the control: another seed is another result
        live.intervene(store, run, net, named, TOGETHER, most=MOST, seed=1)


def test_results_of_a_run_are_found_newest_first_by_features_and_head(store, net, both):
    run = store.run("both")
    named = features(store, run, "order", "lexical")
    newer = live.intervene(store, run, net, named, [(1, 3)], most=6)
    found = kept.results(store, run, named)
    assert [r.created for r in found] == sorted((r.created for r in found), reverse=True)
    assert [r.key for r in kept.results(store, run, named, "1:3")] == [newer.key]
    backwards = dict(reversed(named.items()))
    assert both.key in [r.key for r in kept.results(store, run, backwards, "1:0")]
    assert kept.results(store, run, {"order": named["order"]}) == []
    assert kept.results(store, store.run("ord"), named) == []
    changed = {
        "order": named["order"],
        "lexical": (named["lexical"][0].replace(where="q.variant = 'base' and k.order_id = 1"),),
    }
    assert kept.results(store, run, changed) == [], "another contrast under the same name"


def test_every_choice_is_in_the_key(both):
    changes = dict(identity=["x"], weights_hash="x", features={"order": ["x"]}, heads=["1:1"], rows="all")
    changes |= dict(dtype="float64", device="cuda", most=1, seed=1, bases=11, code="x")
    keys = {both.key, *(replace(both, **{name: value}).key for name, value in changes.items())}
    assert len(keys) == len(changes) + 1
    assert replace(both, gap=1.0, n=3, created="now").key == both.key


def test_the_results_of_a_run_that_was_replaced_are_not_shown(store, both):
    class Other:
        name, identity = "both", ("both", "plan", "later")

    assert kept.results(store, Other()) == []
    assert kept.results(store, store.run("both"))


# -- mistakes ----------------------------------------------------------------------------------------------------


def test_a_model_of_other_weights_is_refused(store, net):
    run = store.run("ent")
    with pytest.raises(
        ModelError,
        match=r"run 'ent' was made with 'demo' of weights [0-9a-f]{12}, model '.*' has 000000000000: give --model",
    ):
        live.intervene(store, run, replace(net, weights_hash="0" * 64), features(store, run, "order"), TOGETHER)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--heads", "1:9"], "no head 9; its heads are 0 to 3"),
        (["--heads", "7:0"], "no layer 7; there are: 0, 1"),
        (["--layer", "7"], "no layer 7"),
        (["--heads", "one"], "write layer:head, such as 1:0,1:2"),
        (["--layer", "1", "--bases", "9"], "10 or more random subspaces, not 9"),
        (["--layer", "1", "--and", "order"], "--and order is the contrast itself"),
        (["--layer", "1", "--and", "lexicl"], "did you mean 'lexical'"),
        (["--layer", "1", "--run", "bth"], "did you mean 'both'"),
        (["--layer", "1", "--model", "./nowhere"], "there is no model folder ./nowhere"),
        (["--layer", "1", "--heads", "1:0"], "not allowed with"),
        (["--layer", "1", "--rows", "first"], "invalid choice: 'first'"),
        (["--layer", "1", "--most", "0"], "'0' is not a whole number from 1"),
        (["--layer", "1", "--model", str(ROOT / "tests")], "holds no model"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(store, capsys, options, says):
    words = [
        "intervene",
        "--store",
        str(store.path),
        "--run",
        "both",
        "--model",
        "demo",
        "--contrast",
        "order",
        *options,
    ]
    assert command.main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert says in error


def test_a_contrast_without_targets_is_one_line(store, net):
    run = store.run("ent")
    alone = Contrast(
        "alone",
        where="k.prompt_id = q.prompt_id and q.role = 'answer_slot' and k.role = 'answer_slot' and q.variant = 'base'",
        positive="q.queried_order < 5",
        negative="q.queried_order >= 5",
    )
    with pytest.raises(ContrastError, match="leaves no key to move attention to"):
        live.intervene(store, run, net, {"alone": (alone,)}, TOGETHER)


def test_a_head_that_is_not_there_is_refused_by_the_library_too(store, net):
    run = store.run("ent")
    with pytest.raises(RunError, match="no head 4"):
        live.intervene(store, run, net, features(store, run, "order"), [(1, 4)])
    with pytest.raises(QKStoreError, match="no head to edit"):
        live.intervene(store, run, net, features(store, run, "order"), [])


# -- on the command line and the page ----------------------------------------------------------------------------
