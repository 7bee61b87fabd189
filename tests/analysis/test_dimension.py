"""The dimension of a contrast in a head of a run: from the store to ranks and canonical correlations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stores

import qkstore
from qkstore.analysis import covariance
from qkstore.analysis.evidence import dimension
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError, RunError
from qkstore.rank import canonical, ranks

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id and k.role = 'box'",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("dimension") / "store")).run("boxes")


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    path = stores.write_lists(tmp_path_factory.mktemp("lists") / "store")
    return qkstore.open(path)


def test_the_planted_head_has_its_rank_and_the_others_none(run):
    """Four places make three dimensions of differences.

    Heads 0 and 1 of layer 1 read them, heads of layer 0 read nothing.
    """
    planted, other = dimension(run, ORDER, 1, 0), dimension(run, ORDER, 0, 0)
    assert (planted.rank.energy, planted.rank.statistical, planted.rank.cross_validated) == (3, 3, 3)
    assert other.rank.statistical == 0 < other.rank.energy
    assert planted.canonical.values[2] > 2 * planted.canonical.chance > planted.canonical.values[3]
    assert other.canonical.values[0] < 1.3 * other.canonical.chance


@pytest.mark.parametrize("centring", ["none", "queries"])
@pytest.mark.parametrize("weighting", ["pair", "query", "sum"])
def test_it_is_of_the_matrix_that_the_contrast_has(run, weighting, centring):
    """Triplets by hand: the mean of each query's outer product with its own contrast of keys.

    How the keys count in it is the contrast's weighting.
    """
    contrast = ORDER.replace(weighting=weighting, centring=centring)
    found, fitted = dimension(run, contrast, 1, 2), covariance(run, contrast, 1, 2)
    assert found.rank.energy == fitted.subspace.rank
    assert found.counts == fitted.counts
    assert found.split == fitted.split == "train"
    p = pairs(run, contrast, "train")
    rows = np.unique(p.query)
    keys = run.keys(1, 2, np.arange(run.n_keys)).astype(float)
    negatives = 3 if weighting != "sum" else 1
    c = np.stack(
        [
            keys[p.key[(p.query == r) & p.positive]].sum(0)
            - keys[p.key[(p.query == r) & p.negative]].sum(0) / negatives
            for r in rows
        ]
    )
    x = run.queries(1, 2, rows).astype(float)
    if centring == "queries":
        x, c = x - x.mean(0), c - c.mean(0)
    assert np.allclose(x.T @ c / len(x), fitted.delta, rtol=1e-6, atol=1e-9)
    assert np.allclose(found.canonical.values, canonical(x, c).values, atol=1e-8)
    assert (found.rank.energy, found.rank.statistical, found.rank.n) == (
        ranks(x, c).energy,
        ranks(x, c).statistical,
        len(rows),
    )


def test_one_category_has_rank_1_and_all_of_them_have_one_less_than_there_are(lists):
    run = lists.run("lists")
    (one,), (pooled,) = lists.feature(run, "category:fruit"), lists.feature(run, "category")
    assert dimension(run, one, 1, 1).rank.statistical == 1
    assert dimension(run, pooled, 1, 1).rank.statistical == len(stores.CATEGORIES) - 1


def test_a_matched_pair_vanishes(run):
    """The authors' lexical script takes query and key of the counterfactual as negatives.

    Those are the same kind of pair as the positives, so nothing is left.
    """
    store = qkstore.open(run.path.parent.parent)
    (theirs,), (text,) = store.feature(run, "authors/lexical"), store.feature(run, "lexical")
    found = dimension(run, theirs, 1, 2)
    assert found.rank.statistical == 0 < found.rank.energy
    assert "sampling error" in found.rank.sentence
    assert dimension(run, text, 1, 2).rank.statistical > 0, "the text's triplets do not"


def test_it_is_the_same_again_and_other_deals_for_another_seed(run):
    first, again, other = (dimension(run, ORDER, 0, 1, seed=s).to_dict() for s in (0, 0, 1))
    assert first == again
    assert first["p_values"] != other["p_values"]
    assert first["canonical"] == other["canonical"]


def test_it_is_told_whole_as_json(run):
    found = dimension(run, ORDER, 1, 0)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["sentence"] == found.rank.sentence
    assert told["weak"] == found.rank.weak
    assert told["level"] == 0.05
    assert len(told["p_values"]) == told["statistical"] + 1
    assert told["n"] == told["n_q"] == found.counts.n_q
    assert told["canonical"] == found.canonical.values.tolist()
    assert (told["split"], told["seed"]) == ("train", 0)


def test_mistakes_are_told(run):
    with pytest.raises(ContrastError, match="10 queries or more; the contrast has 5"):
        dimension(run, ORDER.replace(where=f"{ORDER.where} and q.query_row < 5"), 1, 0)
    with pytest.raises(ContrastError, match="no positive pairs"):
        dimension(run, ORDER.replace(positive="k.order_id = 99"), 1, 0)
    with pytest.raises(RunError, match="no layer 7|no head 9"):
        dimension(run, ORDER, 7, 9)
