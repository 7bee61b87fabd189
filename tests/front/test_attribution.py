"""Parts sum to the logit, in any order; the shares over prompts are those of the pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qkstore.attribution import attribute, components, shares
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError
from qkstore.score import pair_logits
from qkstore.subspace import Subspace, random, union

SCALING = 0.25


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def features(rng, d=12):
    """Two features at an angle (their projectors do not commute); the larger one is named first."""
    E = random(d, 5, rng)
    U, V = (np.linalg.qr(B[:, 1:] + 0.3 * rng.standard_normal((d, 4)))[0] for B in (E.U, E.V))
    return {"lexical": Subspace(U, E.S, V, 4), "order": Subspace(E.U[:, :2], E.S, E.V[:, :2], 2)}


def apart(rng, d=12):
    """Two orthogonal features."""
    E = random(d, 5, rng)
    return {"lexical": Subspace(E.U[:, 2:], E.S, E.V[:, 2:], 3), "order": Subspace(E.U[:, :2], E.S, E.V[:, :2], 2)}


def some(rng, n=20, m=30, d=12, p=200):
    q, k = rng.standard_normal((n, d)) + 0.3, rng.standard_normal((m, d)) + 0.3
    return q, k, Pairs(rng.integers(0, n, p), rng.integers(0, m, p), rng.choice([1, -1], p), rng.random(p))


def test_parts_sum_to_the_logit(rng):
    q, K, named = rng.standard_normal(12), rng.standard_normal((7, 12)), features(rng)
    found = attribute(q, K, named, SCALING)
    assert list(found.parts) == ["order", "lexical", "rest"]  # the smaller rank first
    assert np.allclose(found.logit, SCALING * K @ q, atol=1e-15)
    assert np.allclose(sum(found.parts.values()), found.logit, rtol=0, atol=1e-14)
    alone = {n: SCALING * K @ (s.query_projector @ q) for n, s in named.items()}
    assert np.allclose(found.parts["order"], alone["order"])
    assert not np.allclose(found.parts["lexical"], alone["lexical"])
    rest = SCALING * K @ (q - sum(s.query_projector @ q for s in named.values()))
    assert not np.allclose(found.parts["rest"], rest)  # the overlap counted twice


def test_parts_are_the_equations(rng):
    """Eq. 13–15 written out."""
    q, named = rng.standard_normal((3, 12)), features(rng)
    P_order, P_lex = named["order"].query_projector, named["lexical"].query_projector
    parts = components(q, named)
    assert np.allclose(parts["order"], q @ P_order)
    assert np.allclose(parts["lexical"], (q - q @ P_order) @ P_lex)
    assert np.allclose(parts["rest"], q - q @ P_order - (q - q @ P_order) @ P_lex)


def test_order_matters_only_where_features_overlap(rng):
    q, K = rng.standard_normal(12), rng.standard_normal((7, 12))
    for named, differs in ((features(rng), True), (apart(rng), False)):
        a, b = (attribute(q, K, named, SCALING, order).parts for order in (["order", "lexical"], ["lexical", "order"]))
        assert np.allclose(a["order"], b["order"]) != differs
        assert list(b) == ["lexical", "order", "rest"]


def test_no_features_leave_the_rest(rng):
    q, K = rng.standard_normal(12), rng.standard_normal((7, 12))
    found = attribute(q, K, {}, SCALING)
    assert list(found.parts) == ["rest"]
    assert np.allclose(found.parts["rest"], found.logit)
    whole = attribute(q, K, {"all": random(12, 12, rng)}, SCALING)
    assert np.allclose(whole.parts["rest"], 0, atol=1e-13)


def test_names_and_orders_are_checked(rng):
    q, K, named = rng.standard_normal(12), rng.standard_normal((7, 12)), features(rng)
    with pytest.raises(ContrastError, match="rest"):
        attribute(q, K, {"rest": random(12, 2, rng)}, SCALING)
    for order in (["order"], ["order", "order"], ["order", "lex"]):
        with pytest.raises(ContrastError, match="lexical, order, not"):
            attribute(q, K, named, SCALING, order)


def test_shares_are_those_of_the_pairs(rng):
    """Traces with ΔC equal weighted means over pairs, whatever the weights."""
    q, k, pairs = some(rng)
    named = features(rng)
    for weighted in (pairs, pairs.balanced()):
        delta = ContrastiveCovariance(12).update(q, k, weighted).delta
        found, parts = (
            shares(delta, named, SCALING),
            {n: pair_logits(part, k, weighted, SCALING) for n, part in components(q, named).items()},
        )
        gap = weighted.coefficient() @ pair_logits(q, k, weighted, SCALING)
        assert np.isclose(found.gap, gap)
        assert list(found.share) == ["order", "lexical", "rest"]
        assert np.allclose(list(found.share.values()), [weighted.coefficient() @ parts[n] / gap for n in found.share])
        assert np.isclose(sum(found.share.values()), 1)
    assert not np.isclose(shares(ContrastiveCovariance(12).update(q, k, pairs).delta, named, SCALING).gap, gap)


def test_a_union_counts_by_the_width_of_its_query_space(rng):
    """Keys of two features may share what their queries do not.

    The union is then wider in U than in V, and q lies in U.
    """
    E = random(12, 6, rng)
    wide = union([Subspace(E.U[:, :3], E.S, E.V[:, :3], 3), Subspace(E.U[:, 3:], E.S, E.V[:, :3], 3)])
    named = {"wide": wide, "order": random(12, 4, rng)}
    assert (wide.U.shape[1], wide.rank) == (6, 3)
    found = shares(rng.standard_normal((12, 12)) / 20 + np.eye(12), {"wide": wide}, SCALING, n_random=200)
    assert abs(found.random["wide"][0] - 6 / 12) < 0.05
    assert list(attribute(rng.standard_normal(12), rng.standard_normal((7, 12)), named, SCALING).parts) == [
        "order",
        "wide",
        "rest",
    ]


def test_shares_find_the_feature_and_random_ones_do_not(rng):
    """Keys match their query in one feature only: it explains the gap, and a random space of its rank explains r/d."""
    d, n = 32, 4000
    E = random(d, 6, rng)
    order = Subspace(E.U[:, :3], E.S, E.V[:, :3], 3)
    lexical = Subspace(E.U[:, 3:], E.S, E.V[:, 3:], 3)
    q = rng.standard_normal((n, d))
    k = rng.standard_normal((2 * n, d))
    k[:n] += 2 * q @ order.query_projector
    pairs = Pairs(np.tile(np.arange(n), 2), np.arange(2 * n), np.repeat([1, -1], n))
    found = shares(
        ContrastiveCovariance(d).update(q, k, pairs).delta, {"order": order, "lexical": lexical}, 1.0, n_random=200
    )
    assert abs(found.share["order"] - 1) < 0.1
    assert abs(found.share["lexical"]) < 0.1
    assert abs(found.share["rest"]) < 0.15
    mean, deviation = found.random["order"]
    assert abs(mean - 3 / d) < 0.02
    assert 0.01 < deviation < 0.1


def test_sensitivity_to_the_order(rng):
    q, k, pairs = some(rng)
    delta = ContrastiveCovariance(12).update(q, k, pairs).delta
    found = shares(delta, features(rng), SCALING)
    assert set(found.by_order) == {"order, lexical", "lexical, order"}
    assert found.by_order["order, lexical"] == found.share
    assert abs(found.by_order["lexical, order"]["order"] - found.share["order"]) > 1e-3
    same = shares(delta, apart(rng), SCALING).by_order
    assert np.isclose(same["lexical, order"]["order"], same["order, lexical"]["order"])
    three = features(rng) | {"third": random(12, 3, rng)}
    assert len(shares(delta, three, SCALING).by_order) == 6
    assert shares(delta, {"one": random(12, 3, rng)}, SCALING).by_order == {}
    assert shares(delta, three | {"fourth": random(12, 1, rng)}, SCALING).by_order == {}


def test_shares_are_reproducible_plain_and_defined_without_a_gap(rng):
    q, k, pairs = some(rng)
    delta, named = ContrastiveCovariance(12).update(q, k, pairs).delta, features(rng)
    assert (
        shares(delta, named, SCALING, seed=1)
        == shares(delta, named, SCALING, seed=1)
        != shares(delta, named, SCALING, seed=2)
    )
    assert json.loads(json.dumps(shares(delta, named, SCALING).to_dict()))["order"] == ["order", "lexical"]
    none = shares(np.zeros((12, 12)), named, SCALING)
    assert none.gap == 0
    assert set(none.share.values()) == set(none.random.values()) == {None}
