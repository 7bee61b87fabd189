"""The tail of the null of ‖ΔC‖: p-values far below one in the number of deals, from the null's first three moments."""

from __future__ import annotations

import numpy as np

LEAST_P = 1e-12  # smaller values are told as this: no tail that is fitted to three moments is known so far out
SAMPLE = 512  # units whose products tell the second and the third moment
CONSTANT = 1e-9  # of E‖q‖²: queries that vary by less vary by rounding


def cumulants(x: np.ndarray, c: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Return (3,) mean, variance and third cumulant of ‖Σ s x cᵀ‖²_F over random signs s.

    x: (n, d) centred queries, c: (n, d) their centred key contrasts. groups: (n,) whole numbers; the queries of one
    group, such as those of one prompt, have one sign, since they share keys. With G the products ⟨X_i, X_j⟩ of the
    units X = x cᵀ (summed over a group), the moments are Σ G_ii, 2 Σ G_ij² and 8 Σ G_ij G_jk G_ki over distinct i, j
    and k. The first is exact; the others are taken from SAMPLE units at most, drawn by `seed`, and scaled up.
    """
    rng = np.random.default_rng(seed)
    if groups is None or len(distinct := np.unique(groups)) == len(x):
        total, n = float(np.einsum("nd,nd,ne,ne->", x, x, c, c, optimize=True, dtype=np.float64)), len(x)
        drawn = rng.permutation(n)[:SAMPLE]
        G = (x[drawn] @ x[drawn].T) * (c[drawn] @ c[drawn].T)
    else:
        units = np.stack([(x[groups == g].T @ c[groups == g]).ravel() for g in distinct])
        total, n = float(np.square(units, dtype=np.float64).sum()), len(units)
        drawn = rng.permutation(n)[:SAMPLE]
        G = units[drawn] @ units[drawn].T
    m = len(drawn)
    np.fill_diagonal(G, 0)
    pairs = 2 * np.square(G, dtype=np.float64).sum() * n * (n - 1) / max(m * (m - 1), 1)
    triples = 8 * float(np.sum((G @ G) * G, dtype=np.float64)) * _ratio(n, m)
    return np.array([total, pairs, triples])


def _ratio(n: int, m: int) -> float:
    """How many triples of n units there are for one of m."""
    return n * (n - 1) * (n - 2) / max(m * (m - 1) * (m - 2), 1)


def p_tail(observed: float, moments: np.ndarray) -> float:
    """Return P(a shifted gamma variable with these (3,) cumulants is at least `observed`), LEAST_P or more.

    Three moments of a sum of squares give its upper tail well (Hall 1983; Buckley and Eagleson 1988): the shape is
    4 ÷ skewness². 1 where there is no variance.
    """
    from scipy.special import gammaincc

    mean, variance, third = moments
    if not variance > 0:
        return 1.0
    shape = 4 / max(third / variance**1.5, 1e-3) ** 2
    at = shape + np.sqrt(shape) * (observed - mean) / np.sqrt(variance)
    return float(max(gammaincc(shape, max(at, 0.0)), LEAST_P))


def p_norm(q: np.ndarray, x: np.ndarray, c: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> float:
    """Return the p-value of ‖ΔC‖ of centred queries, for the null of qkstore.null.SignNull.

    q: (n, d) queries of one head, x: (n, d) the same centred, c: (n, d) centred key contrasts. 1 where queries are
    constant but for rounding.
    """
    n, size = len(x), float(np.square(q, dtype=np.float64).sum())
    if n < 3 or np.square(x, dtype=np.float64).sum() <= CONSTANT * size:
        return 1.0
    observed = float(np.square(x.T @ c, dtype=np.float64).sum()) * (n - 1) / n
    return p_tail(observed, cumulants(x, c, groups, seed))
