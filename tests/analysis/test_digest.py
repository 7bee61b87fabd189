"""What stands between a result and a page: rankings, nulls, comparisons, labels, examples and tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import stores

import qkstore
from qkstore import analysis
from qkstore import contrast as qkstore_contrast
from qkstore.analysis import attribution
from qkstore.analysis import head as analysis_head
from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.choice import Choice
from qkstore.analysis.evidence import compare, null
from qkstore.analysis.heads import HeadScore, best, heads, scored_by, summary, table
from qkstore.contrast import pairs
from qkstore.contrast.example import examples, prompts
from qkstore.errors import ContrastError, RunError
from qkstore.store.overview import overview
from qkstore.text import visible


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("digest") / "store"))


@pytest.fixture(scope="module")
def run(store):
    return store.run("boxes")


def contrast(store, run, name):
    return store.feature(run, name)[0]


def head(layer: int, number: int, accuracy: float | None, norm: float = 1.0, dealt: float | None = 1.0) -> HeadScore:
    made = HeadScore(layer, number, accuracy, None, None, None, None, norm, dealt, None, 1, 10, "train", "test")
    return replace(made, choice=Choice(accuracy, n=10))


def test_the_best_head_is_the_one_that_carries_the_feature(store, run):
    top = best(heads(run, contrast(store, run, "order"), nulls=0))
    assert (top.layer, top.head) in {(1, 0), (1, 1), (1, 2)}  # where the synthetic run finds the right box


def test_heads_without_accuracy_are_ranked_by_their_null_and_come_last():
    scores = [head(0, 0, None, 9.0, 3.0), head(0, 1, None, 4.0, 1.0)]
    assert best(scores).head == 1
    assert summary(scores).measure == "strength"
    assert summary(scores).value == 4.0
    assert best([*scores, head(0, 2, 0.1)]).head == 2
    assert table([*scores, head(0, 2, 0.1)])["head"].to_list() == [2, 1, 0]
    assert summary([head(0, 0, 0.5), head(0, 1, 0.51)]).n_selected == 0


def test_a_head_without_a_null_has_no_strength():
    assert table([head(0, 0, 0.5, dealt=None)])["strength"].to_list() == [None]
    assert table([head(0, 0, 0.5, dealt=0.0)])["strength"].to_list() == [None]


def test_a_span_is_scored_by_its_pooled_contrast():
    a, b, pooled = object(), object(), object()
    named = {"category:a": (a,), "category:*": (a, b), "category": (pooled,)}
    assert scored_by(named, "category:*") is pooled
    assert scored_by(named, "category:a") is a
    assert scored_by({"category:*": (a, b)}, "category:*") is a


def test_the_null_is_exceeded_where_the_feature_is_and_not_where_it_is_not(store, run):
    order = contrast(store, run, "order")
    carried, noise = null(run, order, 1, 0, n=39), null(run, order, 0, 0, n=39)
    assert carried.ratio > 1.5
    assert carried.p_value == 1 / 40
    assert carried.dealt
    assert noise.ratio < 1.3
    assert noise.p_value > 0.05
    np.testing.assert_allclose(carried.delta_norm, np.linalg.norm(analysis.covariance(run, order, 1, 0).delta))
    centred = analysis.covariance(run, order.replace(centring="queries"), 1, 0).delta
    np.testing.assert_allclose(carried.norm, np.linalg.norm(centred))


def test_a_contrast_whose_queries_have_one_sign_has_no_null(store, run):
    assert not null(run, contrast(store, run, "authors/lexical"), 1, 2, n=5).dealt


def test_a_subspace_overlaps_itself_wholly(store, run):
    order, lexical = store.feature(run, "order"), store.feature(run, "lexical")
    same, other = compare(run, order, order, 1, 0), compare(run, order, lexical, 1, 0)
    assert same.overlap_query == pytest.approx(1)
    assert same.overlap_key == pytest.approx(1)
    np.testing.assert_allclose(same.angles["angle"], 0, atol=1e-4)
    assert other.overlap_key < 1
    assert other.angles["angle"].max() > 1
    assert other.expected <= 1
    assert other.angles.filter(side="key").height == min(other.ranks)


def test_labels_come_from_the_positive_predicate_or_the_queried_label(store, run):
    assert qkstore_contrast.labels(run, contrast(store, run, "order")) == ("queried_order", "order_id")
    assert qkstore_contrast.labels(run, contrast(store, run, "lexical")) == ("queried_entity", "entity")
    q, k = qkstore_contrast.label_choices(run)
    assert "queried_order" in q
    assert "box" in k
    assert set(q) <= set(run.columns["q"])
    assert set(k) <= set(run.columns["k"])


def test_examples_are_pairs_of_the_contrast_in_their_prompts(store, run):
    lexical = contrast(store, run, "lexical")
    found = examples(run, lexical, "train", 3)
    assert [e.sign for e in found] == [1, 1, 1, -1, -1, -1]
    assert [e.same_prompt for e in found] == [True] * 3 + [False] * 3
    known = pairs(run, lexical, "train")
    rows = set(zip(known.query.tolist(), known.key.tolist(), known.sign.tolist()))
    assert {(e.query.row, e.key.row, e.sign) for e in found} <= rows
    for e in found:
        assert e.key.token == run.tokens(e.key.prompt_id)[e.key.pos]["text"]
        assert len(e.key.token) == 1
    assert found == examples(run, lexical, "train", 3)
    assert found != examples(run, lexical, "train", 3, seed=1)


def test_examples_of_an_empty_side_raise(store, run):
    with pytest.raises(ContrastError, match="positive"):
        examples(run, contrast(store, run, "order").replace(positive="k.order_id = 99"), "train")


def test_prompts_are_of_the_split_and_have_a_query(run):
    test = prompts(run, "test", most=5)
    assert len(test) == 5
    assert {p["split"] for p in test} == {"test"}
    assert len(prompts(run)) == 300
    assert "queried_order" in test[0]
    assert prompts(run, "none") == []


def test_the_overview_counts_every_run_and_names_the_damaged(tmp_path):
    where = stores.write(tmp_path / "store", n=64)
    (where / "runs" / "broken.duckdb").write_bytes(b"x" * 5000)
    found = overview(qkstore.open(where))
    assert found.runs["run"].to_list() == ["boxes"]
    assert len(found.damaged) == 1
    assert "broken" in str(found.damaged[0])
    assert (found.n_prompts, found.n_heads, found.n_saved) == (64, 8, 0)
    assert found.n_vectors == 2 * (4 * 64 + 2 * 64 * 4)
    empty = overview(qkstore.open(tmp_path / "none", create=True))
    assert empty.runs.is_empty()
    assert empty.n_heads == 0


def test_the_tables_hold_the_numbers(store, run):
    features = {name: store.feature(run, name) for name in ("order", "lexical")}
    found = analysis.attribute(run, features, 1, 0, 599)
    logits = attribution.table(found.tokens)
    np.testing.assert_allclose(logits.select("order", "lexical", "rest").sum_horizontal(), logits["logit"], rtol=1e-9)
    assert attribution.most_attended(found.tokens)["attention"] == logits["attention"].max()
    conditions = [c.to_dict() for c in analysis.intervene(run, features, 1, 0).conditions]
    swaps = analysis_swaps.table(conditions)
    assert swaps["name"].to_list()[:2] == ["order", "random of order's rank"]
    assert swaps["gain_low"].le(swaps["gain_high"]).all()


def test_the_headline_of_a_swap_is_the_chosen_contrasts_own(store, run):
    features = {name: store.feature(run, name) for name in ("lexical", "order")}
    conditions = [c.to_dict() for c in analysis.intervene(run, features, 1, 0).conditions]
    (alone, at_random), (both, both_at_random) = analysis_swaps.headline(conditions)
    assert (alone["name"], both["name"]) == ("lexical", "lexical+order")
    assert alone["delta_p"] < both["delta_p"], "it is not the one that moves the most"
    assert (at_random["rank"], both_at_random["rank"]) == (alone["rank"], both["rank"])
    assert min(at_random["bases"], both_at_random["bases"]) >= 10
    one = [c.to_dict() for c in analysis.intervene(run, {"order": features["order"]}, 1, 0).conditions]
    assert [pair[0]["name"] for pair in analysis_swaps.headline(one)] == ["order"]
    told = analysis_swaps.answer(*analysis_swaps.headline(one)[0])
    assert f"(rank {one[0]['rank']}), the target gains {100 * one[0]['delta_p']:.1f} % [" in told
    assert told.endswith(f"n = {one[0]['n']:,} queries")


def test_singular_values_say_what_they_hold():
    held = analysis_head.spectrum(np.array([2.0, 1.0, 0.0]), 2)
    np.testing.assert_allclose(held["held"], [0.8, 1, 1])
    assert held["kept"].to_list() == [True, True, False]
    assert analysis_head.spectrum(np.zeros(2), 0)["held"].to_list() == [0, 0]


def test_orders_of_projection():
    assert attribution.orders(["a"]) == {}
    assert attribution.orders(["a", "b"]) == {"a → b": ["a", "b"], "b → a": ["b", "a"]}


def test_a_prompt_that_is_not_there_raises(run):
    with pytest.raises(RunError, match="no prompt"):
        run.prompt(10**6)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "·the"),
        ("the", "the"),
        ("\n", "↵"),
        ("\t", "U+0009"),
        ("\u202eabc", "U+202Eabc"),
        ("a\u200bb", "aU+200Bb"),
        ("\x1b[31m", "U+001B[31m"),
        ("é漢", "é漢"),
        ("", ""),
        ("a b", "a b"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text, shown):
    assert visible(text) == shown


def test_the_null_is_of_the_contrasts_own_kind(tmp_path):
    """Sums over keys have a larger null than means; the page's null and the head scores' must be one."""
    from synthetic import write

    import qkstore
    from qkstore.analysis.evidence import null
    from qkstore.analysis.heads import heads
    from qkstore.contrast import Contrast

    write(tmp_path, n=128)
    run = qkstore.open(tmp_path).run("synthetic")
    for weighting in ("pair", "sum"):
        asked = Contrast(
            weighting=weighting,
            where="k.prompt_id = q.prompt_id",
            positive="k.order_id = q.queried_order",
            negative="k.order_id <> q.queried_order",
        )
        (score,) = [h for h in heads(run, asked, nulls=99) if (h.layer, h.head) == (1, 0)]
        found = null(run, asked, 1, 0)
        assert (found.norm, found.delta_norm) == pytest.approx((score.delta_centred, score.delta_norm), rel=1e-6)
        assert (found.p_value, found.ratio) == (score.p_value, pytest.approx(score.strength, rel=1e-6))
        assert found.norm / found.ratio == pytest.approx(score.delta_null, rel=1e-6)
