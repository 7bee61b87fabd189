"""Discovery finds what was planted where it was planted, tells labels that come together apart, and else nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import stores
from synthetic import publish

import qkstore
from qkstore.analysis import Head, Rows, discovery
from qkstore.analysis.discovery.prepared import prepared
from qkstore.analysis.discovery.sweep import Sweep
from qkstore.analysis.discovery.tail import p_norm
from qkstore.analysis.heads import heads
from qkstore.contrast import pairs
from qkstore.errors import ContrastError
from qkstore.interval import p_above
from qkstore.pool import opened


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = stores.write(tmp_path_factory.mktemp("found") / "store", n=600)
    return qkstore.open(stores.write_lists(path))


@pytest.fixture(scope="module")
def run(store):
    return store.run("boxes")


@pytest.fixture(scope="module")
def found(run):
    return discovery.discover(run)


def places(of: discovery.Discovery) -> set[tuple[int, int, str]]:
    return {(f.layer, f.head, of.match(f).words) for f in of.found()}


def made(tmp_path, change) -> qkstore.Run:
    data = stores.boxes(600)
    change(data)
    publish(tmp_path, "changed", data)
    return qkstore.open(tmp_path).run("changed")


def test_what_is_planted_is_found_where_it_is_planted(found):
    order = "k.order_id = q.queried_order"
    assert places(found) == {(1, 0, order), (1, 1, order)}
    assert all(f.beyond[1] > 0 and f.accuracy > 2 * f.chance for f in found.found())


def test_workers_find_the_same(run, found):
    told = []
    with opened(2) as pool:
        shared = discovery.discover(run, progress=lambda *at: told.append(at), pool=pool)
    assert shared == found
    assert [at for at in told if at[0] == "heads"] == [("heads", n, 8) for n in (4, 8)]


def test_a_category_is_found(store):
    assert places(discovery.discover(store.run("lists"))) == {(1, 1, "k.category = q.queried_category")}


def test_nothing_is_found_of_queries_that_were_dealt_among_prompts(tmp_path):
    def dealt(data):
        data.q = data.q[:, :, np.random.default_rng(0).permutation(data.q.shape[2])]

    assert not discovery.discover(made(tmp_path, dealt)).found()


def test_labels_that_come_together_are_told_apart(run, found):
    """Head 2 of layer 1 goes by the entity; in each prompt its box is also the one at the queried place."""
    (match,) = (m for m in found.tried.matches if m.words == "k.order_id = q.queried_order")
    assert match.apart
    (own,) = (m for m in discovery.tried(run).matches if m.words == match.words)
    assert not own.apart
    p = []
    for contrast in (match.contrast("test"), own.contrast()):
        data = Rows.of(run, contrast, "train").read(Head(run, 1, 2))
        c = data.pairs.key_contrast(data.k)
        x = (data.q - data.q.mean(axis=0)).astype(np.float32)
        p.append(p_norm(data.q, x, (c - c.mean(axis=0)).astype(np.float32)))
    assert p[1] < 1e-6  # the prompt's own keys cannot tell place from entity
    assert p[0] > 0.01


def test_keys_of_the_next_prompt_are_no_prompts_own(run, found):
    (match,) = (m for m in found.tried.matches if m.words == "k.order_id = q.queried_order")
    of = pairs(run, match.contrast("test"), "train")
    prompts = run.query_places[0][of.query], run.key_places[0][of.key]
    assert (prompts[0] != prompts[1]).all()
    variants = run.labels("q", ["variant"], of.query)["variant"].to_pylist()
    assert set(variants) == {"base"}
    judged = pairs(run, match.contrast("test"), "test")
    assert (run.query_places[0][judged.query] == run.key_places[0][judged.key]).all()


def test_what_is_saved_is_an_ordinary_contrast(store, run, found):
    saved = discovery.save(store, run, found, "found-order_id-queried_order-box-apart")
    assert saved.version == 1
    assert discovery.save(store, run, found, saved.name).version == 1  # the same is not saved twice
    (contrast,) = store.feature(run, saved.name)
    scores = {(s.layer, s.head): s for s in heads(run, contrast, nulls=0)}
    assert scores[1, 0].accuracy > 0.6 > 0.5 > scores[0, 0].accuracy
    with pytest.raises(ContrastError, match="nothing of the name 'found-order'.*found-order_id"):
        discovery.save(store, run, found, "found-order")


def refused(of: qkstore.Run) -> dict[str, str]:
    return dict(discovery.tried(of).refused)


def test_each_label_that_is_left_out_has_its_reason(tmp_path):
    def more(data):
        n = len(data.prompts)
        data.prompts = data.prompts.with_columns(
            serial=pl.Series([f"s{i}" for i in range(n)]),
            constant=pl.lit("same"),
            share=pl.Series(np.linspace(0, 1, n)),
            colour=pl.Series([("red", "green")[i // 2 % 2] for i in range(n)]),
        )

    why = refused(made(tmp_path, more))
    assert "values are all different" in why["q.serial of answer_slot"]
    assert why["q.constant of answer_slot"] == "it has one value"
    assert "its type is DOUBLE" in why["q.share"]
    assert why["k.colour of box"] == "all keys of a prompt have the same value"
    assert why["k.box = q.colour"] == "they have no value in common"
    assert why["q.token"] == "it says what token_id says"
    assert "k.order_id = q.queried_order" not in why


def test_types_that_differ_are_no_match(run):
    words = {m.words for m in discovery.tried(run).matches}
    assert "k.order_id = q.queried_entity" not in words
    assert {"k.order_id < q.queried_order", "k.order_id = q.queried_order - 1"} <= words
    assert not any("entity" in w and ("<" in w or "- 1" in w) for w in words)


def test_the_number_that_is_tried_is_bounded_and_told(run):
    few = discovery.tried(run, most=2)
    assert [m.words for m in few.matches] == ["k.order_id = q.queried_order", "k.entity = q.queried_entity"]
    assert sum("2 pairs are tried at most" in why for _, why in few.refused) == 4
    found = discovery.discover(run, most=2)
    assert found.n == 2 * 8
    assert "2 label pairs × 8 heads = 16 tests" in discovery.statement(found)


def test_more_tests_make_larger_q_values(run, found):
    few = discovery.discover(run, labels=("order_id", "queried_order"), most=1)
    assert few.n < found.n
    assert few.found()[0].q < found.found()[0].q


def test_labels_that_are_asked_for_are_the_only_ones(run):
    words = [m.words for m in discovery.tried(run, labels=("entity", "queried_entity")).matches]
    assert words == ["k.entity = q.queried_entity"]
    with pytest.raises(ContrastError, match="no label 'oder_id'; did you mean 'order_id'"):
        discovery.tried(run, labels=("oder_id",))


def test_where_no_two_labels_match_nothing_is_tried_and_why_is_told(run):
    found = discovery.discover(run, labels=("pos", "token_id"))
    assert (found.n, found.found(), found.tried.matches) == (0, [], ())
    assert dict(found.tried.refused)["q.pos"] == "it has one value"
    assert "0 label pairs × 8 heads = 0 tests" in discovery.statement(found)
    assert discovery.Tried(discovery.tried(run).matches[:1], ()).told.startswith("1 label pair is tried, ")


@pytest.mark.parametrize("level", [0.0, -0.1, 0.5])
def test_a_rate_that_was_not_swapped_for_is_refused(found, level):
    with pytest.raises(ContrastError, match="rate of false discoveries"):
        found.found(level)


def test_a_constant_query_has_no_feature(tmp_path):
    def constant(data):
        data.q[1, 0] = data.q[1, 0, :1]

    found = discovery.discover(made(tmp_path, constant))
    assert {(layer, head) for layer, head, _ in places(found)} == {(1, 1)}


def test_it_comes_back_from_json(found):
    again = discovery.Discovery.of(json.loads(json.dumps(found.to_dict())))
    assert again == found


def test_the_catalogue_keeps_it(tmp_path, monkeypatch):
    store = qkstore.open(stores.write(tmp_path, n=600))
    run = store.run("boxes")
    first = discovery.kept(store, run)
    monkeypatch.setattr(Sweep, "_group", lambda *_: pytest.fail("it is computed again"))
    assert discovery.kept(store, run) == first
    with pytest.raises(pytest.fail.Exception):
        discovery.kept(store, run, seed=1)


def test_work_that_ends_goes_on_where_it_was(tmp_path, monkeypatch):
    store = qkstore.open(stores.write(tmp_path, n=600))
    run, counted = store.run("boxes"), []

    def leave(stage, done, of):
        counted.append(done)
        if done > run.n_heads:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discovery.kept(store, run, progress=leave)
    done, tests = [], Sweep.tests
    monkeypatch.setattr(Sweep, "tests", lambda self, task: done.append(task.layer) or tests(self, task))
    assert discovery.kept(store, run) == discovery.discover(run)
    assert done == [1, 0, 1]  # layer 0 was finished


def test_one_reading_of_the_vectors_gives_what_each_contrast_gives_by_itself(run):
    sides, _ = prepared(run, discovery.tried(run))
    tests = [t for t in Sweep(run, sides).table({}) if (t.layer, t.head) == (1, 1)]
    for test, one in zip(tests, sides, strict=True):
        data = one.train.rows.read(Head(run, 1, 1))
        c = data.pairs.key_contrast(data.k)
        x = data.q - data.q.mean(axis=0)
        assert test.norm == pytest.approx(np.linalg.norm(x.T @ (c - c.mean(axis=0))) / len(x), rel=1e-4)
        judged = one.test.rows.read(Head(run, 1, 1))
        c = judged.pairs.key_contrast(judged.k)
        gap = ((judged.q - judged.q.mean(axis=0)) * (c - c.mean(axis=0))).sum(axis=1) * judged.head.facts.scaling
        assert test.gap == pytest.approx(gap.mean(), abs=1e-4)
        assert test.p_gap >= p_above(gap) * 0.999


def test_a_match_is_found_by_its_name_without_being_saved(run, found):
    for one in found.found():
        contrast = discovery.contrast(run, found.match(one).name)
        assert contrast == found.contrast(one)
    assert discovery.contrast(run, "found-order_id-queried_order-box").where  # of the prompt's own keys
    assert discovery.contrast(run, "found-nothing") is None
    assert discovery.contrast(run, "order") is None


def test_of_each_head_the_first(run):
    """A feature with every head twice: once by each of two labels that say the same in other words."""
    one = discovery.discover(run)
    first = one.passed[0]
    twice = replace(one, passed=(*one.passed, replace(first, match=0, beyond=(0.01, 0.005, 0.02))))
    assert len(twice.found()) == len(one.found()) + 1
    assert twice.found(best=True) == one.found()


def test_a_label_in_other_words_is_no_second_find(tmp_path, found):
    """Two columns that say the same of each row are one match, told by both; the number of tests stays."""

    def twice(data):
        data.prompts = data.prompts.with_columns(queried_place=pl.col("queried_order"))

    again = discovery.discover(made(tmp_path, twice), labels=("order_id", "queried_order", "queried_place"), most=2)
    (match,) = again.tried.matches
    assert match.also == ("k.order_id = q.queried_place",)
    assert match.told.endswith("the same pairs as k.order_id = q.queried_place")
    assert {(f.layer, f.head) for f in again.found()} == {(1, 0), (1, 1)}


def test_few_values_that_delta_was_built_on_are_no_sample(store, run):
    """Places are all there are, and queries count; words of the test split are a sample, and each counts once."""
    sides, _ = prepared(run, discovery.tried(run))
    of = {one.match.words: one for one in sides}
    assert of["k.order_id = q.queried_order"].closed
    assert of["k.order_id = q.queried_order"].groups == []
    word = of["k.entity = q.queried_entity"]
    assert not word.closed
    assert len(word.groups) == 1
