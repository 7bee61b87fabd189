"""Rotation: of all bases of the components' scores, the one whose scores are as independent as they get (ICA)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

MOST = 20_000  # rows that a rotation is fitted on
STEPS = 200
STARTS = 3
TOLERANCE = 1e-4


class Rotation(NamedTuple):
    """R: (r, r) orthonormal. converged: whether the iteration came to rest within STEPS."""

    R: np.ndarray
    converged: bool


def independent(scores: np.ndarray, seed: int = 0) -> Rotation:
    """Return the rotation of scores: (n, r) by FastICA with the cube contrast (Hyvärinen 1999), by scikit-learn.

    Columns are brought to variance 1 first. Of several starts the one is taken whose scores are least Gaussian, by the
    sum of their squared excess kurtoses. Scores of Gaussian features have no preferred basis: the rotation then says
    nothing. At most MOST rows are used, drawn by the seed.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    n, r = scores.shape
    if r < 2:
        return Rotation(np.eye(r), True)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(n)[:MOST]) if n > MOST else slice(None)
    z = scores[rows] - scores[rows].mean(axis=0)
    z /= np.maximum(z.std(axis=0), np.finfo(float).tiny)
    best, converged, most = np.eye(r), False, -1.0
    for start in range(STARTS):
        turn, _ = np.linalg.qr(np.random.default_rng([seed, start]).standard_normal((r, r)))
        ica = FastICA(fun=_cube, whiten=False, w_init=turn, max_iter=STEPS, tol=TOLERANCE, random_state=0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ica.fit(z)
        U, _, Vt = np.linalg.svd(ica.components_)
        R = (U @ Vt).T
        peaks = float(np.sum(_kurtosis(z @ R) ** 2))
        if peaks > most:
            best, most = R, peaks
            converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return Rotation(best, converged)


def skewness(scores: np.ndarray) -> np.ndarray:
    """(r,) third standardised moment of the columns of scores: (n, r)."""
    z = scores - scores.mean(axis=0)
    return (z**3).mean(axis=0) / np.maximum((z**2).mean(axis=0), np.finfo(float).tiny) ** 1.5


def _cube(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x³ and the mean of its slope over the last axis, by products: a power takes ten times as long."""
    square = x * x
    return square * x, 3 * square.mean(axis=-1)


def _kurtosis(z: np.ndarray) -> np.ndarray:
    """(r,) excess kurtosis of the columns of z."""
    z = z - z.mean(axis=0)
    return (z**4).mean(axis=0) / np.maximum((z**2).mean(axis=0) ** 2, np.finfo(float).tiny) - 3
