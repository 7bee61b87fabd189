"""Contrasts: SQL to pairs to ΔC, equal to a computation from SELECTed vectors; what is wrong is said in one line."""

from __future__ import annotations

from typing import get_args

import duckdb
import numpy as np
import pytest
from synthetic import write

import qkstore
from qkstore.analysis import Head, Rows, covariance
from qkstore.contrast import CENTRINGS, WEIGHTINGS, Centring, Contrast, Weighting, pairs
from qkstore.covariance import ContrastiveCovariance
from qkstore.errors import ContrastError, GuardError, QKStoreError

WITHIN = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot'",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
CROSS = Contrast(
    name="lexical",
    where="q.variant = 'base' and k.role = 'box' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.prompt_id = q.counterfactual_id",
)
WEIGHTED = Contrast(
    name="weighted",
    pairs="select q.query_row, k.key_row, case when k.order_id = q.queried_order then 1 else -1 end as sign, "
    "1.0 / abs(k.order_id - q.queried_order + 0.5) as weight from q join k on k.prompt_id = q.prompt_id",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def run(store):
    return store.run("synthetic")


def by_hand(run, condition, weight="1", layer=1, head=1, kv_head=0):
    """ΔC in ten lines from SELECTed vectors, float64: no code of the library."""
    with duckdb.connect(str(run.path), read_only=True) as con:
        rows = con.execute(
            f"select qv.v, kv.v, {condition}, {weight} from q, k "
            f"join key_vector kv on kv.row = k.key_row and kv.layer = {layer} and kv.kv_head = {kv_head} "
            f"join query_vector qv on qv.row = q.query_row and qv.layer = {layer} and qv.head = {head} "
            f"where {condition} is not null"
        ).fetchall()
    q, k, sign, w = (np.array(c, float) for c in zip(*rows))
    mean = {s: (q[sign == s] * w[sign == s, None]).T @ k[sign == s] / w[sign == s].sum() for s in (1, -1)}
    return mean[1] - mean[-1]


@pytest.mark.parametrize(
    ("contrast", "condition", "weight"),
    [
        (
            WITHIN,
            "case when k.prompt_id = q.prompt_id then case when k.order_id = q.queried_order then 1 else -1 end end",
            "1",
        ),
        (
            CROSS,
            (
                "case when k.order_id = q.queried_order and q.variant = 'base' then "
                "case when k.prompt_id = q.prompt_id then 1 when k.prompt_id = q.counterfactual_id then -1 end end"
            ),
            "1",
        ),
        (
            WEIGHTED,
            "case when k.prompt_id = q.prompt_id then case when k.order_id = q.queried_order then 1 else -1 end end",
            "1 / abs(k.order_id - q.queried_order + 0.5)",
        ),
    ],
    ids=lambda c: getattr(c, "name", ""),
)
def test_delta_equals_numpy_from_selected_vectors(store, run, contrast, condition, weight):
    saved = store.catalog.save(contrast.replace(name=f"my-{contrast.name}"))
    delta = covariance(run, store.catalog.contrast(saved.name), 1, 1, split="whole").delta
    expected = by_hand(run, condition.replace("q, k ", ""), weight)
    assert np.linalg.norm(delta - expected) < 1e-6 * np.linalg.norm(expected)
    wrong_head = covariance(run, contrast, 1, 0, split="whole").delta
    assert np.linalg.norm(wrong_head - expected) > 1e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "contrast",
    [WITHIN, CROSS, WEIGHTED, WITHIN.replace(centring="queries"), WITHIN.replace(weighting="query")],
    ids=lambda c: c.name,
)
def test_partial_sums_merge_in_any_order(run, contrast):
    found = pairs(run, contrast)
    head = Head(run, 1, 1)
    whole = head.read(contrast, "whole").covariance.delta
    rng = np.random.default_rng(0)
    for _ in range(3):
        shard = rng.integers(0, 5, run.n_queries)[found.query]
        parts = []
        for s in rng.permutation(5):
            parts.append(Rows.these(run, contrast, None, found.where(shard == s)).read(head).covariance)
        merged = parts[0]
        for part in parts[1:]:
            merged = merged.merge(part)
        assert np.linalg.norm(merged.delta - whole) < 1e-9 * np.linalg.norm(whole)


def test_splits_partition_the_pairs(run):
    train, test, every = (pairs(run, WITHIN, s) for s in ("train", "test", None))
    assert len(train) + len(test) == len(every) == run.n_queries * 4
    assert not set(train.query) & set(test.query)


def test_a_whole_select_is_split_too(run):
    assert set(pairs(run, WEIGHTED, "test").query) == set(pairs(run, WITHIN, "test").query)
    assert np.allclose(np.unique(pairs(run, WEIGHTED, "test").weight), np.unique(1 / np.abs(np.arange(-3, 4) + 0.5)))


def test_each_query_equal(run):
    uneven = WITHIN.replace(
        positive="k.order_id <= q.queried_order", negative="k.order_id > q.queried_order", weighting="query"
    )
    found = pairs(run, uneven)
    totals = np.bincount(found.query[found.positive], found.weight[found.positive])
    assert np.allclose(totals[totals > 0], 1)
    by_pair = covariance(run, uneven.replace(weighting="pair"), 1, 1).delta
    assert not np.allclose(covariance(run, uneven, 1, 1).delta, by_pair)


def test_centring_takes_the_mean_query_out(run):
    found = pairs(run, WITHIN, "train")
    query_rows, key_rows, local = found.localise()
    q, k = run.queries(1, 1, query_rows).astype(float), run.keys(1, 1, key_rows)
    explicit = ContrastiveCovariance(run.d_head).update(q - q.mean(0), k, local).delta
    assert np.allclose(covariance(run, WITHIN.replace(centring="queries"), 1, 1).delta, explicit, atol=1e-12)
    assert not np.allclose(covariance(run, WITHIN, 1, 1).delta, explicit, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            dict(positive="k.role = 'bxo'"),
            (
                r"no positive pairs on the train prompts .*: 0 positive, \d+ negative.*k.role is answer_slot, box|"
                r"no positive pairs on the train prompts .*: 0 positive, [\d,]+ negative.*k.role is box"
            ),
        ),
        (dict(negative="k.order_id > 99"), r"no negative pairs .*: 48 positive, 0 negative"),
        (dict(where="q.split = 'dev'"), r"no positive and no negative pairs .*q.split is test, train"),
        (
            dict(negative="k.order_id <= q.queried_order"),
            r"48 pairs are positive and negative, such as query_row \d+ with key_row \d+",
        ),
    ],
)
def test_a_side_that_is_empty_or_shared(run, change, says):
    with pytest.raises(ContrastError, match=says) as error:
        pairs(run, WITHIN.replace(**change), "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("predicate", "says"),
    [
        ("k.oder_id = q.queried_order", "order_id"),
        ("k.order_id = q.queried_ordr", "queried_order"),
        ("key.order_id = 1", "key"),
        ("order_id = 1", "order_id"),
        ("k.order_id = = 1", "syntax error"),
    ],
)
def test_a_typo_names_the_column_and_near_ones(run, predicate, says):
    with pytest.raises(GuardError, match=says) as error:
        pairs(run, WITHIN.replace(positive=predicate))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ("select query_row, key_row from q, k", "gives no 'sign'|sign"),
        ("select q.query_row, k.key_row, 2 as sign from q, k", "sign 2; a sign is 1 or -1"),
        (
            (
                "select q.query_row + 1000 as query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end "
                "as sign from q join k using (prompt_id)"
            ),
            "query_row 10\\d\\d; run 'synthetic' has 0 to 63",
        ),
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign, -1 as weight "
                "from q join k using (prompt_id)"
            ),
            "weight that is not a positive number",
        ),
        ("select q.query_row, null as key_row, 1 as sign from q", "NULL key_row|key_row of type"),
        (
            "select q.query_row, k.token as key_row, 1 as sign from q, k order by q.query_row, k.key_row limit 9",
            "key_row of type string; whole numbers",
        ),
    ],
)
def test_a_whole_select_that_gives_no_pairs(run, select, says):
    with pytest.raises(QKStoreError, match=says) as error:
        pairs(run, Contrast(name="whole", pairs=select))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "no positive predicate"),
        (dict(positive="k.a = 1"), "no negative predicate"),
        (dict(positive="k.a = 1", negative="k.a = 2", pairs="select 1"), "predicates and a whole SELECT"),
        (dict(positive="k.a = 1", negative="k.a = 2", weighting="pairs"), "did you mean 'pair'"),
        (dict(positive="k.a = 1", negative="k.a = 2", centring="keys"), "none, queries"),
    ],
)
def test_a_contrast_that_is_none(fields, says):
    with pytest.raises(ContrastError, match=says):
        Contrast(**fields)


def test_key_is_of_what_decides_the_numbers():
    assert WITHIN.key == WITHIN.replace(name="other", description="x", author="y", version=3).key
    assert (
        len(
            {
                WITHIN.key,
                WITHIN.replace(centring="queries").key,
                WITHIN.replace(weighting="query").key,
                CROSS.key,
                WEIGHTED.key,
            }
        )
        == 5
    )


def test_sentence_reads_back_with_counts(run):
    text = WITHIN.sentence(pairs(run, WITHIN, "train").counts)
    assert "box" in text
    assert "queried_order" in text
    assert "48 positive" in text
    assert "144 negative" in text
    assert "SQL" in WEIGHTED.sentence()


@pytest.mark.parametrize("split", ["te'st", "'; drop table prompt; --", "'' or '1'='1"])
def test_a_split_is_a_value(run, split):
    with pytest.raises(ContrastError, match="no positive and no negative"):
        pairs(run, WITHIN, split)


def test_every_choice_of_the_types_is_explained_and_none_besides():
    assert get_args(Weighting) == tuple(WEIGHTINGS)
    assert get_args(Centring) == tuple(CENTRINGS)
    for weighting in WEIGHTINGS:
        assert WITHIN.replace(weighting=weighting).weighting == weighting
    with pytest.raises(ContrastError, match="weighting 'queries'"):
        WITHIN.replace(weighting="queries")
    with pytest.raises(ContrastError, match="centring 'query'"):
        WITHIN.replace(centring="query")
