"""What a result is of: the judged split, the last query, the keys that are seen, and the rank that was used."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import labelled
from synthetic import BOXES, synthetic, write

import qkstore
from ingest.prompts import lists
from qkstore import analysis
from qkstore.contrast import Contrast, pairs

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
CATEGORY = Contrast(
    name="category",
    where="k.prompt_id = q.prompt_id and k.role = 'item'",
    positive="k.category = q.queried_category",
    negative="k.category <> q.queried_category",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "plain", synthetic(128))
    windowed = synthetic(128)
    windowed.layers[1]["window"] = 20
    write(path, "windowed", windowed)
    asked_twice = labelled(lists.build(30, 0, n_test=10))
    asked_twice.query_rows = asked_twice.key_rows.rename(
        {"key_row": "query_row"}
    )  # every item asks, and the slot does not
    n = len(asked_twice.key_rows)
    rng = np.random.default_rng(1)
    asked_twice.q, asked_twice.logsumexp = rng.normal(size=(1, 1, n, 8)).astype(np.float32), np.full((1, 1, n), 9.0)
    asked_twice.batches = lambda: [(0, np.arange(n), np.arange(n), asked_twice.q, asked_twice.k, asked_twice.logsumexp)]
    write(path, "items", asked_twice)
    return qkstore.open(path)


def test_a_prompt_is_asked_at_its_last_query_unless_another_is_named(store):
    run = store.run("items")
    rows = np.flatnonzero(run.query_places[0] == 3)
    last, first = (analysis.attribute(run, {"c": (CATEGORY,)}, 0, 0, 3, query_row=row) for row in (None, int(rows[0])))
    assert last.query["row"] == rows[-1] > rows[0] == first.query["row"]
    assert len(last.tokens) == len(rows), "a causal query sees the keys up to its own place"
    assert len(first.tokens) == 1, "a causal query sees the keys up to its own place"
    assert [t["pos"] for t in last.tokens] == run.key_places[1][run.key_places[0] == 3].tolist()


def test_a_key_that_the_query_does_not_see_has_no_part(store):
    wide, narrow = (
        analysis.attribute(store.run(name), {"order": (ORDER,)}, 1, 0, 100).tokens for name in ("plain", "windowed")
    )
    slot = store.run("plain").query_places[1][100]
    assert len(wide) == BOXES
    assert 0 < len(narrow) < BOXES
    near = [t for t in wide if slot - t["pos"] < 20]
    assert [t["pos"] for t in narrow] == [t["pos"] for t in near]
    assert [t["logit"] for t in narrow] == pytest.approx([t["logit"] for t in near], rel=1e-12)
    assert len(analysis.attribute(store.run("windowed"), {"order": (ORDER,)}, 0, 0, 100).tokens) == BOXES


def test_shares_are_of_the_judged_split_and_of_the_uncentred_gap(store):
    run, features = store.run("plain"), {"order": (ORDER,)}
    found = analysis.shares(run, features, 1, 0, over=ORDER)
    assert found.split == "test"
    assert found.counts == pairs(run, ORDER, "test").counts != pairs(run, ORDER).counts
    centred = analysis.shares(run, features, 1, 0, over=ORDER.replace(centring="queries"))
    assert centred.shares.share == pytest.approx(found.shares.share, rel=1e-12)
    fitted = analysis.covariance(run, ORDER, 1, 0, split="test")
    V = analysis.subspace(run, (ORDER,), 1, 0)
    assert found.shares.share["order"] == pytest.approx(
        np.trace(V.U @ V.U.T @ fitted.delta) / np.trace(fitted.delta), rel=1e-6
    )


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_points_have_as_many_axes_as_their_rank_and_say_so(store, rank):
    points = analysis.project(store.run("plain"), (ORDER,), 1, 0, "queried_order", "order_id", rank=rank)
    spread = points.table.select("x", "y", "z").to_numpy().std(axis=0)
    assert points.rank == rank
    assert ((spread > 1e-9) == (np.arange(3) < rank)).all()
    assert (
        analysis.project(store.run("plain"), (ORDER,), 1, 0, "queried_order", "order_id").rank
        == analysis.subspace(store.run("plain"), (ORDER,), 1, 0).rank
    )


@pytest.mark.parametrize(("split", "prompts"), [("judge", range(96, 128)), ("train", range(96)), ("whole", range(128))])
def test_points_are_of_the_split_that_was_asked_for(store, split, prompts):
    points = analysis.project(store.run("plain"), (ORDER,), 1, 0, "queried_order", "order_id", split=split)
    assert set(points.table["prompt_id"]) == set(prompts)
    assert points.total == len(prompts) * (1 + BOXES)


def test_attention_of_an_attribution_is_the_stored_softmax(store):
    run, data = store.run("plain"), synthetic(128)
    tokens = analysis.attribute(run, {"order": (ORDER,)}, 1, 0, 100).tokens
    logits = data.k[1, 0, 400:404].astype(float) @ data.q[1, 0, 100].astype(float) * 0.5
    assert [t["attention"] for t in tokens] == pytest.approx(
        np.exp(logits - data.logsumexp[1, 0, 100]).tolist(), rel=1e-9
    )
