"""Rotation: of all bases of the components' scores, the one whose scores are as independent as they get (ICA)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST = 20_000  # rows that a rotation is fitted on
BLOCK = 2_000  # rows whose products are held at once
KEPT = 4  # matrices of cumulants for each component: those of the largest weight
SWEEPS = 200
REST = 1e-5  # rad: no pair turns further in a whole sweep
TINY = np.finfo(float).tiny


class Rotation(NamedTuple):
    """R: (r, r) orthonormal. converged: whether it came to rest within SWEEPS."""

    R: np.ndarray
    converged: bool


def independent(scores: np.ndarray, seed: int = 0) -> Rotation:
    """Return the rotation of scores: (n, r) by JADE (Cardoso and Souloumiac 1993), after columns have variance 1.

    Of independent features all matrices of fourth-order cumulants are diagonal in one basis. It is looked for by turns
    of two components at a time, each by the angle, known in closed form, that leaves least off the diagonals, until no
    pair turns. No start is drawn and no turn makes it worse, so rounding changes nothing but the last digits. Scores of
    Gaussian features have no preferred basis: the rotation then says nothing. At most MOST rows are used, drawn by the
    seed.
    """
    n, r = scores.shape
    if r < 2:
        return Rotation(np.eye(r), True)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:MOST]) if n > MOST else slice(None)
    z = scores[rows] - scores[rows].mean(axis=0)
    return diagonal(leading(cumulants(z / np.maximum(z.std(axis=0), TINY)), KEPT * r))


def cumulants(z: np.ndarray) -> np.ndarray:
    """(m, m) fourth-order cumulants of the columns of z: (n, r) centred; of the m = r(r + 1)/2 pairs, by the pairs.

    Pairs of two different columns are weighed by √2, as they stand for both orders.
    """
    n, r = z.shape
    one, two = np.triu_indices(r)
    moments, C = np.zeros((len(one), len(one))), z.T @ z / n
    for start in range(0, n, BLOCK):
        products = z[start : start + BLOCK, one] * z[start : start + BLOCK, two]
        moments += products.T @ products / n
    gaussian = np.outer(C[one, two], C[one, two])
    gaussian += C[np.ix_(one, one)] * C[np.ix_(two, two)] + C[np.ix_(one, two)] * C[np.ix_(two, one)]
    weight = _weight(one, two)
    return (moments - gaussian) * np.outer(weight, weight)


def leading(cumulant: np.ndarray, most: int) -> np.ndarray:
    """(r, r, k) the eigenmatrices of cumulants: (m, m), each times its eigenvalue: k = `most` at most, the largest."""
    r = int(np.sqrt(2 * len(cumulant)))
    value, vector = np.linalg.eigh(cumulant)
    kept = np.argsort(-np.abs(value), kind="stable")[:most]
    one, two = np.triu_indices(r)
    out = np.empty((r, r, len(kept)))
    out[one, two] = out[two, one] = vector[:, kept] * value[kept] / _weight(one, two)[:, None]
    return out


def diagonal(matrices: np.ndarray) -> Rotation:
    """The basis in which symmetric matrices: (r, r, k) are together as diagonal as they get, by Jacobi's turns."""
    r, K = len(matrices), matrices.copy()
    R = np.eye(r)
    for _ in range(SWEEPS):
        rests = True
        for i, j in zip(*np.triu_indices(r, 1), strict=True):
            angle = _angle(K[i, i] - K[j, j], 2 * K[i, j])
            if abs(angle) <= REST:
                continue
            rests = False
            c, s = np.cos(angle), np.sin(angle)
            K[i], K[j] = c * K[i] + s * K[j], c * K[j] - s * K[i]
            K[:, i], K[:, j] = c * K[:, i] + s * K[:, j], c * K[:, j] - s * K[:, i]
            R[:, i], R[:, j] = c * R[:, i] + s * R[:, j], c * R[:, j] - s * R[:, i]
        if rests:
            return Rotation(R, True)
    return Rotation(R, False)


def _angle(apart: np.ndarray, twice: np.ndarray) -> float:
    """The turn of two axes that leaves least off (k,) diagonals: how far `apart` they are, and `twice` what is off."""
    on, off = float(apart @ apart - twice @ twice), 2 * float(apart @ twice)
    return 0.5 * float(np.arctan2(off, on + np.hypot(on, off)))


def _weight(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.where(one == two, 1.0, np.sqrt(2.0))


def skewness(scores: np.ndarray) -> np.ndarray:
    """(r,) third standardised moment of the columns of scores: (n, r)."""
    z = scores - scores.mean(axis=0)
    return (z**3).mean(axis=0) / np.maximum((z**2).mean(axis=0), TINY) ** 1.5
