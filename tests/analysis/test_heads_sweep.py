"""All heads together give what each gives alone, computed in the plainest way, whatever the contrast and the layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import BOXES, SCALING, synthetic, write

import qkstore
from qkstore.analysis.choice import Chooser
from qkstore.analysis.head import Head, Rows
from qkstore.analysis.heads import heads, paired
from qkstore.contrast import Contrast
from qkstore.covariance import ContrastiveCovariance
from qkstore.interval import RESAMPLES
from qkstore.run.reader import Reader

N, DEALS, SEED = 64, 19, 3
ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
# Keys of the prompts before, of which queries have 4 to 252; the SELECT leaves some queries positive keys alone, some
# negative ones, and weighs them.
ELSEWHERE = ORDER.replace(where="k.prompt_id < q.prompt_id")
ONE_SIDED = Contrast(
    name="one-sided",
    pairs="""
        SELECT q.query_row, k.key_row, CASE WHEN k.order_id = q.queried_order THEN 1 ELSE -1 END AS sign,
            1 + (k.key_row % 3) AS weight
        FROM q, k WHERE k.prompt_id = q.prompt_id AND q.prompt_id % 5 <> 4
        AND (q.prompt_id % 4 <> 1 OR k.order_id = q.queried_order)
        AND (q.prompt_id % 4 <> 2 OR k.order_id <> q.queried_order)
    """,
)
CONTRASTS = {
    "pair": ORDER,
    "query": ORDER.replace(weighting="query"),
    "sum": ORDER.replace(weighting="sum"),
    "centred": ORDER.replace(centring="queries"),
    "sum, centred": ORDER.replace(weighting="sum", centring="queries"),
    "elsewhere": ELSEWHERE,
    "elsewhere, query": ELSEWHERE.replace(weighting="query"),
    "one-sided": ONE_SIDED,
    "one-sided, centred": ONE_SIDED.replace(centring="queries"),
}
LAYERS = {"plain": {}, "windowed": {"window": 18}, "capped": {"softcap": 3.0}}


def made(tmp_path, layer: dict, **sizes):
    data = synthetic(N, **({"n_heads": 4, "n_kv_heads": 2} | sizes))
    data.q += 1.5  # a mean query
    logit = np.einsum(
        "lhnd,lhnbd->lhnb",
        data.q.astype(float),
        np.repeat(data.k, data.q.shape[1] // data.k.shape[1], axis=1).reshape(*data.q.shape[:3], BOXES, -1),
    )
    data.logsumexp = np.log(np.exp(SCALING * logit).sum(-1) + 1)
    for each in data.layers:
        each |= layer
    write(tmp_path, "r", data)
    return qkstore.open(tmp_path).run("r")


# -- one head, in the plainest way -------------------------------------------------------------------------------


def by_query(data):
    """{query: (right or None, attention on positive keys, on negative ones)} by a loop over pairs."""
    pairs, stored, facts = data.pairs, data.rows.stored, data.head.facts
    total, found = data.head.logsumexp(stored.query), {}
    seen = data.head.attended(stored.query, stored.key)
    for query in sorted(set(pairs.query.tolist())):
        logits, sums = {True: [], False: []}, {True: [], False: []}
        for i in np.flatnonzero(pairs.query == query):
            a = facts.scaling * float(data.q[query].astype(float) @ data.k[pairs.key[i]].astype(float))
            a = a if facts.softcap is None else facts.softcap * np.tanh(a / facts.softcap)
            logits[pairs.sign[i] > 0].append(a)
            if seen[i]:
                sums[pairs.sign[i] > 0].append(np.exp(a - total[i]))
        right = max(logits[True]) > max(logits[False]) if all(logits.values()) else None
        found[query] = right, *(sum(sums[side]) if sums[side] else np.nan for side in (True, False))
    return found


def ratio_interval(sums):
    """As it was computed head by head: with draws of its own."""
    rng, n, means, step = np.random.default_rng(0), len(sums), [], max(1, 1_000_000 // len(sums))
    for start in range(0, RESAMPLES, step):
        for drawn in rng.integers(0, n, (min(step, RESAMPLES - start), n)):
            means.append(np.nanmean(sums[drawn], axis=0))
    ratios = np.array(means)
    return np.nanquantile(ratios[:, 0] / ratios[:, 1], [0.025, 0.975])


def norms(data, contrast):
    """‖ΔC‖, ‖ΔC‖ of centred queries, and that of each deal, one product a deal in float64."""
    summed = contrast.weighting == "sum"
    fitted = [ContrastiveCovariance(data.q.shape[1], c, summed) for c in (contrast.centring == "queries", True)]
    delta, centred = (np.linalg.norm(f.update(data.q, data.k, data.pairs).delta) for f in fitted)
    c, n = data.pairs.key_contrast(data.k, summed), len(data.q)
    x, c = data.q - data.q.mean(axis=0, dtype=float), c - c.mean(axis=0)
    signs = np.random.default_rng(SEED).choice(np.array([-1, 1], np.int8), (DEALS, n))
    return delta, centred, [np.linalg.norm((x * s[:, None]).T @ c) / np.sqrt(n * (n - 1)) for s in signs]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", CONTRASTS)
def test_every_head_scores_as_it_does_alone(tmp_path, name, layer):
    run, contrast = made(tmp_path, LAYERS[layer]), CONTRASTS[name]
    train, test = (Rows.of(run, contrast, split) for split in ("train", "test"))
    found, chooser = heads(run, contrast, DEALS, SEED), Chooser(run, contrast, "train")
    assert [(s.layer, s.head) for s in found] == [(i, h) for i in range(2) for h in range(4)]
    for s in found:
        at = Head(run, s.layer, s.head)
        built, judged = train.read(at), test.read(at)
        delta, centred, null = norms(built, contrast)
        assert s.delta_norm == pytest.approx(delta, rel=1e-6)
        assert s.delta_centred == pytest.approx(centred, rel=1e-6)
        assert s.delta_null == pytest.approx(np.quantile(null, 0.95), rel=1e-6)
        assert s.p_value == (1 + sum(value >= centred for value in null)) / (1 + DEALS)
        assert s.rank == qkstore.Subspace.of(built.covariance.delta).rank
        one = by_query(judged)
        right = [r for r, _, _ in one.values() if r is not None]
        sums = np.array([row[1:] for row in one.values()], float)
        assert (s.n_queries, s.deals, s.pending) == (len(right), DEALS, False)
        assert s.accuracy == (np.mean(right) if right else None)
        for value, side in ((s.attention_positive, sums[:, 0]), (s.attention_negative, sums[:, 1])):
            there = side[~np.isnan(side)]
            assert value == (pytest.approx(there.mean(), rel=1e-12) if len(there) else None)
        if s.selectivity is None:
            assert s.selectivity_ci is None
        else:
            assert s.selectivity_ci == pytest.approx(ratio_interval(sums), rel=1e-9)
        alone = chooser.rows.read(at).score(groups=chooser.groups)
        assert (s.choice.accuracy, s.choice.n) == (alone.accuracy, alone.n)
        for name in ("selectivity", "attention_p", "accuracy_p", "chance"):
            assert getattr(s.choice, name) == (
                None if (value := getattr(alone, name)) is None else pytest.approx(value, rel=1e-9)
            )


def test_the_plain_way_tells_heads_and_contrasts_apart(tmp_path):
    """The control: what is compared above differs where it should."""
    run = made(tmp_path, {})
    rows = {name: Rows.of(run, CONTRASTS[name], "train") for name in ("pair", "sum", "elsewhere", "one-sided")}
    each = [norms(r.read(Head(run, 1, h)), r.contrast) for r in rows.values() for h in (0, 1, 2)]
    assert len({round(delta, 6) for delta, *_ in each}) == 12
    assert len({round(null[0], 6) for *_, null in each}) == 12
    alone = {
        tuple(bool(x) for x in np.bincount(p.query[p.sign == s])[:8])
        for p in (rows["one-sided"].local,)
        for s in (1, -1)
    }
    assert len(alone) == 2, "some queries have one sign only"
    assert len(set(np.bincount(rows["elsewhere"].local.query).tolist())) == 47


@pytest.mark.parametrize("name", ["pair", "elsewhere", "one-sided"])
def test_scores_do_not_depend_on_how_many_pairs_are_read_together(tmp_path, monkeypatch, name):
    run = made(tmp_path, {})
    whole = heads(run, CONTRASTS[name], 0)
    monkeypatch.setattr("qkstore.score.CHUNK", 7)
    for s, one in zip(heads(run, CONTRASTS[name], 0), whole, strict=True):
        assert s.delta_norm == pytest.approx(one.delta_norm, rel=1e-6)
        assert s == replace(one, delta_norm=s.delta_norm)


@pytest.mark.parametrize(("n_layers", "n_heads", "n_kv_heads"), [(1, 1, 1), (2, 6, 2), (2, 4, 4), (1, 8, 1)])
def test_groups_of_every_size_read_their_own_keys(tmp_path, n_layers, n_heads, n_kv_heads):
    run = made(tmp_path, {}, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_kv_heads)
    rows = Rows.of(run, ORDER, "test")
    for s in heads(run, ORDER, 0):
        alone = rows.read(Head(run, s.layer, s.head)).score()
        assert (s.accuracy, s.attention_positive) == (
            alone.accuracy,
            pytest.approx(alone.attention_positive, rel=1e-12),
        )


def test_vectors_that_are_not_held_are_read_again(tmp_path, monkeypatch):
    run, read = made(tmp_path, {}), []
    plain = Reader.keys
    monkeypatch.setattr(Reader, "keys", lambda self, *more: read.append(more[:2]) or plain(self, *more))
    held, many = heads(run, ORDER), len(read)
    monkeypatch.setattr("qkstore.analysis.heads.task.HELD", 0)
    assert heads(run, ORDER) == held
    assert (many, len(read) - many) == (4, 6), "two layers on two splits; then the train split of each once more"
    read.clear()
    monkeypatch.setattr("qkstore.analysis.heads.sweep.AT_ONCE", 0)  # as where a group has many rows
    assert heads(run, ORDER) == held
    assert len(read) == 12, "of each of two groups a layer"


def test_two_contrasts_are_paired_by_the_queries_of_both(tmp_path):
    """Whatever the order in which the pairs of each are read: one has as many keys a query, the other has not."""
    run = made(tmp_path, {})
    found = paired((run, ORDER), (run, ONE_SIDED))
    shared = [set(Rows.of(run, c, "test").query.tolist()) for c in (ORDER, ONE_SIDED)]
    assert (found.n, found.of) == (len(shared[0] & shared[1]), len(shared[0] | shared[1]))
    for (layer, head), tied in found.correlations.items():
        right = []
        for contrast in (ORDER, ONE_SIDED):
            rows = Rows.of(run, contrast, "test")
            one = by_query(rows.read(Head(run, layer, head)))
            values = {int(rows.query[i]): row[0] for i, row in one.items() if row[0] is not None}
            mean = np.mean(list(values.values()))
            right.append({q: (v - mean) / len(values) for q, v in values.items()})
        size = np.sqrt(np.prod([sum(v**2 for v in side.values()) for side in right]))
        both = sum(right[0][q] * right[1][q] for q in set(right[0]) & set(right[1]))
        assert tied["accuracy"] == pytest.approx(both / size if size else 0.0, abs=1e-9)
