"""Head scores against what they claim: a null that is a null, one key head a group, the model's own logits."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest
from synthetic import BOXES, SCALING, D, synthetic, write

import qkstore
from qkstore.analysis import covariance
from qkstore.analysis.heads import heads
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, StoreError

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
N = 64
HEADS = {
    "plain": dict(n_heads=4, n_kv_heads=2),
    "three": dict(n_heads=6, n_kv_heads=2),
    "each": dict(n_heads=4, n_kv_heads=4),
}


def keys_of(data, head):
    """(layers, n, BOXES, d) keys that query head `head` reads, by the definition of grouped queries."""
    group = data.q.shape[1] // data.k.shape[1]
    return data.k[:, head // group].reshape(len(data.k), -1, BOXES, D).astype(float)


def logits_of(data, cap=None):
    """(layers, heads, n, BOXES) float64."""
    out = np.stack(
        [
            np.einsum("lnd,lnbd->lnb", data.q[:, h].astype(float), keys_of(data, h)) * SCALING
            for h in range(data.q.shape[1])
        ],
        axis=1,
    )
    return out if cap is None else cap * np.tanh(out / cap)


def windowed(data, window):
    for layer in data.layers:
        layer["window"] = window
    return data


def capped(data, cap):
    for layer in data.layers:
        layer["softcap"] = cap
    data.logsumexp = np.logaddexp(np.log(np.exp(logits_of(data, cap)).sum(-1)), 0.0)
    return data


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "plain", synthetic(N))
    write(path, "three", synthetic(N, **HEADS["three"]))
    write(path, "each", synthetic(N, **HEADS["each"]))
    write(path, "windowed", windowed(synthetic(N), 18))
    write(path, "capped", capped(synthetic(N), 3.0))
    write(path, "noise", synthetic(240, n_layers=1, n_heads=24, n_kv_heads=12, seed=5))
    whole = synthetic(N)
    whole.prompts = whole.prompts.with_columns(split=pl.lit("train"))
    write(path, "train-only", whole)
    return qkstore.open(path)


@pytest.mark.parametrize("name", HEADS)
def test_each_query_head_reads_the_keys_of_its_group(store, name):
    data = synthetic(N, **HEADS[name])
    place, logit, test = data.prompts["queried_order"].to_numpy() - 1, logits_of(data), slice(3 * N // 4, N)
    for found in heads(store.run(name), ORDER, nulls=0):
        right = logit[found.layer, found.head, test].argmax(1) == place[test]
        assert found.accuracy == pytest.approx(right.mean(), abs=1e-12)
        assert found.n_queries == N // 4
        train = np.arange(3 * N // 4)
        k, q = keys_of(data, found.head)[found.layer][train], data.q[found.layer, found.head, train].astype(float)
        positive = np.eye(BOXES, dtype=bool)[place[train]]
        delta = q.T @ k[positive] / len(train) - np.einsum("nd,nbe->de", q, np.where(positive[..., None], 0, k)) / (
            len(train) * (BOXES - 1)
        )
        assert found.delta_norm == pytest.approx(np.linalg.norm(delta), rel=1e-6)


@pytest.mark.parametrize("weighting", ["pair", "query", "sum"])
def test_the_null_is_calibrated_on_noise(store, weighting):
    """24 heads without a feature: p-values are about uniform, and ‖ΔC‖ passes its 95 % quantile in about 5 %."""
    found = heads(store.run("noise"), ORDER.replace(weighting=weighting), nulls=39, seed=1)
    p = np.array([h.p_value for h in found])
    assert 0.3 < p.mean() < 0.7
    assert (p <= 0.05).sum() <= 5
    assert p.min() >= 1 / 40
    assert p.max() > 0.6
    assert sum(h.delta_norm > h.delta_null for h in found) <= 5


def test_the_null_is_passed_by_a_feature(store):
    found = {(h.layer, h.head): h for h in heads(store.run("plain"), ORDER, nulls=39)}
    assert all(found[1, h].p_value == 1 / 40 and found[1, h].delta_norm > 1.5 * found[1, h].delta_null for h in (0, 1))
    assert found[0, 0].delta_norm < 1.5 * found[0, 0].delta_null


def test_one_seed_gives_one_null(store):
    run = store.run("plain")
    one, same, other = ([h.delta_null for h in heads(run, ORDER, nulls=5, seed=s)] for s in (0, 0, 1))
    assert one == same
    assert one != other


def test_without_nulls_there_is_no_p(store):
    with_null, without = heads(store.run("plain"), ORDER, nulls=3), heads(store.run("plain"), ORDER, nulls=0)
    assert {(h.p_value, h.delta_null) for h in without} == {(None, None)}
    assert None not in {h.p_value for h in with_null}
    assert [h.accuracy for h in with_null] == [h.accuracy for h in without]


@pytest.mark.parametrize(
    ("name", "built", "judged", "n"), [("plain", "train", "test", N // 4), ("train-only", "train", "train", N)]
)
def test_every_score_says_which_prompts_it_is_from(store, name, built, judged, n):
    found = heads(store.run(name), ORDER, nulls=0)
    assert {(h.built_on, h.judged_on, h.n_queries) for h in found} == {(built, judged, n)}
    assert [(h.layer, h.head) for h in found] == [(layer, head) for layer in range(2) for head in range(4)]


def test_a_key_outside_the_window_has_no_attention_but_a_logit(store):
    data = synthetic(N)
    run, logit = store.run("windowed"), logits_of(data)
    place, slots = data.prompts["queried_order"].to_numpy() - 1, data.query_rows["pos"].to_numpy()
    near = (slots[:, None] - data.key_rows["pos"].to_numpy().reshape(N, BOXES)) < 18
    assert near.any()
    assert not near.all()
    for found in heads(run, ORDER, nulls=0):
        attention = np.exp(logit[found.layer, found.head] - data.logsumexp[found.layer, found.head][:, None])
        seen = [attention[i, place[i]] for i in range(3 * N // 4, N) if near[i, place[i]]]
        others = [
            sum(attention[i, b] for b in range(BOXES) if b != place[i] and near[i, b])
            for i in range(3 * N // 4, N)
            if near[i, np.arange(BOXES) != place[i]].any()
        ]
        assert found.attention_positive == pytest.approx(np.mean(seen), rel=1e-9)
        assert found.attention_negative == pytest.approx(np.mean(others), rel=1e-9)
        assert found.selectivity == pytest.approx(np.mean(seen) / np.mean(others), rel=1e-9)
    plain = {(h.layer, h.head): h for h in heads(store.run("plain"), ORDER, nulls=0)}
    assert any(
        h.attention_positive != pytest.approx(plain[h.layer, h.head].attention_positive, rel=1e-3)
        for h in heads(run, ORDER, nulls=0)
    )


def test_a_soft_cap_bounds_the_logits_that_attend(store):
    data = capped(synthetic(N), 3.0)
    place, test = data.prompts["queried_order"].to_numpy() - 1, np.arange(3 * N // 4, N)
    attention = np.exp(logits_of(data, 3.0) - data.logsumexp[..., None])
    for found in heads(store.run("capped"), ORDER, nulls=0):
        expected = attention[found.layer, found.head, test, place[test]].mean()
        assert found.attention_positive == pytest.approx(expected, rel=1e-9)
        uncapped = np.exp(logits_of(data) - data.logsumexp[..., None])[
            found.layer, found.head, test, place[test]
        ].mean()
        assert found.attention_positive != pytest.approx(uncapped, rel=1e-3)


def test_centring_and_weighting_reach_every_head(store):
    run = store.run("plain")
    plain, centred, summed = (
        [h.delta_norm for h in heads(run, c, nulls=0)]
        for c in (ORDER, ORDER.replace(centring="queries"), ORDER.replace(weighting="sum"))
    )
    assert not np.allclose(plain, centred, rtol=1e-3)
    assert not np.allclose(plain, summed, rtol=1e-3)


def test_the_null_is_of_centred_queries_whatever_the_contrasts_centring(store):
    """Its statistic too: the strength of a head does not depend on the mean query, though ‖ΔC‖ does."""
    run = store.run("plain")
    plain, centred = (heads(run, c, nulls=9) for c in (ORDER, ORDER.replace(centring="queries")))
    for one, other in zip(plain, centred, strict=True):
        assert (one.delta_null, one.p_value) == (other.delta_null, other.p_value)
        assert one.delta_centred == other.delta_centred == other.delta_norm
        assert one.strength == one.delta_centred / one.delta_null
    assert all(h.delta_norm != pytest.approx(h.delta_centred, rel=1e-6) for h in plain)


def test_the_rank_is_that_of_the_heads_covariance(store):
    run = store.run("plain")
    ranks = {(h.layer, h.head): h.rank for h in heads(run, ORDER, nulls=0)}
    assert ranks == {(layer, head): covariance(run, ORDER, layer, head).subspace.rank for layer, head in ranks}
    assert len(set(ranks.values())) > 1


def test_a_split_without_pairs_is_named(store):
    only_train = ORDER.replace(where=ORDER.where + " and q.split = 'train'")
    with pytest.raises(ContrastError, match="on the test prompts of run 'plain': 0 positive, 0 negative"):
        heads(store.run("plain"), only_train)


def test_log_sum_exps_that_are_missing_are_no_silent_gap(tmp_path):
    write(tmp_path, "r", synthetic(N))
    with duckdb.connect(str(tmp_path / "runs/r.duckdb")) as con:
        con.execute(f"DELETE FROM row_stat WHERE layer = 1 AND head = 2 AND row = {N - 1}")
    with pytest.raises(StoreError, match="layer 1 head 2 has query rows without a log-sum-exp; run `check`"):
        heads(qkstore.open(tmp_path).run("r"), ORDER, nulls=0)
