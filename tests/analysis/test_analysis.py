"""Analysis on a run with planted features: the heads, ranks, swaps and attributions that must come out do."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import BOXES, SCALING, synthetic, write

import qkstore
from qkstore import analysis
from qkstore.analysis.heads import heads
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RunError

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
ORDER_HEAD, NOISE_HEAD = (1, 0), (0, 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=512)
    write(path, "unsplit", data=_without_split())
    write(path, "windowed", data=_windowed())
    write(path, "capped", data=_capped())
    return qkstore.open(path)


def _without_split():
    import polars as pl

    data = synthetic(n=128)
    data.prompts = data.prompts.with_columns(split=pl.lit("all"))
    return data


def _windowed():
    data = synthetic(n=128)
    for layer in data.layers:
        layer["window"] = 20
    return data


def _capped():
    data = synthetic(n=128)
    logits = np.einsum("lhnd,lhnbd->lhnb", data.q, np.repeat(data.k, 2, axis=1).reshape(2, 4, 128, BOXES, 8)) * SCALING
    data.logsumexp = np.logaddexp(np.log(np.exp(5 * np.tanh(logits / 5)).sum(-1)), 0.0)
    for layer in data.layers:
        layer["softcap"] = 5.0
    return data


@pytest.fixture(scope="module")
def run(store):
    return store.run("synthetic")


def test_built_on_train_and_judged_on_test(store, run):
    assert (analysis.build_split(run), analysis.judge_split(run)) == ("train", "test")
    assert (analysis.build_split(store.run("unsplit")), analysis.judge_split(store.run("unsplit"))) == (None, None)
    assert analysis.covariance(run, ORDER, 1, 0).counts.n_pos == 384
    assert analysis.intervene(run, {"order": (ORDER,)}, 1, 0).n == 128


def test_the_planted_order_has_its_rank_and_noise_does_not(run):
    assert (
        analysis.covariance(run, ORDER, *ORDER_HEAD).subspace.rank == BOXES - 1
    )  # four centred places span three dimensions
    assert analysis.covariance(run, ORDER, *NOISE_HEAD).subspace.rank > BOXES
    assert analysis.covariance(run, ORDER, *ORDER_HEAD, rank=2).subspace.rank == 2


def test_heads_find_the_planted_ones(run):
    found = {(h.layer, h.head): h for h in heads(run, ORDER)}
    assert len(found) == 8
    for head in ((1, 0), (1, 1)):
        assert found[head].accuracy > 0.9
        assert found[head].p_value == 0.05
        assert found[head].delta_norm > 2 * found[head].delta_null
    for head in ((0, 0), (0, 3), (1, 3)):
        assert found[head].accuracy < 0.5
        assert found[head].delta_norm < 2 * found[head].delta_null
    assert found[1, 0].selectivity > 10 * found[0, 0].selectivity
    assert (found[1, 0].built_on, found[1, 0].judged_on, found[1, 0].n_queries) == ("train", "test", 128)


def test_head_scores_equal_a_loop(run):
    (score,) = [h for h in heads(run, ORDER, nulls=0) if (h.layer, h.head) == (1, 2)]
    data = synthetic(n=512)
    right, on, off = [], [], []
    for i in range(384, 512):
        logit = data.k[1, 1, i * BOXES : (i + 1) * BOXES] @ data.q[1, 2, i] * SCALING
        attention = np.exp(logit - data.logsumexp[1, 2, i])
        place = data.prompts["queried_order"][i] - 1
        right.append(logit.argmax() == place)
        on.append(attention[place])
        off.append(attention.sum() - attention[place])
    assert score.accuracy == pytest.approx(np.mean(right))
    assert score.attention_positive == pytest.approx(np.mean(on), rel=1e-5)
    assert score.attention_negative == pytest.approx(np.mean(off), rel=1e-5)
    assert score.p_value is None
    assert score.delta_null is None


def test_heads_report_progress(run):
    seen = []
    heads(run, ORDER, nulls=0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 8), (8, 8)], "the heads of a layer are read together where they have few rows"


def test_cross_prompt_negatives_have_no_attention(run):
    score = next(h for h in heads(run, LEXICAL, nulls=0) if (h.layer, h.head) == (1, 2))
    assert score.attention_negative is None
    assert score.selectivity is None
    assert score.accuracy > 0.8


def test_swapping_the_planted_order_moves_attention_and_random_does_not(run):
    found = analysis.intervene(run, {"order": (ORDER,)}, *ORDER_HEAD)
    order, random = found.conditions
    assert (order.name, random.name) == ("order", "random")
    assert order.rank == random.rank == 3
    assert order.target_after > 0.8 > 0.2 > order.original_after
    assert random.target_after < 0.4
    assert random.bases == 10
    assert order.target_before == pytest.approx(random.target_before, abs=1e-12)
    assert order.ci["target_after"][0] < order.target_after < order.ci["target_after"][1]


def test_two_contrasts_are_swapped_apart_and_together_on_the_same_rows(run):
    found = analysis.intervene(run, {"order": (ORDER,), "lexical": (LEXICAL,)}, 1, 2)
    assert [c.name for c in found.conditions] == [
        "order",
        "lexical",
        "order+lexical",
        "random of order's rank",
        "random of lexical's rank",
        "random",
    ]
    assert len({(round(c.original_before, 12), c.n) for c in found.conditions}) == 1
    by_name = {c.name: c for c in found.conditions}
    assert by_name["lexical"].target_after > by_name["random of lexical's rank"].target_after
    assert by_name["order+lexical"].rank == by_name["random"].rank


def test_a_rank_can_be_given(run):
    found = analysis.intervene(run, {"order": (ORDER,)}, *ORDER_HEAD, ranks={"order": 1})
    assert found.conditions[0].rank == 1


def test_hidden_keys_are_left_out_and_counted(store):
    found = analysis.intervene(store.run("windowed"), {"order": (ORDER,)}, 1, 0)
    assert found.hidden > 0
    assert found.n + found.hidden == 32


def test_attribution_sums_to_the_logit(run):
    found = analysis.attribute(run, {"order": (ORDER,), "lexical": (LEXICAL,)}, 1, 2, prompt_id=400)
    data = synthetic(n=512)
    for i, token in enumerate(found.tokens):
        logit = float(data.q[1, 2, 400].astype(float) @ data.k[1, 1, 400 * BOXES + i] * SCALING)
        assert token["logit"] == pytest.approx(logit, rel=1e-12)
        assert sum(token["parts"].values()) == pytest.approx(logit, abs=1e-12)
        assert token["attention"] == pytest.approx(np.exp(logit - data.logsumexp[1, 2, 400]), rel=1e-5)
        assert token["role"] == "box"
    assert found.query["text"] == "box"
    assert list(found.tokens[0]["parts"])[-1] == "rest"
    assert found.ranks[found.order[0]] <= found.ranks[found.order[1]]


def test_order_of_projection_can_be_chosen_and_matters(run):
    features = {"order": (ORDER,), "lexical": (LEXICAL,)}
    one, other = (
        analysis.attribute(run, features, 1, 2, 400, order=list(o))
        for o in (("order", "lexical"), ("lexical", "order"))
    )
    assert one.order == ["order", "lexical"]
    assert other.order == ["lexical", "order"]
    assert one.tokens[0]["parts"]["order"] != pytest.approx(other.tokens[0]["parts"]["order"])
    with pytest.raises(ContrastError, match="order, lexical, not order"):
        analysis.attribute(run, features, 1, 2, 400, order=["order"])


def test_capped_logits_attribute_before_the_cap_and_attend_after(store):
    run = store.run("capped")
    found = analysis.attribute(run, {"order": (ORDER,)}, 1, 0, 100)
    data = _capped()
    raw = data.k[1, 0, 400:404].astype(float) @ data.q[1, 0, 100] * SCALING
    assert np.allclose([t["logit"] for t in found.tokens], raw)
    assert np.allclose(
        [t["attention"] for t in found.tokens], np.exp(5 * np.tanh(raw / 5) - data.logsumexp[1, 0, 100]), rtol=1e-5
    )
    assert not np.allclose([t["attention"] for t in found.tokens], np.exp(raw - data.logsumexp[1, 0, 100]), rtol=1e-2)


def test_shares_tell_what_a_head_reads(run):
    features = {"order": (ORDER,), "lexical": (LEXICAL,)}
    by_order = analysis.shares(run, features, *ORDER_HEAD, over=ORDER).shares.share
    assert by_order["order"] > 0.8
    assert sum(by_order.values()) == pytest.approx(1)


@pytest.mark.parametrize("method", ["pca", "raw"])
def test_projection_separates_places_in_the_order_head(run, method):
    points = analysis.project(run, (ORDER,), *ORDER_HEAD, "queried_order", "order_id", method)
    table = points.table
    assert points.shown == points.total == len(table) == 128 + 512
    assert points.split == "test"
    xyz = table.select("x", "y", "z").to_numpy()
    group, side = table["group"].to_numpy(), table["side"].to_numpy()
    centre = {g: xyz[(group == g) & (side == "key")].mean(0) for g in "1234"}
    nearest = [min(centre, key=lambda g: np.linalg.norm(p - centre[g])) for p in xyz[side == "query"]]
    assert np.mean(nearest == group[side == "query"]) > 0.9


def test_projection_says_how_many_it_shows(run):
    points = analysis.project(run, (ORDER,), *ORDER_HEAD, "queried_order", "order_id", most=100)
    assert points.shown == len(points.table) <= 100 < points.total == 640
    assert set(points.table["group"]) == set("1234")


def test_a_span_of_contrasts_is_one_subspace(run):
    places = tuple(
        ORDER.replace(name=f"place:{i}", where=f"k.prompt_id = q.prompt_id and q.queried_order = {i}")
        for i in range(1, 5)
    )
    span = analysis.subspace(run, places, *ORDER_HEAD, rank=1)
    assert span.V.shape[1] == 4
    assert np.allclose(span.V.T @ span.V, np.eye(4))
    found = analysis.intervene(run, {"places": places}, *ORDER_HEAD)
    assert found.n == 128
    assert found.conditions[0].target_after > 0.8


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda r: analysis.covariance(r, ORDER, 5, 0), "has no layer 5"),
        (lambda r: analysis.covariance(r, ORDER, 0, 9), "has no head 9"),
        (lambda r: analysis.intervene(r, {"order": (ORDER,)}, 0, 9), "has no head 9"),
        (lambda r: analysis.attribute(r, {"order": (ORDER,)}, 0, 0, 9999), "has no prompt 9999"),
        (
            lambda r: analysis.attribute(r, {"order": (ORDER,)}, 0, 0, 3, query_row=7),
            "query row 7 is not of prompt 3; its rows are 3",
        ),
        (lambda r: analysis.project(r, (ORDER,), 0, 0, "queried_ordr", "order_id"), "did you mean 'queried_order'"),
        (lambda r: analysis.covariance(r, ORDER, 0, 0, rank=99), "rank 99 is outside 1…8"),
        (lambda r: analysis.intervene(r, {"order": (ORDER,)}, 0, 0, n_random=3), "needs 10 or more"),
    ],
)
def test_bad_input_is_one_line(run, call, says):
    with pytest.raises((RunError, ContrastError)) as error:
        call(run)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_shares_of_a_summed_contrast_are_of_the_gap_of_means(run):
    features = {"order": (ORDER,)}
    summed, means = (
        analysis.shares(run, features, *ORDER_HEAD, over=ORDER.replace(weighting=w)).shares for w in ("sum", "pair")
    )
    assert summed == means
    assert summed.gap > 0
