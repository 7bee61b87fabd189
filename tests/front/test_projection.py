"""Projections keep what they should: distances within the axes drawn, pairs of u and v, the share of each group."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.errors import ContrastError
from qkstore.projection import balanced, pca, project, sample, umap
from qkstore.subspace import Subspace, random, union


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cube(rng, n=400, d=16):
    """Queries and keys of 8 classes, and ΔC of matching ones.

    The classes are the corners of a cube planted in paired directions of each space.
    """
    E = random(d, 3, rng)
    label_q, label_k = rng.integers(0, 8, (2, n))
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T * [3.0, 2.5, 2.0]
    q = corners[label_q] @ E.U.T + 0.2 * rng.standard_normal((n, d))
    k = corners[label_k] @ E.V.T + 0.2 * rng.standard_normal((n, d))
    return q, k, label_q, label_k, Subspace.of((E.U * [9.0, 6.25, 4.0]) @ E.V.T)


def found_by_centroid(view, label_q, label_k):
    """Share of queries whose nearest centroid of keys is that of their own class."""
    centroids = np.stack([view.key[label_k == c].mean(axis=0) for c in range(8)])
    return np.mean(np.linalg.norm(view.query[:, None] - centroids, axis=2).argmin(axis=1) == label_q)


def test_the_cube_is_drawn_and_pairs_of_signs_matter(rng):
    q, k, label_q, label_k, s = cube(rng)
    assert s.rank == 3
    assert found_by_centroid(pca(*project(q, k, s)), label_q, label_k) == 1
    turned = Subspace(s.U * [-1, 1, -1], s.S, s.V * [-1, 1, -1], 3)
    assert found_by_centroid(pca(*project(q, k, turned)), label_q, label_k) == 1  # u and v together
    alone = Subspace(s.U * [-1, 1, 1], s.S, s.V, 3)
    assert found_by_centroid(pca(*project(q, k, alone)), label_q, label_k) < 0.1  # one u alone
    assert found_by_centroid(pca(q, k), label_q, label_k) < 0.5  # raw vectors


def test_project_is_coordinates(rng):
    q, k, *_, s = cube(rng)
    at_q, at_k = project(q, k, s)
    assert at_q.shape == (400, 3)
    assert np.allclose(at_q @ s.U.T, q @ s.query_projector)
    assert np.allclose(at_k @ s.V.T, k @ s.key_projector)
    e, F = random(16, 1, rng).U, random(16, 2, rng).V
    uneven = union([Subspace.of(e @ F[:, [i]].T, 1) for i in range(2)])
    assert [x.shape[1] for x in project(q, k, uneven)] == [1, 1]


def test_pca_is_the_svd_of_all_points(rng):
    q, k = rng.standard_normal((50, 6)) + 3, rng.standard_normal((70, 6)) * np.arange(1, 7)
    view = pca(q, k, 3)
    points = np.concatenate([q, k])
    U, S, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    drawn = np.concatenate([view.query, view.key])
    assert np.allclose(drawn @ drawn.T, (U[:, :3] * S[:3] ** 2) @ U[:, :3].T)
    assert np.allclose(view.explained, S[:3] ** 2 / np.sum(S**2))
    assert view.query.shape == (50, 3)
    assert not np.allclose(drawn.mean(axis=0), view.query.mean(axis=0))  # centred together, not each for itself
    full = np.concatenate([pca(q, k, 6).query, pca(q, k, 6).key])

    def distance(x):
        return np.linalg.norm(x[:, None] - x, axis=2)

    assert np.allclose(distance(full), distance(points))
    assert not np.allclose(distance(drawn), distance(points))


def test_pca_has_one_sign(rng):
    q, k = rng.standard_normal((50, 4)) * [4, 3, 2, 1], rng.standard_normal((70, 4)) * [4, 3, 2, 1]
    view = pca(q, k)
    order = rng.permutation(50)
    assert np.allclose(pca(q[order], k).query, view.query[order])
    assert (np.corrcoef(view.query.T, q.T)[:3, 3:].diagonal() > 0.5).all()
    assert np.allclose(pca(-q, -k).query, -view.query)  # axes stay, points turn


def test_pca_of_little(rng):
    one = pca(rng.standard_normal((5, 1)), rng.standard_normal((4, 1)), 3)
    assert one.query.shape == (5, 1)
    assert np.allclose(one.explained, [1])
    keys_only = pca(np.empty((0, 4)), rng.standard_normal((9, 4)))
    assert keys_only.query.shape == (0, 3)
    assert keys_only.key.shape == (9, 3)
    assert np.isfinite(pca(np.ones((3, 2)), np.ones((3, 2))).explained).all()


def test_umap_is_reproducible_and_keeps_classes(rng):
    pytest.importorskip("umap")
    q, k, label_q, label_k, s = cube(rng, n=150)
    a = umap(*project(q, k, s), n_components=2, n_neighbors=10, seed=1)
    assert a.query.shape == (150, 2)
    assert a.key.shape == (150, 2)
    assert a.explained is None
    assert found_by_centroid(a, label_q, label_k) > 0.95
    again, other = (umap(*project(q, k, s), n_components=2, n_neighbors=10, seed=seed) for seed in (1, 2))
    assert (again.key == a.key).all()
    assert (other.key != a.key).any()


@pytest.mark.parametrize("n, neighbours", [(5, 10), (5, 1), (0, 15)])
def test_umap_needs_more_points_than_neighbours(n, neighbours):
    pytest.importorskip("umap")
    with pytest.raises(ContrastError, match=f"for {2 * n} points, not {neighbours}"):
        umap(np.ones((n, 2)), np.ones((n, 2)), n_neighbors=neighbours)
    if n == 5:
        assert umap(
            *np.random.default_rng(0).standard_normal((2, 5, 2)), n_neighbors=3, n_components=2
        ).query.shape == (5, 2)


def test_sample_is_even_over_groups(rng):
    groups = rng.permutation(np.repeat(["a", "b", "c"], [1000, 100, 4]))
    chosen = sample(groups, 50, seed=1)
    assert len(set(chosen)) == 50
    assert (np.diff(chosen) > 0).all()
    assert [int((groups[chosen] == g).sum()) for g in "abc"] == [23, 23, 4]
    plain = rng.choice(1104, 50, replace=False)
    assert (groups[plain] == "b").sum() < 15  # without groups the large one takes all
    assert (sample(groups, 50, seed=1) == chosen).all()
    assert (sample(groups, 50, seed=2) != chosen).any()
    assert len(sample(groups, 5000)) == 1104
    assert len(sample(groups[:0], 5)) == 0
    hits = np.zeros(1104)
    for seed in range(300):
        hits[sample(groups, 50, seed)] += 1
    # 69 and 7 expected: no position is preferred
    assert hits[groups == "b"].min() > 30
    assert hits[groups == "a"].max() < 30


def test_balance_keeps_every_logit_and_evens_the_moments(rng):
    q, k = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + 1
    a, b = balanced(q, k)
    assert np.allclose(a @ b.T, q @ k.T)
    assert np.allclose(a.T @ a / 300, b.T @ b / 500)
    assert not np.allclose(q.T @ q / 300, k.T @ k / 500)
    again = balanced(a, b)
    assert np.allclose(again[0], a)
    assert np.allclose(again[1], b)
    M = rng.normal(size=(4, 4))
    turned = balanced(q @ M, k @ np.linalg.inv(M).T)
    assert np.allclose(np.linalg.svd(turned[0], compute_uv=False), np.linalg.svd(a, compute_uv=False)), (
        "up to a rotation, of any basis"
    )


def test_balance_leaves_what_has_no_basis_to_choose(rng):
    flat = rng.normal(size=(50, 1)) @ np.ones((1, 2))
    k = rng.normal(size=(50, 2))
    assert all(np.array_equal(a, b) for a, b in zip(balanced(flat, k), (flat, k)))
