"""The rotation: independent features come out one by one, in any basis, and rounding does not turn what comes out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qkstore.components import rotation
from qkstore.components.rotation import Rotation, cumulants, diagonal, independent, leading


def signs(n: int, r: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, r))


def classes(n: int, many: int, seed: int = 0) -> np.ndarray:
    """(n, many − 1) white scores of `many` classes, one at a time: no basis makes them independent."""
    rng = np.random.default_rng(seed)
    at = np.eye(many)[rng.integers(0, many, n)] + 0.1 * rng.standard_normal((n, many))
    return white(at)[:, : many - 1]


def white(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=0)
    U, _, _ = np.linalg.svd(centred, full_matrices=False)
    return U * np.sqrt(len(x))


def basis(r: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((r, r)))[0]


def alike(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(r,) the largest |correlation| of each column of one with a column of two."""
    r = one.shape[1]
    return np.abs(np.corrcoef(one.T, two.T)[:r, r:]).max(axis=1)


def fixed_point(z: np.ndarray) -> np.ndarray:
    """The rotation by FastICA (cube), which this one took the place of."""
    from sklearn.decomposition import FastICA

    ica = FastICA(fun="cube", whiten=False, w_init=basis(z.shape[1]), max_iter=200, tol=1e-4).fit(z)
    U, _, Vt = np.linalg.svd(ica.components_)
    return (U @ Vt).T


@pytest.mark.parametrize("kind", ["signs", "exponential", "both"])
def test_independent_features_come_out_one_by_one(kind):
    n, r = 6000, 6
    peaked = np.random.default_rng(2).exponential(1, (n, r)) - 1
    x = {"signs": signs(n, r), "exponential": peaked, "both": np.hstack([signs(n, 3), peaked[:, :3]])}[kind]
    z = white(x) @ basis(r)
    R = independent(z).R
    assert np.allclose(R.T @ R, np.eye(r))
    assert alike(x, z @ R).min() > 0.98
    assert alike(x, z).min() < 0.9, "before the rotation they were mixed"


def test_no_basis_is_another_one():
    z = white(signs(4000, 7))
    one, two = z @ independent(z).R, (z @ basis(7)) @ independent(z @ basis(7)).R
    assert alike(one, two).min() > 1 - 1e-6


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rounding_turns_nothing_and_a_fixed_point_iteration_is_turned_where_nothing_is_independent():
    gaussian = white(np.random.default_rng(1).standard_normal((3000, 20)))
    for z in (classes(2000, 20), gaussian):
        noise = 1e-12 * np.random.default_rng(5).standard_normal(z.shape)
        first, second = independent(z), independent(z + noise)
        assert first.converged
        assert alike(z @ first.R, z @ second.R).min() > 1 - 1e-9
    turned = alike(gaussian @ fixed_point(gaussian), gaussian @ fixed_point(gaussian + noise))
    assert turned.min() < 0.9, "the control"


def test_cumulants_are_those_of_the_definition():
    z = np.random.default_rng(3).exponential(1, (500, 3))
    z -= z.mean(axis=0)
    C = z.T @ z / len(z)
    found = cumulants(z)
    pairs = list(zip(*np.triu_indices(3), strict=True))
    for a, (i, j) in enumerate(pairs):
        for b, (k, m) in enumerate(pairs):
            fourth = (z[:, i] * z[:, j] * z[:, k] * z[:, m]).mean()
            true = fourth - C[i, j] * C[k, m] - C[i, k] * C[j, m] - C[i, m] * C[j, k]
            weight = np.sqrt(2) ** (int(i != j) + int(k != m))
            assert found[a, b] == pytest.approx(true * weight)


def test_blocks_of_rows_add_up(monkeypatch):
    z = signs(700, 4) - signs(700, 4).mean(axis=0)
    whole = cumulants(z)
    monkeypatch.setattr(rotation, "BLOCK", 64)
    assert np.allclose(cumulants(z), whole)


def test_all_leading_matrices_together_are_the_cumulants():
    z = white(np.random.default_rng(4).exponential(1, (800, 4)))
    K = cumulants(z)
    one, two = np.triu_indices(4)
    vectors = leading(K, 100)[one, two] * np.where(one == two, 1.0, np.sqrt(2))[:, None]
    assert np.allclose(vectors @ vectors.T, K @ K)
    assert leading(K, 3).shape == (4, 4, 3)


def test_each_sweep_leaves_less_off_the_diagonals(monkeypatch):
    matrices = leading(cumulants(classes(1500, 9)), 32)

    def off(R: np.ndarray) -> float:
        turned = np.einsum("ia,ijm,jb->abm", R, matrices, R)
        return float((turned**2).sum() - (np.einsum("aam->am", turned) ** 2).sum())

    left = []
    for sweeps in range(8):
        monkeypatch.setattr(rotation, "SWEEPS", sweeps)
        left.append(off(diagonal(matrices).R))
    assert all(b <= a + 1e-9 for a, b in pairwise(left))
    assert left[-1] < 0.9 * left[0]
    assert not diagonal(matrices).converged


def test_ends():
    assert independent(np.ones((5, 1))) == Rotation(np.eye(1), True)
    assert independent(np.ones((5, 0))).R.shape == (0, 0)
    flat = independent(np.zeros((5, 3)))
    assert flat.converged
    assert np.allclose(flat.R, np.eye(3))


def test_many_rows_are_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(rotation, "MOST", 500)
    z = white(signs(4000, 4)) @ basis(4)
    assert np.array_equal(independent(z, 3).R, independent(z, 3).R)
    assert not np.array_equal(independent(z, 3).R, independent(z, 4).R)
    assert alike(signs(4000, 4), z @ independent(z).R).min() > 0.95
