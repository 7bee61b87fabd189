"""The demo runs against what is known of them: each kind of question can be answered by one mechanism, or by both.

The runs are those of `make demo` with fewer prompts; `python bench/truth.py --store store` prints the same figures of
the whole ones, whose sizes test_package.py holds.
"""

from __future__ import annotations

import importlib.util

import pytest
import stores
from conftest import ROOT

import qkstore
from ingest import demo
from qkstore import analysis
from qkstore.analysis.heads import heads
from qkstore.contrast import Contrast

pytestmark = pytest.mark.slow
spec = importlib.util.spec_from_file_location("truth", ROOT / "bench" / "truth.py")
truth = importlib.util.module_from_spec(spec)
spec.loader.exec_module(truth)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = stores.write_demo(tmp_path_factory.mktemp("demo"))
    assert demo.build(path, lambda *_, **__: None) == []  # what is there is not made again
    return qkstore.open(path)


@pytest.fixture(scope="module")
def boxes(store):
    return {kind: truth.box_run(store, store.run(f"demo-boxes-{kind}"), layer=1) for kind in ("ent", "ord", "both")}


def test_sizes_are_those_asked_for(store):
    for name in demo.RUNS:
        run = store.run(name)
        counts = dict(
            run.cursor().execute("SELECT split || ' ' || variant, count(*) FROM prompt GROUP BY 1").fetchall()
        )
        assert counts["train base"] == stores.DEMO["n"]
        assert counts["test base"] == stores.DEMO["n_test"]
        if "boxes" in name:
            assert counts["train counterfactual"] == counts["train fixed"] == stores.DEMO["n"]
            assert counts["test counterfactual"] == stores.DEMO["n_test"]


def test_test_entities_and_words_are_unseen(store):
    for name in demo.RUNS:
        label = "item" if name == "demo-lists" else "entity"
        run = store.run(name)
        seen = {
            s: {
                r[0]
                for r in run.cursor()
                .execute(f"SELECT DISTINCT {label} FROM k WHERE split = ? AND {label} IS NOT NULL", [s])
                .fetchall()
            }
            for s in ("train", "test")
        }
        assert seen["test"]
        assert not seen["train"] & seen["test"]
        if label == "entity":
            assert len(seen["train"]) >= 40


@pytest.mark.parametrize("kind", ["ent", "ord", "both"])
def test_each_question_shows_its_mechanism(boxes, kind):
    assert truth.box_failures(kind, boxes[kind]) == []
    assert boxes[kind]["n"] == stores.DEMO["n_test"]
    assert boxes[kind]["accuracy"] > 0.9


@pytest.mark.parametrize("kind, wrong", [("ent", "ord"), ("ord", "ent"), ("ent", "both"), ("ord", "both")])
def test_and_not_that_of_another(boxes, kind, wrong):
    assert truth.box_failures(wrong, boxes[kind])


def test_random_conditions_have_ten_bases_and_the_rank_of_what_they_stand_beside(boxes):
    for found in boxes.values():
        for condition, random in found["swaps"].values():
            assert random.bases >= 10
            assert random.rank == condition.rank
            assert random.n == condition.n


def test_lists(store):
    found = truth.list_run(store, store.run("demo-lists"), layer=1)
    assert set(found["ranks"].values()) == {1}
    assert len(found["ranks"]) == 13
    assert found["ratio"] >= 3
    swap, random = found["swap"].conditions
    assert swap.target_after > 3 * random.target_after > 0


def test_order_leaks_the_fixed_entity_and_centring_takes_it_out(store):
    """MEASURED: where the model has no order mechanism, ΔC_order is large all the same.

    Centred, it is within its null.
    """
    run = store.run("demo-boxes-ent")
    raw, centred = (
        {h.head: h for h in heads(run, store.feature(run, name)[0]) if h.layer == 1}
        for name in ("order", "order-centred")
    )
    best = max(raw.values(), key=lambda h: h.accuracy).head
    assert raw[best].delta_norm > 5 * raw[best].delta_null
    assert centred[best].delta_norm < 0.02 * raw[best].delta_norm
    kept = {
        h.head: h
        for h in heads(store.run("demo-boxes-ord"), store.feature(store.run("demo-boxes-ord"), "order-centred")[0])
        if h.layer == 1
    }
    assert (
        max(h.delta_norm / h.delta_null for h in kept.values()) > 3
    )  # where there is a mechanism, the control leaves it


def test_one_category_is_rank_one_because_its_query_hardly_varies(store):
    run = store.run("demo-lists")
    name = next(n for n in store.features(run) if n.startswith("category:") and n != "category:*")
    top = max(
        (h for h in heads(run, store.feature(run, "category")[0], nulls=0) if h.layer == 1), key=lambda h: h.selectivity
    )
    one = analysis.covariance(run, store.feature(run, name)[0], 1, top.head).covariance
    pooled = analysis.covariance(run, store.feature(run, "category")[0], 1, top.head).covariance
    assert one.mean_query_share > 0.95 > pooled.mean_query_share


def test_authors_lexical_finds_less_of_the_feature(store):
    """METHOD 3.2: with a matched pair on both sides the feature cancels in expectation; the triplet keeps it."""
    run = store.run("demo-boxes-ent")
    triplet, matched = (
        {h.head: h.delta_norm / h.delta_null for h in heads(run, store.feature(run, name)[0]) if h.layer == 1}
        for name in ("lexical", "authors/lexical")
    )
    assert min(triplet.values()) > 4
    assert max(matched.values()) < 1.5


def test_wrong_labels_show_nothing(store):
    """The control of the whole chain: order_ids rotated by a hash of the prompt make the contrast meaningless."""
    run = store.run("demo-boxes-ord")
    wrong = Contrast(
        name="wrong",
        where="k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot' and q.variant = 'base'",
        positive="k.order_id = 1 + (q.queried_order + hash(q.prompt_id) % 8) % 9",
        negative="k.order_id <> 1 + (q.queried_order + hash(q.prompt_id) % 8) % 9",
    )
    found = analysis.intervene(run, {"wrong": (wrong,)}, 1, 0)
    assert found.conditions[0].target_after < 0.5
    assert all(h.accuracy < 0.3 for h in heads(run, wrong, nulls=0))
