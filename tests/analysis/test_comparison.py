"""Two tables of head scores compared: every figure again by plain NumPy, and controls that must fail."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

import qkstore
from qkstore import Contrast
from qkstore.analysis import Head, heads
from qkstore.errors import ContrastError, RunError
from qkstore.interval import Estimate, wilson

Z = 1.959964


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Runs a and b: the same prompts in two models; 'other': other prompts; 'wide': more heads."""
    path = tmp_path_factory.mktemp("compared") / "store"
    data = synthetic.synthetic(n=240)
    synthetic.write(path, "a", data)
    rng = np.random.default_rng(5)
    data.q[1, 0] = rng.normal(size=data.q[1, 0].shape)  # head 1.0 of b has lost the feature
    data.manifest = data.manifest | {"weights_hash": "1" * 64}
    synthetic.write(path, "b", data)
    other = synthetic.synthetic(n=240, seed=9)
    other.prompts = other.prompts.with_columns(text=other.prompts["text"] + " !")
    synthetic.write(path, "other", other)
    synthetic.write(path, "wide", n=32, n_heads=8)
    return qkstore.open(path)


SAME = "q.prompt_id = k.prompt_id"
ORDER = Contrast("order", where=SAME, positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
WORD = Contrast("word", where=SAME, positive="k.entity = q.queried_entity", negative="k.entity <> q.queried_entity")
NEXT = Contrast("next", where=SAME, positive="k.order_id = 1", negative="k.order_id = 2")


def right(run, layer: int, head: int, positive) -> np.ndarray:
    """(n,) of the test queries: is the largest logit on the key that positive(place asked, prompt) names?"""
    rows = np.flatnonzero(np.array(run.labels("q", ["split"], np.arange(run.n_queries))["split"].to_pylist()) == "test")
    q = run.queries(layer, head, rows)
    k = run.keys(layer, head, (rows[:, None] * synthetic.BOXES + np.arange(synthetic.BOXES)).ravel())
    logits = np.einsum("nd,nbd->nb", q, k.reshape(len(rows), synthetic.BOXES, -1))
    return positive(logits, rows, run)


def of_order(logits, rows, run) -> np.ndarray:
    asked = run.labels("q", ["queried_order"], rows)["queried_order"].to_numpy() - 1
    return (logits.argmax(axis=1) == asked).astype(float)


def first_of_two(logits, rows, run) -> np.ndarray:
    return (logits[:, 0] > logits[:, 1]).astype(float)


def newcombe(a: np.ndarray, b: np.ndarray, phi: float) -> tuple[float, float]:
    (la, ua), (lb, ub) = (wilson(x.sum(), len(x)) for x in (a, b))
    p, q = a.mean(), b.mean()
    low = p - q - np.sqrt((p - la) ** 2 + (ub - q) ** 2 - 2 * phi * (p - la) * (ub - q))
    high = p - q + np.sqrt((ua - p) ** 2 + (q - lb) ** 2 - 2 * phi * (ua - p) * (q - lb))
    return float(low), float(high)


def row(found, layer: int, head: int) -> dict:
    return next(r for r in found.table.to_dicts() if (r["layer"], r["head"]) == (layer, head))


def test_two_contrasts_on_one_run_are_paired_query_by_query(store):
    run = store.run("a")
    found = heads.compared(store, (run, ORDER), (run, NEXT))
    assert found.paired.n == found.paired.of == 60
    for layer, head in ((1, 0), (1, 2), (0, 3)):
        a, b = right(run, layer, head, of_order), right(run, layer, head, first_of_two)
        phi = np.corrcoef(a, b)[0, 1] if a.std() and b.std() else 0.0
        told = row(found, layer, head)
        assert told["first"] == pytest.approx(a.mean())
        assert told["second"] == pytest.approx(b.mean())
        assert told["difference"] == pytest.approx(a.mean() - b.mean())
        assert (told["low"], told["high"]) == pytest.approx(newcombe(a, b, phi))
    assert abs(np.corrcoef(right(run, 0, 3, of_order), right(run, 0, 3, first_of_two))[0, 1]) > 0.01, "pairing matters"


def test_two_runs_of_the_same_prompts_are_paired_and_the_lost_feature_is_the_largest_difference(store):
    a, b = store.run("a"), store.run("b")
    found = heads.compared(store, (a, ORDER), (b, ORDER))
    assert found.paired.n == 60
    largest = found.largest
    assert (largest["layer"], largest["head"]) == (1, 0)
    one, two = right(a, 1, 0, of_order), right(b, 1, 0, of_order)
    assert largest["difference"] == pytest.approx(one.mean() - two.mean())
    assert "1 of 8 heads differs by more than chance gives; the most L1 H0" in found.sentence
    assert "of two models (synthetic of weights 00000000, synthetic of weights 11111111)" in found.statement
    for layer, head in ((0, 0), (0, 1), (1, 1), (1, 3)):
        same = row(found, layer, head)
        assert same["difference"] == 0
        assert not same["clear"]


def test_two_runs_of_other_prompts_count_as_independent(store):
    a, other = store.run("a"), store.run("other")
    found = heads.compared(store, (a, ORDER), (other, ORDER))
    assert found.paired.n == 0
    one, two = right(a, 1, 0, of_order), right(other, 1, 0, of_order)
    assert (row(found, 1, 0)["low"], row(found, 1, 0)["high"]) == pytest.approx(newcombe(one, two, 0.0))
    assert "no query is the same for both" in found.statement


def test_prompts_that_are_only_alike_in_number_are_not_paired(store):
    """Row 3 of one run is not row 3 of another: the text decides."""
    a, other = store.run("a"), store.run("other")
    assert heads.paired((a, ORDER), (other, ORDER)).n == 0
    assert heads.paired((a, ORDER), (store.run("b"), ORDER)).n == 60


def test_among_heads_of_noise_about_none_is_called_different(tmp_path):
    """600 heads without any feature in two runs: each by itself 5 % differ, for all together nearly none."""
    for name, seed in (("one", 1), ("two", 2)):
        synthetic.write(tmp_path, name, synthetic.synthetic(n=240, n_layers=1, n_heads=300, n_kv_heads=300, seed=seed))
    store = qkstore.open(tmp_path)
    one, two = store.run("one"), store.run("two")
    scores, others = heads.heads(one, ORDER, 0), heads.heads(two, ORDER, 0)
    found = heads.compare((one, ORDER), (two, ORDER), scores, others, heads.Pairing(0, 120, {}), "accuracy")
    alone = ((found.table["low"] > 0) | (found.table["high"] < 0)).mean()
    assert 0.01 < alone < 0.1
    assert found.table["clear"].sum() == 0
    assert found.largest is None
    assert "No head of 300 differs in accuracy" in found.sentence


def test_the_interval_covers_the_true_difference_of_paired_answers():
    """By simulation: Newcombe's interval with the correlation covers, and without it is too wide."""
    rng, n, inside, width, unpaired = np.random.default_rng(0), 80, 0, [], []
    for _ in range(400):
        shared = rng.random(n) < 0.6
        a = np.where(shared, rng.random(n) < 0.9, rng.random(n) < 0.5)
        b = np.where(rng.random(n) < 0.85, a, rng.random(n) < 0.4)
        truth = (0.6 * 0.9 + 0.4 * 0.5) * (1 - 0.85) - 0.4 * 0.15
        sides = [Estimate(float(x.mean()), *wilson(int(x.sum()), n)) for x in (a, b)]
        found = sides[0].less(sides[1], float(np.corrcoef(a, b)[0, 1]))
        inside += found.low <= truth <= found.high
        width.append(found.high - found.low)
        loose = sides[0].less(sides[1])
        unpaired.append(loose.high - loose.low)
    assert 0.92 <= inside / 400 <= 0.985
    assert np.mean(width) < 0.7 * np.mean(unpaired)


def test_the_interval_for_many_together_is_that_of_the_smaller_level():
    from scipy.stats import norm

    low, high = Estimate(1.0, 1.0 - Z, 1.0 + Z).together(1024)
    assert (low, high) == pytest.approx((1 - norm.ppf(1 - 0.025 / 1024), 1 + norm.ppf(1 - 0.025 / 1024)), rel=1e-5)
    assert Estimate(1.0, 0.5, 2.0).together(1) == pytest.approx((0.5, 2.0))


def test_the_correlation_of_a_ratio_is_that_over_resamples(store):
    """The delta method against a bootstrap over the same queries."""
    run, contrasts = store.run("a"), (ORDER, WORD)
    tied = heads.paired((run, ORDER), (run, WORD)).correlations[1, 0]
    sums = [Head(run, 1, 0).read(c, "judge").by_query().sums for c in contrasts]
    rng, draws = np.random.default_rng(0), []
    for _ in range(2000):
        drawn = rng.integers(0, len(sums[0]), len(sums[0]))
        draws.append([s[drawn, 0].mean() / s[drawn, 1].mean() for s in sums])
    assert tied["selectivity"] == pytest.approx(np.corrcoef(np.log(draws), rowvar=False)[0, 1], abs=0.12)


def test_measures_without_an_interval_have_a_difference_and_no_claim(store):
    run = store.run("a")
    found = heads.compared(store, (run, ORDER), (run, NEXT), "rank")
    assert found.table["low"].null_count() == found.table["clear"].null_count() == 8
    assert found.largest is None
    assert "no difference can be called clear" in found.sentence
    for s, o in zip(heads.kept(store, run, ORDER), heads.kept(store, run, NEXT), strict=True):
        assert row(found, s.layer, s.head)["difference"] == s.rank - o.rank


def test_where_no_head_has_the_measure_for_both_nothing_is_claimed(store):
    run = store.run("a")
    plain, other = heads.heads(run, ORDER, 0), heads.heads(run, NEXT, 0)
    found = heads.compare((run, ORDER), (run, NEXT), plain, other, heads.Pairing(0, 60, {}), "p_value")
    assert "no difference can be called clear" in found.sentence
    none = [heads.HeadScore.of(s.to_dict() | {"selectivity": None, "selectivity_ci": None}) for s in other]
    found = heads.compare((run, ORDER), (run, NEXT), plain, none, heads.Pairing(0, 60, {}), "selectivity")
    assert found.sentence == "No head of 8 has a selectivity for both order and next: there is nothing to compare."


def test_another_chance_level_is_told(store):
    run = store.run("a")
    assert "25 % for order and 50 % for next: −25 points" in heads.compared(store, (run, ORDER), (run, NEXT)).statement
    assert "Chance is" not in heads.compared(store, (run, ORDER), (run, WORD)).statement


def test_it_is_computed_once_for_a_store(store, monkeypatch):
    run = store.run("a")
    first = heads.kept_pairing(store, (run, ORDER), (run, WORD))
    monkeypatch.setattr("qkstore.analysis.heads.pairing.paired", None)  # would raise
    assert heads.kept_pairing(store, (run, ORDER), (run, WORD)) == first
    with pytest.raises(TypeError):
        heads.kept_pairing(store, (run, WORD), (run, NEXT))


def test_what_cannot_be_compared_is_one_line(store):
    a, wide = store.run("a"), store.run("wide")
    with pytest.raises(RunError, match="a has 2 layers of 4 heads, wide has 2 layers of 8 heads"):
        heads.compared(store, (a, ORDER), (wide, ORDER))
    with pytest.raises(ContrastError, match="did you mean 'accuracy'"):
        heads.compared(store, (a, ORDER), (a, WORD), "acuracy")
    with pytest.raises(ContrastError, match="compared with itself"):
        heads.compared(store, (a, ORDER), (a, ORDER))


# -- what is clear of chance ---------------------------------------------------------------------------------------


def test_an_accuracy_is_clear_where_its_interval_for_all_heads_leaves_chance_out(store):
    scores = heads.kept(store, store.run("a"), ORDER)
    table = heads.table(scores)
    for s in scores:
        p, (low, high) = s.accuracy, s.accuracy_ci
        wide = 2.734 / Z  # of a level of .05 ÷ 8
        clear = not p - wide * (p - low) <= 0.25 <= p + wide * (high - p)
        assert table.filter(layer=s.layer, head=s.head)["clear"].item() == clear
    assert table["clear"].to_list()[:2] == [True, True]
    assert not table["clear"].all()


def test_p_is_clear_at_the_level_and_says_that_it_is_the_least(store):
    scores = heads.kept(store, store.run("a"), ORDER)
    for s in scores:
        assert heads.clear(s, "strength", 8) == (s.p_value <= 0.05)
    read = next(s for s in scores if (s.layer, s.head) == (1, 0))
    assert read.p_told.endswith("0.05, the least that 19 deals can give")
    assert "the least" not in max(scores, key=lambda s: s.p_value).p_told
    assert "19 deals of signs give no p below 0.05" in heads.clear_told(scores, "p_value")
    assert "0.4 would" in heads.clear_told(scores, "p_value")
    assert heads.clear_told(scores, "rank") == ""


def test_why_a_head_has_no_value_is_told(store):
    scores = heads.heads(store.run("a"), NEXT, nulls=0)
    assert {heads.missing(s, "strength") for s in scores} == {"‖ΔC‖ has no null"}
    assert {heads.missing(s, "accuracy") for s in scores} == {""}
    assert heads.clear(scores[0], "p_value", 8) is None


def test_attention_has_students_interval(store):
    run = store.run("a")
    s = heads.kept(store, run, ORDER)[4]
    on = Head(run, s.layer, s.head).read(ORDER, "judge").by_query().sums[:, 0]
    from scipy.stats import t

    half = t.ppf(0.975, len(on) - 1) * on.std(ddof=1) / np.sqrt(len(on))
    assert s.attention_positive_ci == pytest.approx((on.mean() - half, on.mean() + half))
