"""The nearest heads, their angles taken again by plain NumPy, and controls in which nothing is near."""

from __future__ import annotations

import numpy as np
import pytest
import stores
import synthetic

import qkstore
from qkstore.analysis import covariance
from qkstore.analysis.pairs import nearest
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RunError
from qkstore.projection import shared

HERE = "k.prompt_id = q.prompt_id and k.role = 'box'"
ORDER = (Contrast("order", HERE, "k.order_id = q.queried_order", "k.order_id <> q.queried_order"),)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Heads 0 and 1 of layer 1 share a KV head and read the order; so does head 3 here, in a basis of its own."""
    data = synthetic.synthetic(400)
    rng = np.random.default_rng(7)
    order = data.prompts["queried_order"].to_numpy() - 1
    place = np.linalg.qr(rng.normal(size=(synthetic.D, synthetic.D)))[0] * 4
    data.q[1, 3] = rng.normal(size=data.q[1, 3].shape) + place[order]
    data.k[1, 1] = rng.normal(size=data.k[1, 1].shape) + place[np.tile(np.arange(synthetic.BOXES), 400)]
    path = tmp_path_factory.mktemp("near")
    stores.write(path, "run", data)
    return qkstore.open(path).run("run"), data


def angle(a: np.ndarray, b: np.ndarray, half: np.ndarray) -> float:
    """The mean held-out principal angle, by QR and SVD of the rows themselves."""
    both = []
    for fitted in (half, ~half):
        (Qa, Ra), (Qb, Rb) = (np.linalg.qr(x[fitted] - x[fitted].mean(axis=0)) for x in (a, b))
        left, _, right = np.linalg.svd(Qa.T @ Qb)
        n = min(a.shape[1], b.shape[1])
        u, v = a[~fitted] @ np.linalg.solve(Ra, left)[:, :n], b[~fitted] @ np.linalg.solve(Rb, right.T)[:, :n]
        both.append([np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(n)])
    return float(np.degrees(np.arccos(np.mean(both, axis=0).clip(0, 1))).mean())


def test_angles_are_those_of_the_rows_and_the_nearest_is_the_head_of_the_same_feature(made):
    run, data = made
    found = nearest(run, ORDER, 1, 0)
    own = covariance(run, ORDER[0], 1, 0).subspace
    test = data.prompts.filter(split="test")["prompt_id"].to_numpy()
    keys = (test[:, None] * synthetic.BOXES + np.arange(synthetic.BOXES)).ravel()
    assert (found.n_q, found.n_k, found.ranks) == (len(test), len(keys), (own.rank, own.rank))
    q_half, k_half = (((rows - test[0]) // 2) % 2 == 0 for rows in (test, keys // synthetic.BOXES))
    assert len(found.heads) == 7
    for near in found.heads:
        theirs = covariance(run, ORDER[0], near.layer, near.head, rank=own.rank).subspace
        q = [data.q[1, 0, test] @ own.U, data.q[near.layer, near.head, test] @ theirs.U]
        k = [data.k[1, 0, keys] @ own.V, data.k[near.layer, near.head // 2, keys] @ theirs.V]
        assert near.query_angle == pytest.approx(angle(*q, q_half), abs=1e-3)
        assert near.key_angle == pytest.approx(angle(*k, k_half), abs=1e-3)
        assert near.angle == pytest.approx((near.query_angle + near.key_angle) / 2)
    assert [(near.layer, near.head) for near in found.heads[:2]] == [(1, 1), (1, 3)]
    assert [near.same_keys for near in found.heads[:2]] == [True, False]
    assert [near.nearer for near in found.heads[:2]] == [True, True]
    assert found.heads[0].key_angle < 2, "the same keys in about the same subspace"


def test_heads_of_nothing_are_no_nearer_than_chance(made):
    run, _ = made
    noise = [near for near in nearest(run, ORDER, 1, 0).heads if near.layer == 0]
    assert len(noise) == 4
    for near in noise:
        assert near.angle > 75
        assert abs(near.angle - near.chance) < 10
    assert not all(near.nearer for near in noise)


def test_two_heads_are_as_near_from_either_side(made):
    run, _ = made
    there = next(near for near in nearest(run, ORDER, 1, 0).heads if (near.layer, near.head) == (1, 3))
    back = next(near for near in nearest(run, ORDER, 1, 3).heads if (near.layer, near.head) == (1, 0))
    assert there.angle == pytest.approx(back.angle, abs=1e-6), "where both have one rank"


def test_layers_sampling_and_progress(made):
    run, _ = made
    told = []
    found = nearest(run, ORDER, 1, 0, layers=[1], most=60, progress=lambda *done: told.append(done))
    assert [near.layer for near in found.heads] == [1, 1, 1]
    assert (found.n_q, found.n_k) == (60, 60)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert found.to_dict() == nearest(run, ORDER, 1, 0, layers=[1], most=60).to_dict(), "the seed decides"
    assert found.table.columns[:3] == ["layer", "head", "angle"]


def test_a_span_is_compared_as_one(tmp_path):
    store = qkstore.open(stores.write_lists(tmp_path / "store"))
    run = store.run("lists")
    found = nearest(run, store.feature(run, "category:*"), 1, 1)
    assert found.ranks == (3, 3), "of three categories"
    assert (found.heads[0].layer, found.heads[0].head, found.heads[0].same_keys) == (1, 0, True)
    assert found.heads[0].key_angle < 45 < found.heads[0].random_least


def test_mistakes_are_one_line(made):
    run, _ = made
    for options, error, said in (
        ({"layers": [9]}, RunError, "no layer 9"),
        ({"head": 8}, RunError, "no head 8"),
        ({"most": 12}, ContrastError, "queries or keys in one half of the prompts: 10 are needed"),
    ):
        with pytest.raises(error, match=said) as told:
            nearest(run, ORDER, **{"layer": 1, "head": 0} | options)
        assert "\n" not in str(told.value)


def test_queries_that_are_all_alike_have_no_angle_and_a_lone_head_no_neighbour(tmp_path):
    data = synthetic.synthetic(200)
    data.q[:] = data.q[:, :, :1]
    stores.write(tmp_path / "same", "run", data)
    same = nearest(qkstore.open(tmp_path / "same").run("run"), ORDER, 1, 3)
    assert {near.query_angle for near in same.heads} == {None}
    assert same.heads[0].angle == same.heads[0].key_angle
    stores.write(tmp_path / "lone", "run", synthetic.synthetic(64, n_layers=1, n_heads=1, n_kv_heads=1))
    with pytest.raises(RunError, match="no head there but layer 0, head 0"):
        nearest(qkstore.open(tmp_path / "lone").run("run"), ORDER, 0, 0)


# -- the correlations ------------------------------------------------------------------------------------------------


def test_no_invertible_map_of_a_side_changes_what_is_shared():
    rng = np.random.default_rng(0)
    a, half = rng.normal(size=(300, 3)), np.arange(300) % 2 == 0
    b = np.hstack([a[:, :1], rng.normal(size=(300, 2))])
    told = shared(a, b, half)
    assert told == pytest.approx(shared(a @ rng.normal(size=(3, 3)) + 5, b @ rng.normal(size=(3, 3)) - 2, half))
    assert shared(a, a @ rng.normal(size=(3, 3)), half) == pytest.approx(np.ones(3))
    assert told[0] == pytest.approx(1, abs=0.01)
    assert np.abs(told[1:]).max() < 0.25


def test_rows_without_anything_in_common_share_nothing_however_many_directions():
    rng = np.random.default_rng(1)
    a, b, half = rng.normal(size=(200, 40)), rng.normal(size=(200, 40)), np.arange(200) % 2 == 0
    assert abs(shared(a, b, half).mean()) < 0.05
    fitted = np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False)
    assert fitted.mean() > 0.3, "the control: on the rows they are fitted to, the same correlations are large"


def test_a_direction_that_does_not_vary_shares_nothing():
    rng = np.random.default_rng(2)
    a, half = rng.normal(size=(100, 2)), np.arange(100) % 2 == 0
    b = np.hstack([a[:, :1], np.full((100, 1), 3.0)])
    assert shared(a, b, half) == pytest.approx([1, 0], abs=0.05)
    assert shared(np.ones((100, 2)), a, half) == pytest.approx([0, 0])
