"""Swaps prompt by prompt: their means are those of the swap, and each is what plain NumPy makes of edited vectors."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

import qkstore
from qkstore.analysis import Head, intervene
from qkstore.analysis.moved import moved, prompt
from qkstore.analysis.swaps import intervene_queries
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError

ALONE = "k.prompt_id = q.prompt_id and k.role = 'box'"
ORDER = Contrast("order", ALONE, positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
ENTITY = Contrast("entity", ALONE, positive="k.entity = q.queried_entity", negative="k.entity <> q.queried_entity")
FEATURES = {"order": (ORDER,), "entity": (ENTITY,)}
LAYER, HEAD = 1, 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("moved")
    synthetic.write(store, n=240)
    return qkstore.open(store).run("synthetic")


@pytest.fixture(scope="module", params=["keys", "queries"])
def found(run, request):
    return moved(run, FEATURES, LAYER, HEAD, side=request.param)


def test_the_means_over_queries_are_those_of_the_swap(run, found):
    of = {"keys": intervene, "queries": intervene_queries}[found.side](run, FEATURES, LAYER, HEAD)
    assert (found.n, found.split, found.hidden) == (of.n, of.split, of.hidden)
    features, randoms = of.conditions[:3], of.conditions[3:]
    assert list(found.bases) == [c.name for c in features]
    for c, r in zip(features, randoms):
        rows = found.of(c.name)
        assert len(rows) == of.n
        names = ("original_before", "target_before", "original_after", "target_after", "delta_p", "gap_gain")
        np.testing.assert_allclose([rows[n].mean() for n in names], [getattr(c, n) for n in names], atol=1e-12)
        assert rows["flipped"].mean() == pytest.approx(c.flip_rate)
        assert found.at_random[c.name].shape == (10, of.n)
        np.testing.assert_allclose(rows["random_delta_p"].to_numpy(), found.at_random[c.name].mean(axis=0))
        assert found.at_random[c.name].mean() == pytest.approx(r.delta_p)


def test_the_places_and_texts_are_those_of_the_rows(run, found):
    rows = found.of("order")
    tokens = {(i, t["pos"]): t["text"] for i in set(rows["prompt_id"]) for t in run.tokens(i)}
    for row in rows.to_dicts():
        for name in ("original", "target"):
            assert run.key_places[0][row[f"{name}_row"]] == row["prompt_id"]
            assert tokens[row["prompt_id"], row[f"{name}_pos"]] == row[name]
        assert run.query_places[0][row["query_row"]] == row["prompt_id"]


def own(run, at, row):
    """q (d,), K (4, d) and the places of original and target among the keys of one prompt."""
    keys = np.flatnonzero(run.key_places[0] == row["prompt_id"])
    q = at.queries(np.array([row["query_row"]]))[0].astype(float)
    return q, at.keys(keys).astype(float), list(keys).index(row["original_row"]), list(keys).index(row["target_row"])


@pytest.mark.parametrize("condition", ["order", "order+entity"])
def test_a_prompt_s_attention_after_swapped_keys_is_that_of_edited_keys(run, condition):
    """exp(logit) over the sum of all exp(logit), the rest of the row, which is not stored, as it was."""
    found, at = moved(run, FEATURES, LAYER, HEAD), Head(run, LAYER, HEAD)
    V = found.bases[condition]
    for row in found.of(condition).to_dicts()[:5]:
        q, K, original, target = own(run, at, row)
        rest = np.exp(at.logsumexp(np.array([row["query_row"]]))[0]) - np.exp(synthetic.SCALING * K @ q).sum()
        edited = K.copy()
        edited[original] += V @ V.T @ (K[target] - K[original])
        edited[target] += V @ V.T @ (K[original] - K[target])
        weight = np.exp(synthetic.SCALING * edited @ q)
        shown = prompt(run, found, condition, row["query_row"])
        np.testing.assert_allclose([t["after"] for t in shown.tokens], weight / (weight.sum() + rest), atol=1e-9)
        assert shown.tokens[original]["key"] == "original"
        assert shown.tokens[target]["key"] == "target"
        assert shown.tokens[target]["after"] == pytest.approx(row["target_after"], abs=1e-9)
        assert shown.tokens[original]["before"] == pytest.approx(row["original_before"], abs=1e-9)


def test_a_prompt_s_attention_after_a_swapped_query_is_that_of_the_edited_query(run):
    found, at = moved(run, FEATURES, LAYER, HEAD, side="queries"), Head(run, LAYER, HEAD)
    U = found.bases["order"]
    for row in found.of("order").to_dicts()[:5]:
        q, K, _, target = own(run, at, row)
        other = at.queries(np.array([row["other_row"]]))[0].astype(float)
        for x, name in ((q, "before"), (q + U @ U.T @ (other - q), "after")):
            weight = np.exp(synthetic.SCALING * K @ x)
            shown = prompt(run, found, "order", row["query_row"])
            np.testing.assert_allclose([t[name] for t in shown.tokens], weight / weight.sum(), atol=1e-9)
        assert shown.tokens[target]["after"] == pytest.approx(row["target_after"], abs=1e-9)


def test_orders_of_prompts(run):
    found = moved(run, FEATURES, 0, 3)  # a head of noise, whose swaps go both ways
    gains = found.of("order")["delta_p"].to_numpy()
    np.testing.assert_array_equal(found.of("order", "most")["delta_p"], np.sort(gains)[::-1])
    np.testing.assert_array_equal(found.of("order", "least")["delta_p"].abs(), np.sort(np.abs(gains)))
    wrong = found.of("order", "wrong")["delta_p"]
    assert 0 < len(wrong) < len(gains)
    np.testing.assert_array_equal(wrong, np.sort(gains[gains < 0]))


def test_control_a_head_without_the_feature_moves_no_more_than_random(run):
    with_it, without = (moved(run, {"order": (ORDER,)}, *at) for at in ((1, 0), (0, 3)))
    for found, clear in ((with_it, True), (without, False)):
        rows = found.of("order")
        less = (rows["delta_p"] - rows["random_delta_p"]).to_numpy()
        assert (less.mean() > 4 * less.std() / np.sqrt(len(less))) == clear


def test_at_most_so_many_queries(run):
    found = moved(run, FEATURES, LAYER, HEAD, most=7)
    assert found.n == 7
    assert found.table.group_by("condition").len()["len"].to_list() == [7, 7, 7]


def test_mistakes_are_told(run):
    found = moved(run, FEATURES, LAYER, HEAD, most=7)
    with pytest.raises(ContrastError, match="no swap 'ordr'"):
        found.of("ordr")
    with pytest.raises(ContrastError, match="no order 'best'"):
        found.of("order", "best")
    with pytest.raises(ContrastError, match="query row 0 is none of the 7"):
        prompt(run, found, "order", 0)
    with pytest.raises(ContrastError, match="10 or more random subspaces, not 3"):
        moved(run, FEATURES, LAYER, HEAD, n_random=3)
