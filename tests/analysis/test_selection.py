"""Selection of heads: chosen on train, judged on test, so that chance on the judged prompts chooses nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import stores
from synthetic import BOXES, SCALING, D, synthetic, write

import qkstore
from qkstore.analysis import heads
from qkstore.analysis.choice import Choice
from qkstore.analysis.heads import HeadScore, best, binding_heads, filter_heads, kept, selected
from qkstore.analysis.heads import heads as heads_heads
from qkstore.contrast import Contrast

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


def head(layer, number, accuracy=None, ratio=None, p=1e-9, attention=0.5, n=100, **more) -> HeadScore:
    """A head that was chosen by `accuracy` and `ratio`, both of that p-value."""
    made = HeadScore(
        layer, number, 0.5, (0.4, 0.6), 1.0, 0.5, 0.5, 1.0, None, None, 1, 100, "train", "test", (0.9, 1.1)
    )
    p_values = [None if value is None else p for value in (accuracy, ratio)]
    choice = Choice(accuracy, 0.11, p_values[0], ratio, p_values[1], attention, n, "train", "order")
    return dataclasses.replace(made, choice=choice, **more)


def at(scores) -> list[tuple[int, int]]:
    return [(s.layer, s.head) for s in scores]


def test_filter_heads_are_the_three_of_the_largest_ratio_on_train():
    scores = [head(0, i, ratio=r) for i, r in enumerate((0.2, 5.0, None, 3.0, 4.0, 0.9))]
    assert at(filter_heads(scores)) == [(0, 1), (0, 4), (0, 3)]
    assert at(filter_heads(scores, 1)) == [(0, 1)]
    assert at(filter_heads([dataclasses.replace(s, selectivity=9.0 - s.head) for s in scores])) == at(
        filter_heads(scores)
    ), "test figures do not choose"


def test_binding_heads_reach_thirty_percent_on_train():
    scores = [head(0, i, a) for i, a in enumerate((0.29, 0.3, None, 0.99, 0.5))]
    assert at(binding_heads(scores)) == [(0, 3), (0, 4), (0, 1)]
    assert at(binding_heads(scores, 0.6)) == [(0, 3)]
    assert at(binding_heads([dataclasses.replace(s, accuracy=1.0) for s in scores])) == at(binding_heads(scores))


def test_fewer_heads_than_are_asked_for_and_ties():
    assert at(filter_heads([head(0, 0, ratio=1.0)])) == [(0, 0)]
    assert filter_heads([]) == binding_heads([]) == []
    tied = [head(0, i, 0.5, 2.0) for i in range(5)]
    assert at(filter_heads(tied)) == [(0, 0), (0, 1), (0, 2)], "the first ones, in order"
    assert at(binding_heads(tied)) == [(0, i) for i in range(5)], "the first ones, in order"
    assert at(filter_heads([head(0, 0, ratio=0.0), head(0, 1, ratio=float("inf"))])) == [(0, 1), (0, 0)]


CHANCE = {  # {why a head is not selected, however large its figures on train: what is so of it}
    "its accuracy and ratio are within chance": {"p": 0.06},
    "they are clear of chance for one head, not for so many": {"p": 0.05 / 3},
    "it attends elsewhere": {"attention": 0.049},
    "it was looked at on too few prompts": {"n": 19},
}


@pytest.mark.parametrize("why", CHANCE)
def test_a_head_is_selected_where_chance_does_not_select_it(why):
    others = [head(1, i, 0.1, 0.1, p=1.0) for i in range(3)]
    assert selected([head(0, 0, 0.9, 9.0), *others]) == {(0, 0): "filter, binding"}, "the control"
    assert selected([head(0, 0, 0.9, 9.0, **CHANCE[why]), *others]) == {}


def test_a_head_says_what_its_choice_rested_on():
    told = head(0, 0, 0.456, 3.14159).choice.sentence
    assert told == (
        "by selectivity 3.14, accuracy 46 % (chance 11 %), 50 % of its attention on these keys; n = 100, train split"
    )
    assert Choice(split="train").sentence == "by its ΔC: no accuracy on the train split"
    assert head(0, 0, 0.0, 0.0).choice.sentence.startswith("by selectivity 0.00, accuracy 0 %"), (
        "nothing is not the same as none"
    )
    assert "no ratio" in head(0, 0, 0.5).choice.sentence


def test_selected_names_what_each_head_is():
    scores = [
        head(0, 0, 0.9, 9.0),
        head(0, 1, 0.1, 8.0),
        head(1, 0, 0.4, 7.0),
        head(1, 1, 0.4, 6.0),
        head(2, 0, 0.1, 1.0),
    ]
    assert selected(scores) == {
        (0, 0): "filter, binding",
        (0, 1): "filter",
        (1, 0): "filter, binding",
        (1, 1): "binding",
    }
    assert selected([head(0, 0)]) == {} == selected([])


def test_a_run_of_one_split_says_that_its_intervals_are_too_good():
    assert "too good" in heads.statement([head(0, 0, built_on="train", judged_on="train")])
    said = heads.statement([head(0, 0)])
    assert "all on the train split" in said
    assert "of the test split, which had no part in the choice" in said
    assert "30 %" in said


@pytest.mark.parametrize(
    ("chance", "rule"),
    [
        (None, "an accuracy of 30 % or more;"),
        (0.11, "an accuracy of 30 % or more (chance 11 %);"),
        (0.3, "an accuracy above the 30 % that chance gives;"),
        (0.5, "an accuracy above the 50 % that chance gives;"),
        (0.8, "an accuracy above the 80 % that chance gives;"),
    ],
)
def test_the_rule_of_binding_heads_asks_for_no_less_than_chance(chance, rule):
    one = head(0, 0, 0.9)
    said = heads.statement([dataclasses.replace(one, choice=dataclasses.replace(one.choice, chance=chance))])
    assert rule in said
    assert "clear of chance (p ≤ 0.05 over all 1 heads together" in said, "the rule that decides, whatever chance is"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "plain", synthetic(256))
    write(path, "noise", synthetic(240, n_layers=1, n_heads=40, n_kv_heads=40, seed=5))
    stores.write_lists(path)
    return qkstore.open(path)


def by_hand(data, layer, number, rows):
    """Two measures of a head, by hand.

    The share of queries whose largest logit is on the sought box, and mean attention on it over mean attention on the
    others.
    """
    place = data.prompts["queried_order"].to_numpy()[rows] - 1
    group = data.q.shape[1] // data.k.shape[1]
    keys = data.k[layer, number // group].reshape(-1, BOXES, D)[rows].astype(float)
    logit = np.einsum("nd,nbd->nb", data.q[layer, number, rows].astype(float), keys) * SCALING
    weight = np.exp(logit - data.logsumexp[layer, number, rows][:, None])
    on = weight[np.arange(len(rows)), place]
    return (logit.argmax(1) == place).mean(), on.mean() / (weight.sum(1) - on).mean()


def test_the_figures_of_both_splits_are_those_of_a_loop(store):
    data, n = synthetic(256), 192
    for s in heads_heads(store.run("plain"), ORDER, nulls=0):
        accuracy, ratio = by_hand(data, s.layer, s.head, np.arange(n))
        assert (s.choice.accuracy, s.choice.selectivity) == (pytest.approx(accuracy), pytest.approx(ratio))
        accuracy, ratio = by_hand(data, s.layer, s.head, np.arange(n, 256))
        assert (s.accuracy, s.selectivity) == (pytest.approx(accuracy), pytest.approx(ratio))
        assert s.selectivity_ci[0] < s.selectivity < s.selectivity_ci[1]


def test_the_planted_heads_are_selected(store):
    found = heads_heads(store.run("plain"), ORDER, nulls=0)
    planted = {(1, 0), (1, 1), (1, 2)}  # two read the order, one the entity that stands there
    assert set(at(binding_heads(found))) >= planted
    assert set(at(filter_heads(found))) == planted
    (category,) = store.feature(store.run("lists"), "category")
    assert at(filter_heads(heads_heads(store.run("lists"), category, nulls=0), 1)) == [(1, 1)]


def test_the_best_of_forty_noise_heads_are_ordinary_on_held_out_prompts(store):
    """Intervals of heads chosen on train cover chance.

    The control, heads chosen on the judged prompts, look better than they are.
    """
    scores = heads_heads(store.run("noise"), ORDER, nulls=0)
    chance = float(np.mean([s.selectivity for s in scores]))
    honest = sorted(scores, key=lambda s: -s.choice.selectivity)[:6]
    greedy = sorted(scores, key=lambda s: -s.selectivity)[:6]
    assert sum(s.selectivity_ci[0] <= chance <= s.selectivity_ci[1] for s in honest) >= 5
    gain = [np.mean([s.selectivity for s in some]) - chance for some in (honest, greedy)]
    assert abs(gain[0]) < gain[1] / 2
    assert np.mean([s.choice.selectivity for s in honest]) - chance > gain[1] / 2, (
        "on the prompts that chose them they look as good"
    )
    assert selected(scores) == {}


def test_the_interval_of_the_head_that_is_shown_where_none_is_selected_covers_chance(tmp_path):
    """Of 40 runs of 24 noise heads each; the control, the best on the judged prompts, does not."""
    covered, with_one = {"shown": 0, "best on test": 0}, 0
    for seed in range(40):
        write(tmp_path, f"noise-{seed}", synthetic(96, n_layers=1, n_heads=24, n_kv_heads=24, seed=100 + seed))
        scores = heads_heads(qkstore.open(tmp_path).run(f"noise-{seed}"), ORDER, nulls=0)
        with_one += len(selected(scores)) > 0
        chosen = {"shown": best(scores), "best on test": max(scores, key=lambda s: s.accuracy)}
        for how, s in chosen.items():
            covered[how] += s.accuracy_ci[0] <= s.chance <= s.accuracy_ci[1]
    assert with_one <= 6, "either rule selects a head of noise in one run of twenty at most, but for chance"
    assert covered["shown"] >= 35
    assert covered["best on test"] < 25


def test_binding_heads_are_chosen_on_base_prompts(tmp_path):
    """A head that finds the box of the one entity that `fixed` prompts ask for, and no other box, is not selected."""
    data = stores.boxes(480)
    asked = data.prompts["queried_order"].to_numpy() - 1
    fixed = data.prompts["variant"].to_numpy() == "fixed"
    axis = np.eye(D)[0] * 6
    data.q[0, 0, fixed] += axis
    data.k[0, 0, np.flatnonzero(fixed) * BOXES + asked[fixed]] += axis
    write(tmp_path, "boxes", data)
    store = qkstore.open(tmp_path)
    run = store.run("boxes")
    for name in ("order", "lexical"):
        (contrast,) = store.feature(run, name)
        scores = heads_heads(run, contrast, nulls=0)
        assert {s.choice.contrast for s in scores} == {"right-box"}
        assert set(at(binding_heads(scores))) == {(1, 0), (1, 1), (1, 2)}, "the planted ones"
        assert (best(scores).layer, best(scores).head) != (0, 0)
    on_fixed = Contrast(
        **(store.feature(run, "order")[0].to_dict() | {"where": store.feature(run, "order")[0].where + " "})
    )
    scores = heads_heads(run, on_fixed, nulls=0)
    assert (0, 0) in at(binding_heads(scores)), "the control: chosen on fixed prompts it is"


def test_a_score_survives_json_and_rows_of_before_are_not_read(store):
    run = store.run("plain")
    first = kept(store, run, ORDER, nulls=0)
    assert (
        [HeadScore.of(json.loads(json.dumps(s.to_dict()))) for s in first] == first == kept(store, run, ORDER, nulls=0)
    )
    older = {k: v for k, v in first[0].to_dict().items() if k not in ("selectivity_ci", "chance", "choice")}
    assert HeadScore.of(json.loads(json.dumps(older))).choice == Choice()


def test_the_cache_is_asked_by_the_code_that_scores(store, monkeypatch):
    """Rows that an older qkstore kept may lack fields; they are computed anew, not filled with nothing."""
    run, calls = store.run("plain"), []
    kept(store, run, ORDER, nulls=1)
    kept(store, run, ORDER, nulls=1, progress=lambda i, n: calls.append(i))
    assert not calls
    monkeypatch.setattr("qkstore.analysis.heads.parts.code_key", lambda: "another")
    kept(store, run, ORDER, nulls=1, progress=lambda i, n: calls.append(i))
    assert calls


def test_the_ranked_table_and_the_command_say_what_is_selected(store, monkeypatch, capsys):
    from qkstore.__main__ import main

    scores = heads_heads(store.run("plain"), ORDER, nulls=0)
    table = heads.table(scores)
    assert dict(zip(table.select("layer", "head").rows(), table["selected"])) == {
        (s.layer, s.head): selected(scores).get((s.layer, s.head), "") for s in scores
    }
    assert table.filter(pl.col("selectivity_low") > pl.col("selectivity")).is_empty()
    assert table["selectivity_high"].null_count() == 0
    asked = [
        "heads",
        "--store",
        str(store.path),
        "--run",
        "plain",
        "--positive",
        ORDER.positive,
        "--negative",
        ORDER.negative,
        "--where",
        ORDER.where,
    ]
    assert main([*asked, "--json", "--nulls", "0"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(r["layer"], r["head"]): r["selected"] for r in rows if r["selected"]} == selected(scores)
    assert all(len(r["selectivity_ci"]) == 2 and r["choice"]["accuracy"] is not None for r in rows)


def test_the_page_shows_what_is_selected_and_how(store, show):
    app = show(store.path, "heads", run="lists", contrast="category", layer=1, head=1)
    assert not app.exception
    assert not app.error
    texts = " ".join(h.proto.body for h in app.get("html"))
    assert "Filter heads are the top 3 by selectivity" in texts
    assert "by selectivity " in texts
    assert "95 % interval" in texts
    shown = app.dataframe[0].value
    assert "filter" in shown["selected"].iloc[0]
    assert {"selectivity_interval", "accuracy_interval"} <= set(shown.columns)
