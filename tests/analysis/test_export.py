"""Exports: a row a pair, equal to a loop over the arrays that went in; attention only where there is one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from synthetic import BOXES, SCALING, synthetic, write

import qkstore
from qkstore.analysis import export
from qkstore.contrast import Contrast, pairs
from qkstore.errors import RunError

N = 32
WITHIN = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
CROSS = Contrast(
    name="lexical",
    where="q.variant = 'base' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.prompt_id = q.counterfactual_id",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    data = write(path, n=N)
    windowed = synthetic(N)
    for layer in windowed.layers:
        layer["window"] = 20
    write(path, "windowed", windowed)
    capped = synthetic(N)
    capped.layers[1]["softcap"] = 2.0
    write(path, "capped", capped)
    return data, qkstore.open(path)


def logit(data, head, query, key):
    return float(data.q[1, head, query].astype(float) @ data.k[1, head // 2, key].astype(float)) * SCALING


@pytest.mark.parametrize("head", [1, 2])
def test_a_table_equals_a_loop(made, head):
    data, store = made
    table = export.table(store.run("synthetic"), WITHIN, 1, head)
    assert len(table) == N * BOXES
    assert table.select(pl.struct("q_query_row", "k_key_row").n_unique()).item() == len(table)
    for row in table.iter_rows(named=True):
        query, key = row["q_query_row"], row["k_key_row"]
        assert key // BOXES == query == row["q_prompt_id"] == row["k_prompt_id"]
        assert row["sign"] == (1 if key % BOXES + 1 == data.prompts["queried_order"][query] else -1)
        assert row["logit"] == pytest.approx(logit(data, head, query, key), rel=1e-12)
        assert row["attention"] == pytest.approx(
            np.exp(logit(data, head, query, key) - data.logsumexp[1, head, query]), rel=1e-12
        )
        token = data.tokens.filter((pl.col("prompt_id") == query) & (pl.col("pos") == row["k_pos"])).row(0, named=True)
        assert (row["k_token"], row["k_entity"], row["k_box"]) == (token["text"], token["entity"], token["box"])
        assert row["q_answer"] == data.prompts["answer"][query]
    assert not np.allclose(table["logit"], export.table(store.run("synthetic"), WITHIN, 1, 3 - head)["logit"])


def test_the_vectors_equal_a_loop(made):
    data, store = made
    found = export.arrays(store.run("synthetic"), CROSS, 1, 2, "train")
    assert set(found) == {"q", "k", "query_rows", "key_rows", "query", "key", "sign", "weight"}
    assert np.array_equal(found["q"], data.q[1, 2, found["query_rows"]])
    assert np.array_equal(found["k"], data.k[1, 1, found["key_rows"]])
    triples = set(
        zip(
            found["query_rows"][found["query"]].tolist(),
            found["key_rows"][found["key"]].tolist(),
            found["sign"].tolist(),
        )
    )
    place = data.prompts["queried_order"].to_list()
    base = range(0, 3 * N // 4, 2)
    assert triples == {(i, i * BOXES + place[i] - 1, 1) for i in base} | {
        (i, (i + 1) * BOXES + place[i] - 1, -1) for i in base
    }
    assert len(found["sign"]) == len(triples)
    assert (found["weight"] == 1).all()


def test_there_is_no_attention_across_prompts(made):
    table = export.table(made[1].run("synthetic"), CROSS, 1, 2)
    across = table["q_prompt_id"] != table["k_prompt_id"]
    assert across.sum() == N // 2
    assert table.filter(across)["attention"].null_count() == N // 2
    assert table.filter(~across)["attention"].null_count() == 0
    assert table["logit"].null_count() == 0
    assert not table["attention"].is_nan().any()


def test_there_is_no_attention_outside_the_window(made):
    _, store = made
    table = export.table(store.run("windowed"), WITHIN, 1, 1)
    near = (table["q_pos"] - table["k_pos"]) < 20
    assert 0 < near.sum() < len(table)
    assert (table["attention"].is_not_null() == near).all()
    assert export.table(store.run("synthetic"), WITHIN, 1, 1)["attention"].null_count() == 0


def test_logits_are_capped_as_the_model_does(made):
    data, store = made
    table = export.table(store.run("capped"), WITHIN, 1, 1)
    raw = np.array([logit(data, 1, q, k) for q, k in table.select("q_query_row", "k_key_row").iter_rows()])
    assert np.allclose(table["logit"], 2 * np.tanh(raw / 2), rtol=1e-12)
    assert not np.allclose(table["logit"], raw, rtol=1e-2)


def test_a_split_and_weights_are_kept(made):
    run = made[1].run("synthetic")
    uneven = WITHIN.replace(weighting="query")
    table = export.table(run, uneven, 1, 1, "test")
    assert set(table["q_split"]) == {"test"}
    assert len(table) == N // 4 * BOXES
    by_sign = dict(table.group_by("sign").agg(pl.col("weight").unique().first()).iter_rows())
    assert by_sign == pytest.approx({1: 1.0, -1: 1 / 3})
    assert np.array_equal(np.sort(table["weight"]), np.sort(pairs(run, uneven, "test").weight))


@pytest.mark.parametrize("what", [export.table, export.arrays])
@pytest.mark.parametrize(("layer", "head", "says"), [(7, 0, "no layer 7"), (0, 9, "no head 9")])
def test_a_head_that_is_not_there(made, what, layer, head, says):
    with pytest.raises(RunError, match=says):
        what(made[1].run("synthetic"), WITHIN, layer, head)


def test_a_parquet_file_holds_the_table(made, tmp_path):
    table = export.table(made[1].run("synthetic"), CROSS, 1, 2)
    table.write_parquet(tmp_path / "e.parquet")
    assert pl.read_parquet(tmp_path / "e.parquet").equals(table)
