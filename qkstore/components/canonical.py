"""Canonical components of an attention contrast: directions of queries and of choices that predict each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qkstore.components.attention import Moments
from qkstore.errors import ContrastError

FLAT = 1e-10  # of the largest variance: less is rounding
SHRINKAGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)


@dataclass(frozen=True)
class Gauge:
    """Coordinates in which the keys that a query chooses from have covariance 1, and every logit is as before.

    query: (d_head, p), key: (d_head, p): q @ query and k @ key are the coordinates. Under W_Q → M W_Q, W_K → M⁻ᵀ W_K
    both stay the same up to a rotation, so what is shrunk towards the identity here does not depend on the head's
    basis. p is the number of dimensions that keys vary in.
    """

    query: np.ndarray
    key: np.ndarray

    @classmethod
    def of(cls, within: np.ndarray) -> Gauge:
        """From the mean covariance of the keys of a query. Raises ContrastError where keys do not vary."""
        variance, axes = np.linalg.eigh(within)
        kept = variance > FLAT * max(variance[-1], 0)
        if not kept.any():
            raise ContrastError("all keys that a query could choose from are the same, so there is nothing to choose")
        root = np.sqrt(variance[kept])
        return cls(axes[:, kept] * root, axes[:, kept] / root)

    def upright(self, q: np.ndarray) -> Gauge:
        """The same coordinates turned to the principal axes of queries q: (n, d_head), their sum on each above 0.

        What is drawn in them at random, by a seed, is then the same in every basis of the head.
        """
        inside = np.asarray(q, np.float64) @ self.query
        axes = np.linalg.eigh(inside.T @ inside)[1]
        axes = axes * np.where((inside @ axes).sum(axis=0) < 0, -1.0, 1.0)
        return Gauge(self.query @ axes, self.key @ axes)

    def random(self, rank: int, rng: np.random.Generator) -> np.ndarray:
        """(d_head, d_head) projector of keys on `rank` dimensions, uniform (Haar) in these coordinates."""
        Q, R = np.linalg.qr(rng.standard_normal((self.query.shape[1], rank)))
        V = Q * np.sign(np.diag(R))
        return self.query @ V @ V.T @ self.key.T

    def inside(self, m: Moments) -> Moments:
        """The moments in these coordinates, (p,) and (p, p)."""
        Q, K = self.query, self.key
        return replace(
            m, q_mean=m.q_mean @ Q, d_mean=m.d_mean @ K, S_q=Q.T @ m.S_q @ Q, S_d=K.T @ m.S_d @ K, S_qd=Q.T @ m.S_qd @ K
        )


@dataclass(frozen=True)
class Canonical:
    """Functionals that predict each other: the columns of a on queries, of b on keys, with correlations rho: (r,).

    a, b: (d_head, r); by the shrunken covariances q @ a and d @ b have variance 1 and are uncorrelated, but for those
    of one column. a_onto, b_onto: (d_head, r), with aᵀ a_onto = bᵀ b_onto = 1: what a query or a key gains by one unit
    of a component alone, S_q a and S_d b of these covariances.
    """

    a: np.ndarray
    b: np.ndarray
    a_onto: np.ndarray
    b_onto: np.ndarray
    rho: np.ndarray

    def turned(self, R: np.ndarray) -> Canonical:
        """The first columns, turned by R: (r, r) orthonormal; rho is of no use for them."""
        r = len(R)
        a, b, a_onto, b_onto = (x[:, :r] @ R for x in (self.a, self.b, self.a_onto, self.b_onto))
        return Canonical(a, b, a_onto, b_onto, np.full(r, np.nan))

    def only(self, columns: np.ndarray | slice) -> Canonical:
        """Some of the columns, in their order."""
        return Canonical(*(x[..., columns] for x in (self.a, self.b, self.a_onto, self.b_onto, self.rho)))


@dataclass(frozen=True)
class Whitener:
    """Coordinates in which the shrunken covariances of queries and of choices are 1, which no pairing anew changes.

    query: (d_head, p), key: (d_head, s): q @ query and d @ key are the coordinates. query_onto, key_onto: what a query
    or a key gains by one unit of one coordinate alone.
    """

    query: np.ndarray
    key: np.ndarray
    query_onto: np.ndarray
    key_onto: np.ndarray

    @classmethod
    def of(cls, m: Moments, gauge: Gauge, shrink_q: float = 0.0, shrink_d: float = 0.0) -> Whitener:
        """shrink_q, shrink_d: see `canonical`. Raises ContrastError where queries or choices do not vary."""
        inside = gauge.inside(m)
        size = float(np.sum(inside.q_mean**2) + np.trace(inside.S_q))  # of queries, whatever the scaling of logits
        Q, Q_onto = _roots(inside.S_q, shrink_q, size, "queries of this head are all the same, so they choose nothing")
        same = "this head chooses the same for every query, so nothing is told apart"
        D, D_onto = _roots(inside.S_d, shrink_d, 1.0, same)  # beside the keys, whose covariance is 1 here
        return cls(gauge.query @ Q, gauge.key @ D, gauge.key @ Q_onto, gauge.query @ D_onto)

    def canonical(self, S_qd: np.ndarray) -> Canonical:
        """The components of a cross-covariance S_qd: (d_head, d_head)."""
        A, rho, Bt = np.linalg.svd(self.query.T @ S_qd @ self.key, full_matrices=False)
        B = Bt.T
        return Canonical(self.query @ A, self.key @ B, self.query_onto @ A, self.key_onto @ B, rho.clip(0, 1))


def canonical(m: Moments, gauge: Gauge, shrink_q: float = 0.0, shrink_d: float = 0.0) -> Canonical:
    """Return the canonical components of moments: the SVD of S_q^(−1/2) S_qd S_d^(−1/2), by descending correlation.

    shrink_q, shrink_d: how far a covariance is drawn towards a multiple of 1 in the gauge's coordinates (see
    `shrinkage`); needed where queries are few. Raises ContrastError where queries or choices do not vary.
    """
    return Whitener.of(m, gauge, shrink_q, shrink_d).canonical(m.S_qd)


def held_out(c: Canonical, m: Moments) -> np.ndarray:
    """(r,) correlations of the components' scores on other queries, whose moments are m; 0 where a score is flat."""
    return correlation(forms(c.a, m.S_qd, c.b), forms(c.a, m.S_q, c.a) * forms(c.b, m.S_d, c.b))


def correlation(product: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(r,) covariances of two scores each, over the root of the product of their variances; 0 where one is flat."""
    return np.divide(product, np.sqrt(variance.clip(0)), out=np.zeros(len(product)), where=variance > FLAT**2)


def forms(a: np.ndarray, S: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(r,) aⱼᵀ S bⱼ of the columns of a and b."""
    return np.sum(a * (S @ b), axis=0)


def shrinkage(fitted: np.ndarray, others: np.ndarray) -> float:
    """Return which of SHRINKAGES makes a covariance of some queries likeliest for other queries, of a Gaussian.

    fitted, others: (p, p) covariances. It looks at one side alone, so that pairing queries anew does not change it.
    """
    variance, axes = np.linalg.eigh(fitted)
    level = variance.mean()
    if level <= 0:
        return 0.0
    seen = np.einsum("pi,pq,qi->i", axes, others, axes)
    drawn = [np.maximum((1 - s) * variance + s * level, FLAT * level) for s in SHRINKAGES]
    return SHRINKAGES[int(np.argmin([np.sum(np.log(v) + seen / v) for v in drawn]))]


def _roots(S: np.ndarray, shrink: float, size: float, flat: str) -> tuple[np.ndarray, np.ndarray]:
    """(p, r) S^(−1/2) and S^(1/2) of the shrunken covariance, of the r directions that vary.

    Raises ContrastError, which says `flat`, where nothing varies beside what `size` measures.
    """
    variance, axes = np.linalg.eigh(S)
    level = variance.mean()
    if not variance[-1] > FLAT * size:
        raise ContrastError(flat)
    variance = (1 - shrink) * variance + shrink * level
    kept = variance > FLAT * variance[-1]
    root = np.sqrt(variance[kept])
    return axes[:, kept] / root, axes[:, kept] * root
