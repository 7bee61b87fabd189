"""Query-side swaps: attention goes where the other query looks, as far as the subspace carries the feature."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.analysis import swaps, targets
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.intervention import swap_query

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
LEXICAL = Contrast(
    name="lexical",
    where="q.variant = 'base' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.prompt_id = q.counterfactual_id",
)
FEATURES = {"order": (ORDER,), "lexical": (LEXICAL,)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=1024)
    return qkstore.open(path).run("synthetic")


def by_name(found):
    return {c.name: c for c in found.conditions}


def direct(q, K, scaling):
    weight = np.exp(scaling * K.astype(np.float64) @ q)
    return weight / weight.sum()


def test_attention_is_the_softmax_over_the_keys_given():
    rng = np.random.default_rng(0)
    q, other, K = rng.normal(size=(5, 8)), rng.normal(size=(5, 8)), rng.normal(size=(5, 6, 8))
    seen = np.ones((5, 6), bool)
    seen[3, 4:] = False
    U = np.linalg.qr(rng.normal(size=(8, 3)))[0]
    original, aimed = np.array([0, 1, 2, 3, 0]), np.array([5, 0, 4, 1, 2])
    found = swap_query(q, other, K, seen, original, aimed, U, 0.5)
    for i in range(5):
        keys = K[i][seen[i]]
        before, after = direct(q[i], keys, 0.5), direct(q[i] + U @ U.T @ (other[i] - q[i]), keys, 0.5)
        assert np.allclose(
            [found.original_before[i], found.target_before[i]], before[[original[i], aimed[i]]], atol=1e-12
        )
        assert np.allclose([found.original_after[i], found.target_after[i]], after[[original[i], aimed[i]]], atol=1e-12)
        assert not np.allclose(before, after, atol=1e-3)


def test_a_whole_swap_is_the_other_query_and_an_empty_one_is_none():
    rng = np.random.default_rng(1)
    q, other, K = rng.normal(size=(4, 8)), rng.normal(size=(4, 8)), rng.normal(size=(4, 6, 8))
    at = np.zeros(4, int), np.ones(4, int)
    whole = swap_query(q, other, K, np.ones((4, 6), bool), *at, np.eye(8), 1.0)
    assert np.allclose(whole.target_after, [direct(o, k, 1.0)[1] for o, k in zip(other, K)])
    none = swap_query(q, other, K, np.ones((4, 6), bool), *at, np.eye(8)[:, :0], 1.0)
    assert np.array_equal(none.target_after, none.target_before)


def test_a_soft_cap_is_the_models():
    rng = np.random.default_rng(2)
    q, K = 9 * rng.normal(size=(1, 8)), rng.normal(size=(1, 6, 8))
    found = swap_query(q, q, K, np.ones((1, 6), bool), np.array([0]), np.array([1]), np.eye(8)[:, :1], 1.0, softcap=2.0)
    weight = np.exp(2 * np.tanh(K[0] @ q[0] / 2))
    assert found.original_before[0] == pytest.approx(weight[0] / weight.sum())
    assert found.original_before[0] != pytest.approx(direct(q[0], K[0], 1.0)[0], abs=1e-3)


def test_the_order_head_follows_the_others_order_and_not_its_entity(run):
    found = swaps.intervene_queries(run, FEATURES, 1, 0, most=200)
    c = by_name(found)
    assert c["order"].target_after > 0.8 * c["order"].original_before
    assert c["order"].flip_rate > 0.9
    assert c["random of order's rank"].target_after < 0.6 * c["order"].target_after
    assert c["order"].n == c["lexical"].n == c["random"].n == found.n
    assert c["random"].bases == 10


def test_the_entity_head_follows_the_others_entity(tmp_path, run):
    data = synthetic(n=512)
    data.prompts = data.prompts.with_columns(split=pl.lit("all"))
    write(tmp_path, "unsplit", data=data)
    whole = by_name(swaps.intervene_queries(qkstore.open(tmp_path).run("unsplit"), FEATURES, 1, 2, most=200))
    assert whole["lexical"].target_after > 0.8 * whole["lexical"].original_before
    split = by_name(
        swaps.intervene_queries(run, FEATURES, 1, 2, most=200)
    )  # its test entities are in no train prompt but one
    assert split["lexical"].target_after < 0.5 * whole["lexical"].target_after


def test_the_other_query_looks_for_what_the_target_is(run):

    chosen = targets.draw(run, (ORDER, LEXICAL), "test", 200, 0)
    other, kept = targets.partners(
        run, chosen, {("queried_order", "order_id"), ("queried_entity", "entity")}, "test", 0
    )
    asked = pl.from_arrow(run.labels("q", ["queried_order", "queried_entity", "split"], other))
    aimed = pl.from_arrow(run.labels("k", ["order_id", "entity"], chosen.target[kept]))
    assert (asked["queried_order"] == aimed["order_id"]).all()
    assert (asked["queried_entity"] == aimed["entity"]).all()
    assert set(asked["split"]) == {"test"}
    assert len(other) == kept.sum() > 0


def test_the_share_on_stored_keys_is_told(run):
    """The synthetic row has the mass of one more key of logit 0, which is stored nowhere."""
    found = swaps.intervene_queries(run, {"order": (ORDER,)}, 0, 0, most=100)
    assert 0.6 < found.stored < 0.95  # four keys beside it


def test_without_a_query_that_looks_for_a_target_one_line_says_so(tmp_path):
    data = synthetic(n=64)
    data.prompts = data.prompts.with_columns(
        queried_order=pl.when(pl.col("split") == "test").then(pl.lit(99)).otherwise(pl.col("queried_order"))
    )
    write(tmp_path, data=data)
    run = qkstore.open(tmp_path).run("synthetic")
    any_key = ORDER.replace(
        positive="k.order_id = q.queried_order or (q.split = 'test' and k.order_id = 1)",
        negative="k.order_id > 1 and k.order_id <> q.queried_order",
    )
    with pytest.raises(ContrastError, match="no query of the test split looks for any target key"):
        swaps.intervene_queries(run, {"order": (any_key,)}, 1, 0)


def test_labels_of_another_type_are_compared_as_text(tmp_path):
    """A contrast whose predicates name no label of both sides is matched by the labels that come first.

    Their types do not matter.
    """
    data = synthetic(n=64)
    data.prompts = data.prompts.drop("queried_entity", "queried_order").with_columns(asked=pl.lit("7"))
    data.tokens = data.tokens.select(pl.lit(1).alias("ahead"), pl.all())
    for number, wanted in enumerate((1, 7)):
        data.tokens = data.tokens.with_columns(ahead=pl.lit(wanted))
        write(tmp_path, f"run{number}", data=data)
    at = ORDER.replace(positive="k.order_id = 2", negative="k.order_id <> 2")
    with pytest.raises(ContrastError, match="asked = ahead"):
        swaps.intervene_queries(qkstore.open(tmp_path).run("run0"), {"order": (at,)}, 1, 0)
    assert swaps.intervene_queries(qkstore.open(tmp_path).run("run1"), {"order": (at,)}, 1, 0).n == 16
