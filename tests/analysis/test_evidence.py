"""Evidence: what is said of ΔC in one head is what plain NumPy says of vectors chosen by hand.

The null beside it is dealt anew.
"""

from __future__ import annotations

import numpy as np
import pytest
import stores
from synthetic import BOXES, SCALING, D, synthetic, write

import qkstore
from qkstore import interval
from qkstore.analysis.evidence import DEALS, evidence
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RunError
from qkstore.rank import LEAST

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
N, TRAIN = 256, 192
PLANTED, NOISE = (1, 0), (0, 3)


@pytest.fixture(scope="module")
def data():
    return synthetic(N)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("evidence")
    write(path, data=data)
    return qkstore.open(path).run("synthetic")


def vectors(data, layer: int, head: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the train prompts: q (n, d), their keys (n, boxes, d), and the place that is asked for."""
    k = data.k[layer, head // 2].reshape(N, BOXES, D)
    return (
        data.q[layer, head, :TRAIN].astype(float),
        k[:TRAIN].astype(float),
        data.prompts["queried_order"].to_numpy()[:TRAIN] - 1,
    )


def delta(q: np.ndarray, k: np.ndarray, place: np.ndarray) -> np.ndarray:
    """E[q kᵀ | +] − E[q kᵀ | −], one pair after the other (eq. 5)."""
    positive = [np.outer(q[i], k[i, place[i]]) for i in range(len(q))]
    negative = [np.outer(q[i], k[i, j]) for i in range(len(q)) for j in range(BOXES) if j != place[i]]
    return np.mean(positive, axis=0) - np.mean(negative, axis=0)


@pytest.mark.parametrize("at", [PLANTED, (1, 2), NOISE])
def test_the_norm_the_rank_and_the_share_of_the_mean_query_are_those_of_a_loop(run, data, at):
    q, k, place = vectors(data, *at)
    by_hand, found = delta(q, k, place), evidence(run, ORDER, *at)
    squares = np.linalg.svd(by_hand, compute_uv=False) ** 2
    assert found.moments.norm.value == pytest.approx(np.linalg.norm(by_hand), rel=1e-6)
    assert (
        found.moments.rank.value == found.rank.energy == int(np.argmax(np.cumsum(squares) / squares.sum() >= 0.99)) + 1
    )
    alone = np.outer(q.mean(axis=0), delta(np.ones_like(q), k, place)[0])
    assert found.moments.mean_query.value == pytest.approx(
        1 - np.sum((by_hand - alone) ** 2) / np.sum(by_hand**2), abs=1e-6
    )
    assert found.moments.norm.value != pytest.approx(np.linalg.norm(delta(q, k, place[::-1])), rel=1e-3), (
        "the control: other places"
    )


@pytest.mark.parametrize("at", [PLANTED, NOISE])
def test_the_gap_is_the_mean_logit_on_positive_less_that_on_negative_keys(run, data, at):
    q, k, place = vectors(data, *at)
    logits, sought = SCALING * np.einsum("nd,nbd->nb", q, k), np.arange(BOXES) == place[:, None]
    gap, (low, high) = evidence(run, ORDER, *at).gap
    assert gap == pytest.approx(logits[sought].mean() - logits[~sought].mean(), rel=1e-5)
    assert low < gap < high
    each = logits[sought] - np.where(sought, 0, logits).sum(axis=1) / (
        BOXES - 1
    )  # one number a query: its standard error is known
    assert (high - low) / 2 == pytest.approx(1.96 * each.std(ddof=1) / np.sqrt(TRAIN), rel=0.45)
    assert (low > 0) == (at == PLANTED)


def test_counts_n_and_split_are_those_of_the_built_split(run):
    found = evidence(run, ORDER, *PLANTED)
    assert found.n == found.counts.n_q == TRAIN
    assert found.split == "train"
    assert found.scaling == SCALING
    assert tuple(found.counts)[2:] == (TRAIN, (BOXES - 1) * TRAIN)


def test_centred_queries_leave_what_a_constant_query_cannot_have(run, data):
    q, k, place = vectors(data, *PLANTED)
    found = evidence(run, ORDER.replace(centring="queries"), *PLANTED)
    assert found.moments.norm.value == pytest.approx(np.linalg.norm(delta(q - q.mean(axis=0), k, place)), rel=1e-6)
    assert found.moments.mean_query.value == pytest.approx(0, abs=1e-9)
    assert evidence(run, ORDER, *PLANTED).moments.mean_query.value > 1e-3


def test_summed_weights_give_the_scripts_size(run, data):
    """The authors sum over a query's keys where the text averages over pairs: the negatives count for more."""
    q, k, place = vectors(data, *PLANTED)
    sums = [
        np.outer(q[i], 2 * k[i, place[i]] - k[i].sum(axis=0)) for i in range(TRAIN)
    ]  # its positive key less the sum of the others
    found, text = (evidence(run, ORDER.replace(weighting=w), *PLANTED).moments.norm.value for w in ("sum", "pair"))
    assert found == pytest.approx(np.linalg.norm(np.mean(sums, axis=0)), rel=1e-6)
    assert found > 1.3 * text


# -- the null ----------------------------------------------------------------------------------------------------


def test_the_null_is_that_of_flipped_key_contrasts_of_centred_queries(run, data):
    rng = np.random.default_rng(7)
    for at in (PLANTED, NOISE):
        q, k, place = vectors(data, *at)
        x, c = q - q.mean(axis=0), np.array([delta(np.eye(1), k[i : i + 1], place[i : i + 1])[0] for i in range(TRAIN)])
        signs = rng.choice([-1, 1], (50 * DEALS, TRAIN))
        norms = np.linalg.norm(np.einsum("sn,nd,ne->sde", signs, x, c - c.mean(axis=0), optimize=True), axis=(1, 2))
        told = np.mean([evidence(run, ORDER, *at, seed=seed).null for seed in range(40)])
        norms = norms.reshape(50, DEALS) / np.sqrt(TRAIN * (TRAIN - 1))
        assert told == pytest.approx(np.quantile(norms, 0.95, axis=1).mean(), rel=0.025), "in the mean over seeds"
        assert told > np.quantile(norms, 0.9)
        observed = evidence(run, ORDER, *at).signs.observed
        assert observed == pytest.approx(np.linalg.norm(delta(x, k, place)), rel=1e-6)


def test_a_planted_head_has_the_least_p_and_noise_heads_any(run):
    planted = evidence(run, ORDER, *PLANTED)
    assert planted.p_value == 1 / (DEALS + 1)
    assert planted.strength == planted.signs.observed / planted.null > 3
    others = [evidence(run, ORDER, 0, h).p_value for h in range(4)]
    assert max(others) > 0.1
    assert all(1 / (DEALS + 1) <= p <= 1 for p in others)
    wrong = ORDER.replace(
        positive="k.order_id = 1 + hash(q.prompt_id) % 4", negative="k.order_id <> 1 + hash(q.prompt_id) % 4"
    )
    assert evidence(run, wrong, *PLANTED).p_value > 0.05, "the control: the head is planted, the labels are not its own"


def test_keys_of_one_sign_a_query_have_no_null(run):
    single = ORDER.replace(where=f"{ORDER.where} and ((q.prompt_id % 3 = 0) = (k.order_id = q.queried_order))")
    found = evidence(run, single, *PLANTED)
    assert found.signs is found.null is found.p_value is found.strength is None
    assert found.moments.norm.value > 0
    assert found.rank is not None


def test_too_few_queries_have_moments_and_no_tested_rank(run):
    few, enough = (
        evidence(run, ORDER.replace(where=f"{ORDER.where} and q.prompt_id < {n}"), *PLANTED) for n in (LEAST - 1, LEAST)
    )
    assert few.rank is None
    assert few.n == LEAST - 1
    assert few.moments.norm.low < few.moments.norm.value
    assert enough.rank is not None
    assert enough.rank.n == LEAST


def test_the_seed_deals_and_leaves_the_values(run):
    one, other = (evidence(run, ORDER, *NOISE, seed=s) for s in (0, 1))
    assert one == evidence(run, ORDER, *NOISE, seed=0)
    assert one.null != other.null
    assert one.moments.norm.value == other.moments.norm.value
    assert one.moments.norm.low != other.moments.norm.low


def test_a_run_of_one_split_gives_evidence_of_all_of_it(tmp_path):
    import polars as pl

    data = synthetic(64)
    data.prompts = data.prompts.with_columns(split=pl.lit("train"))
    write(tmp_path, data=data)
    assert evidence(qkstore.open(tmp_path).run("synthetic"), ORDER, *PLANTED).n == 64


def test_what_is_not_there_is_named(run, tmp_path):
    with pytest.raises(ContrastError, match="no positive pairs"):
        evidence(run, ORDER.replace(positive="k.order_id = 99"), *PLANTED)
    with pytest.raises(RunError, match="no layer 9"):
        evidence(run, ORDER, 9, 0)
    with pytest.raises(RunError, match="no head 4"):
        evidence(run, ORDER, 0, 4)


# -- the jackknife beneath it --------------------------------------------------------------------------------------


def test_the_interval_is_that_of_deltas_computed_anew_without_each_part(run, data):
    """Sums less those of a part are what is left.

    The intervals are the same as from ΔC of the queries that remain, one part after the other.
    """
    q, k, place = vectors(data, *PLANTED)
    deal = np.array_split(np.random.default_rng(0).permutation(TRAIN), interval.PARTS)
    left = []
    for part in deal:
        kept = np.setdiff1d(np.arange(TRAIN), part)
        without = delta(q[kept], k[kept], place[kept])
        left.append((np.linalg.norm(without), np.trace(without)))
    half = 2.093024 * np.sqrt((interval.PARTS - 1) * np.var(left, axis=0))
    found = evidence(run, ORDER, *PLANTED).moments
    for e, h in zip((found.norm, found.trace), half):
        assert (e.high - e.value, e.value - e.low) == (pytest.approx(h, rel=1e-5), pytest.approx(h, rel=1e-5))


def test_evidence_of_built_in_contrasts_is_of_the_prompts_that_they_name(tmp_path):
    """Lexical pairs of a synthetic run.

    Each base query of the train split is paired with its own box and with that of the counterfactual.
    """
    store = qkstore.open(stores.write(tmp_path, n=200))
    run = store.run("boxes")
    (lexical,) = store.feature(run, "lexical")
    rows = run.table(
        "SELECT prompt_id, counterfactual_id, queried_order FROM prompt WHERE split = 'train' AND variant = 'base'"
    ).to_pylist()
    q, k = run.queries(1, 2).astype(float), run.keys(1, 2).astype(float).reshape(200, BOXES, D)
    pairs = [(r["prompt_id"], r["counterfactual_id"], r["queried_order"] - 1) for r in rows]
    by_hand = np.mean([np.outer(q[p], k[p, at] - k[c, at]) for p, c, at in pairs if c is not None], axis=0)
    found = evidence(run, lexical, 1, 2)
    assert found.n == len(pairs)
    assert found.moments.norm.value == pytest.approx(np.linalg.norm(by_hand), rel=1e-6)
    assert found.strength > 1.2 > 1 > evidence(run, lexical, 0, 0).strength
