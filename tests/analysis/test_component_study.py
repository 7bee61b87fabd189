"""Names, extreme prompts and the study of a head: what is planted is named, what is dealt anew is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import stores
import synthetic

import qkstore
from qkstore import analysis
from qkstore.analysis.decomposition import UNNAMED, Scored, Study, kept_study, names, prompts, study, swaps
from qkstore.analysis.decomposition.claim import called
from qkstore.analysis.decomposition.labels import Label, labels, pairs
from qkstore.analysis.decomposition.study import told as made
from qkstore.errors import ContrastError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    synthetic.write(path, n=600)
    data = synthetic.synthetic(600)
    data.prompts = dealt(data.prompts, ["queried_order", "queried_entity", "answer"])
    data.tokens = dealt(data.tokens.with_columns(text=pl.lit("x")), ["order_id", "entity", "box"], role="box")
    synthetic.write(path, "dealt", data)
    return qkstore.open(path)


def dealt(frame: pl.DataFrame, columns: list[str], role: str | None = None) -> pl.DataFrame:
    """Labels of other rows: the same values as often, of rows that they say nothing of."""
    rng = np.random.default_rng(0)
    at = np.flatnonzero((frame["role"] == role).fill_null(False).to_numpy()) if role else np.arange(len(frame))
    order = np.arange(len(frame))
    order[at] = rng.permutation(at)
    return frame.with_columns(*(frame[c].gather(order) for c in columns))


@pytest.fixture(scope="module")
def order(store):
    return analysis.components(store.run("synthetic"), 1, 0)


@pytest.fixture(scope="module")
def told(store):
    return study(store.run("synthetic"), 1, 0)


# -- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_of_the_judged_queries_and_of_the_key_that_each_attends_to_most(store, order):
    run, scored = store.run("synthetic"), Scored.of_head(order)
    assert (scored.query == np.sort(order.judged.queries)).all()
    q = run.queries(1, 0, scored.query)
    assert np.allclose(scored.x, order.found.query_scores(q), atol=1e-5)
    for i in range(0, len(scored), 17):
        rows = np.flatnonzero(run.key_places[0] == scored.group[i])
        k = run.keys(1, 0, rows).astype(float)
        logit = synthetic.SCALING * k @ q[i]
        assert scored.key[i] == rows[logit.argmax()]
        assert scored.y[i] == pytest.approx(((k[logit.argmax()] - k.mean(axis=0)) @ order.found.b), abs=1e-6)
        lse = run.logsumexp(1, 0, scored.query[i : i + 1])[0]
        assert scored.attention[i] == pytest.approx(np.exp(logit.max() - lse), abs=1e-6)


# -- labels ----------------------------------------------------------------------------------------------------------


def test_labels_that_cannot_be_tried_are_told_with_the_reason(store, order):
    run, scored = store.run("synthetic"), Scored.of_head(order)
    query, left = labels(run, "q", scored.query, scored.group)
    assert [label.name for label in query] == ["queried_order", "queried_entity", "answer"]
    why = dict(left)
    assert why["q.role"] == why["q.token"] == "constant"
    assert why["q.entity"] == "no value"
    key, left = labels(run, "k", scored.key, scored.group)
    assert {"order_id", "entity"} <= {label.name for label in key}
    assert dict(left)["k.span"] == "the same as order_id"
    assert dict(left)["k.token"] == "the same as box"
    agreeing = {(q.name, k.name) for q, k, _ in pairs(query, key)}
    assert ("queried_order", "order_id") in agreeing
    assert ("queried_order", "entity") not in agreeing


def test_labels_all_different_say_nothing(store, order):
    run, scored = store.run("synthetic"), Scored.of_head(order)
    alone = np.arange(len(scored))
    found, left = labels(run, "q", scored.query, np.zeros(len(scored), int))
    assert not found
    assert dict(left)["q.queried_order"] == "all different, or nearly"
    assert labels(run, "q", scored.query, alone)[0]


def test_a_number_of_many_values_is_taken_in_tenths_and_codes_agree_over_types():
    tenths = Label.of(pl.Series("pos", np.arange(1000) * 0.5))
    assert (tenths.kind, tenths.n_values) == ("tenths", 10)
    assert (np.bincount(tenths.code) == 100).all()
    one, other = Label.of(pl.Series("a", [1, 2, 3, 1], pl.Int32)), Label.of(pl.Series("b", [3.0, 2.0, 1.0, 3.0]))
    ((_, _, trial),) = pairs([one], [other])
    assert (trial.query == np.array([0, 1, 2, 0])).all()
    assert (trial.key == np.array([2, 1, 0, 2])).all()
    assert one.refines(Label.of(pl.Series("c", [True, False, True, True])))
    assert not Label.of(pl.Series("c", [True, False, True, True])).refines(one)


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_head_that_reads_the_order_has_components_of_the_order(told):
    assert [row["name"] for row in told.rows] == ["order (queried_order = order_id)"] * 3
    for row in told.rows:
        assert (row["side"], row["label"], row["named"]) == ("agreement", "q.queried_order = k.order_id", True)
        assert row["explained"] > 0.6
        assert row["p"] <= 0.05
        assert row["query"]["label"] == "q.queried_order"
        assert {*row["high"], *row["low"]} <= {"1", "2", "3", "4"}


def test_labels_dealt_anew_name_nothing(store):
    """Of the head that reads the entity, which nothing else in a prompt tells; its place tells the order."""
    whole, found = (study(store.run(name), 1, 2) for name in ("synthetic", "dealt"))
    assert [row["rho"] for row in found.by_component] == pytest.approx([r["rho"] for r in whole.by_component])
    assert sum(row["named"] for row in whole.rows) >= 2
    assert all("entity" in row["name"] for row in whole.rows if row["named"])
    assert [row["name"] for row in found.rows] == [UNNAMED] * len(whole.rows)
    assert found.unnamed == found.rows
    assert f"{len(whole.rows)} that no label explains" in found.headline
    half = study(store.run("dealt"), 1, 0)
    assert {row["name"] for row in half.rows} <= {UNNAMED, "pos of the key"}


def test_names_do_not_hang_on_the_number_of_queries_in_a_prompt_or_on_chance(order):
    scored = Scored.of_head(order)
    again = names(scored, seed=1)
    assert [n.name for n in again.names] == [n.name for n in names(scored, seed=2).names]
    shuffled = replace(scored, x=scored.x[::-1], y=scored.y[::-1])
    assert all(not n.named for n in names(shuffled).names)


def test_two_labels_that_explain_as_much_make_a_mixed_component(order):
    scored, rng = Scored.of_head(order), np.random.default_rng(0)
    table = order.head.run.labels("q", ["queried_order", "queried_entity"], scored.query)
    place, word = (np.unique(np.array(c.to_pylist()), return_inverse=True)[1] for c in table.columns)
    both = (place - place.mean()) / place.std() + (word - word.mean()) / word.std()
    found = names(replace(scored, x=both[:, None], y=rng.standard_normal((len(both), 1)))).names[0]
    one = names(replace(scored, x=place[:, None] * 1.0, y=rng.standard_normal((len(both), 1)))).names[0]
    assert (found.mixed, found.name[:7]) == (True, "mixed: ")
    assert {"order", "entity"} <= {w.strip("0123456789. ") for w in found.name[7:].split(" and ")}
    assert (one.mixed, one.name) == (False, "queried_order of the query")


# -- prompts ---------------------------------------------------------------------------------------------------------


def test_extreme_prompts_are_those_of_the_extreme_scores_in_context(order):
    scored = Scored.of_head(order)
    found = prompts(scored, 1, most=3)
    score = np.sort(scored.x[:, 1])
    assert [e.score for e in found.high] == pytest.approx(score[::-1][:3])
    assert [e.score for e in found.low] == pytest.approx(score[:3])
    assert len({e.prompt_id for e in found.high}) == 3
    run = order.head.run
    for extreme in found.high:
        text = run.prompt(extreme.prompt_id)["text"]
        for token in (extreme.query, extreme.key):
            assert token.before + token.text + token.after in text
        assert extreme.key.text == run.labels("k", ["box"], np.array([extreme.key_row]))["box"][0].as_py()
        assert set(extreme.labels) == {"queried_order", "queried_entity", "answer"}
    ends = [{e.labels["queried_order"] for e in rows} for rows in (found.high, found.low)]
    assert ends[0].isdisjoint(ends[1]), "the component is of the order"
    tail = found.tokens["high"][0]
    assert (tail.text, tail.n, tail.everywhere) == ("box", tail.of, 1.0)
    assert json.loads(json.dumps(found.to_dict()))["component"] == 1


def test_a_component_that_is_not_there(order):
    with pytest.raises(ContrastError, match="layer 1 head 0 has no component 3; its components are 0 to 2"):
        prompts(Scored.of_head(order), 3)


# -- texts of both splits ---------------------------------------------------------------------------------------------


def test_a_text_of_both_splits_judges_nothing_and_is_told(store, told):
    path = store.path
    synthetic.write(path, "copies", stores.said_before(30))
    run = qkstore.open(path).run("copies")
    found = study(run, 1, 0)
    assert found.warning.startswith("30 of 75 prompts of the test split have the text of a prompt that components were")
    assert (found.n_built, found.n_judged) == (told.n_built, told.n_judged - 30)
    by_hand = study(run, 1, 0, where="q.variant = 'base' and not (q.split = 'test' and q.prompt_id < 510)")
    assert [row["rho"] for row in found.rows] == [row["rho"] for row in by_hand.rows]
    assert found.swaps == by_hand.swaps
    assert (told.warning, by_hand.warning) == ("", ""), "control: nothing is in both"


def test_where_all_texts_are_of_both_splits_they_stay_and_the_study_says_that_nothing_is_held_out(store, told):
    synthetic.write(store.path, "same", stores.said_before(75))
    found = study(qkstore.open(store.path).run("same"), 1, 0)
    assert found.warning.startswith("All 75 prompts of the test split have the text")
    assert "nothing is held out" in found.warning
    assert [row["rho"] for row in found.rows] == pytest.approx([row["rho"] for row in told.rows])


# -- the study -------------------------------------------------------------------------------------------------------


def test_a_study_goes_through_json(told):
    assert Study.from_dict(json.loads(json.dumps(told.to_dict()))) == told


def test_a_study_says_what_tells_features_from_chance(told):
    number, judged, named, swapped, claimed, left = told.sentences
    assert "3 components [3, 3] have a correlation above 0.5" in number
    assert "225 queries of the train split" in number
    assert judged.startswith("On 75 queries of the test split")
    assert "labels explain" in named
    assert "random dimensions to" in swapped
    assert "Clear are 3 of 3" in claimed
    assert left.startswith("Left out: ")
    for row in told.rows:
        low, high = row["gap_ci"]
        assert 0 < low < row["gap"] < high
    assert told.headline.endswith("3 components [3, 3], 3 clear of chance, all named by a label")


def test_a_name_of_chance_is_never_told_without_saying_so(store, told):
    """Head 3 of layer 1 is noise: its components have names, of the key alone."""
    noise = study(store.run("synthetic"), 1, 3)
    assert {row["name"] for row in noise.rows} == {"entity of the key"}
    assert noise.headline.endswith("], none clear of chance, all named by a label")
    for row in noise.rows:
        assert (row["clear"], row["matches"]) == (False, False)
        assert row["claim"].startswith("not told from chance: its correlation on the judged split may be ")
        assert called(row) == "entity of the key, not told from chance"
        assert noise.claims[row["component"]].short == "not told from chance"
    assert f"Clear are 0 of {len(noise.rows)}" in noise.naming
    assert noise.naming.endswith(
        f"Of the others {len(noise.rows)} have a name, as components of random weights have, too"
    )
    for row in told.rows:
        assert (row["clear"], row["matches"], row["claim"]) == (True, True, "clear"), "the control"
        assert called(row) == row["name"]
    assert "Of the others" not in told.naming


def test_clear_ones_stand_first_among_those_without_a_name(order):
    scored = Scored.of_head(order)
    unnamed = names(replace(scored, x=scored.x[::-1], y=scored.y[::-1]))
    weak = replace(order, rho_ci=order.rho_ci * np.array([[0], [1], [0]]))
    rows = made(weak, unnamed, swaps(order), "", None, 0).rows
    assert [(row["component"], row["clear"]) for row in rows] == [(1, True), (0, False), (2, False)]
    assert not any(row["named"] for row in rows)


def test_a_kept_study_is_that_of_the_head_and_is_not_computed_anew(store, told, monkeypatch):
    run, steps = store.run("synthetic"), []
    assert kept_study(store, run, 1, 0, progress=lambda *at: steps.append(at)) == told
    assert steps == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(analysis.decomposition.found, "of_head", None)
    assert kept_study(store, run, 1, 0) == told
    with pytest.raises(TypeError):
        kept_study(store, run, 1, 0, seed=1)


def test_a_head_without_components_has_a_study_of_none(store):
    found = study(store.run("synthetic"), 1, 0, n=0)
    assert found.rows == []
    assert found.swaps is None
    assert "no component" in found.not_swapped
    assert len(found.sentences) == 2
