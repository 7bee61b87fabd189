"""The peers that are linear algebra: each gives directions of queries and of keys in one order, and how many it means.

A direction j is a functional on queries a[:, j] and one on keys b[:, j], with what a query or a key gains by one unit
of it, a_onto[:, j] and b_onto[:, j]; where a method has orthonormal directions, these are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from qkstore.components import AttentionContrast, Canonical, Choices, Gauge, canonical, components, number
from qkstore.components.number import Number
from qkstore.subspace import rank

ENERGY = 0.99  # where a method has no rule of its own: the paper's, on squared singular values or on variance
TURNS = 200  # of varimax, at most


@dataclass(frozen=True)
class Subject:
    """One head, with what a method may read.

    found: what n queries chose. k: (m, d_head) keys, of which T in turn belong to one of those queries. deltas: ΔC of
    labelled contrasts, for the supervised peer alone. W_Q, W_K: (d_head, d_model), where the head's weights are known.
    logsumexp: (n,). room: dimensions that every method's swap is given. M: the basis that the head is in, for tests.
    """

    found: Choices
    q: np.ndarray
    k: np.ndarray
    scaling: float
    room: int
    deltas: tuple[np.ndarray, ...] = ()
    W_Q: np.ndarray | None = None
    W_K: np.ndarray | None = None

    def based(self, M: np.ndarray) -> Subject:
        """The same head in another basis: q → Mᵀ q, k → M⁻¹ k, which changes no logit."""
        other = np.linalg.inv(M)
        f = self.found
        found = Choices(f.q @ M, f.d @ other.T, f.group, f.attention, other @ f.within @ other.T, f.few, f.elsewhere)
        return replace(
            self, found=found, q=self.q @ M, k=self.k @ other.T, deltas=tuple(M.T @ C @ other.T for C in self.deltas),
            W_Q=None if self.W_Q is None else M.T @ self.W_Q, W_K=None if self.W_K is None else other @ self.W_K,
        )  # fmt: skip

    def contrast(self, repairs: int = 99) -> AttentionContrast:
        return AttentionContrast(self.found.q.shape[1], repairs).update(self.found)


@dataclass(frozen=True)
class Directions:
    """What a method found: see above. number: how many it says there are, None where it does not say."""

    a: np.ndarray
    b: np.ndarray
    a_onto: np.ndarray
    b_onto: np.ndarray
    number: int | None
    seconds: float = 0.0
    scores: Callable[[np.ndarray], np.ndarray] | None = None

    def query_scores(self, q: np.ndarray, n: int) -> np.ndarray:
        """(m, n) scores of queries; where a method's features are not linear, all of them."""
        return q @ self.a[:, :n] if self.scores is None else self.scores(q)

    def key_projector(self, n: int) -> np.ndarray:
        """(d_head, d_head) P of the first n directions: k @ P.T is a key's part in them."""
        return self.b_onto[:, :n] @ self.b[:, :n].T

    @classmethod
    def orthonormal(cls, U: np.ndarray, V: np.ndarray, number: int | None) -> Directions:
        return cls(U, V, U, V, number)

    @classmethod
    def of(cls, c: Canonical, number: int) -> Directions:
        return cls(c.a, c.b, c.a_onto, c.b_onto, number)


Method = Callable[[Subject], Directions]


def timed(method: Method, subject: Subject) -> Directions:
    """What a method finds, with its seconds of processor time."""
    begun = time.process_time()
    found = method(subject)
    return replace(found, seconds=time.process_time() - begun)


def weights(s: Subject) -> Directions:
    """SVD of W_Qᵀ W_K: what the head could tell apart in any residual stream, whatever streams there are.

    Singular vectors u, v of the residual stream become functionals on q and k through the pseudo-inverses of W_Q and
    W_K, so that the head's basis does not matter. Position (RoPE), norms of q and k, and biases are left out.
    """
    U, S, Vt = np.linalg.svd(s.W_Q.T @ s.W_K, full_matrices=False)
    d = len(s.W_Q)
    U, V = U[:, :d], Vt[:d].T
    return Directions(np.linalg.pinv(s.W_Q).T @ U, np.linalg.pinv(s.W_K).T @ V, s.W_Q @ U, s.W_K @ V, rank(S[:d]))


def pca(s: Subject) -> Directions:
    """Principal components of queries, and apart from them of keys; as many as hold 99 % of the variance of queries."""
    (variance, U), (_, V) = (_axes(np.cov(x.T)) for x in (s.q, s.k))
    return Directions.orthonormal(U, V, int(np.searchsorted(np.cumsum(variance) / variance.sum(), ENERGY) + 1))


def supervised(s: Subject) -> Directions:
    """The paper's method, which is told the labels: the leading singular vectors of each latent's ΔC.

    Latents one after the other, each cut where it holds 99 % of its energy; what lies in an earlier one's span already
    is left out. Directions of any latent that come after its cut stand last.
    """
    parts = [np.linalg.svd(C) for C in s.deltas]
    cuts = [rank(S) for _, S, _ in parts]
    first = [(U[:, :r], Vt[:r].T) for (U, _, Vt), r in zip(parts, cuts)]
    rest = [(U[:, r:], Vt[r:].T) for (U, _, Vt), r in zip(parts, cuts)]
    U, V = (_fresh([part[side] for part in first + rest]) for side in (0, 1))
    return Directions.orthonormal(U, V, min(sum(cuts), len(U)))


def plain(s: Subject) -> Directions:
    """The attention contrast without canonical whitening: SVD of E[q dᵀ], centred; 99 % of its energy."""
    U, S, Vt = np.linalg.svd(s.contrast(0).moments().S_qd)
    return Directions.orthonormal(U, Vt.T, rank(S))


def unrotated(s: Subject) -> Directions:
    """Canonical components as the SVD gives them."""
    counted, whole = _canonical(s)
    return Directions.of(whole, counted.value)


def varimax(s: Subject) -> Directions:
    """Canonical components, turned by varimax (Kaiser 1958) instead of ICA.

    Varimax makes loadings simple: here correlations of the head's own query dimensions with the scores, by ρ.
    """
    counted, whole = _canonical(s)
    r = counted.value
    m = s.contrast(0).moments()
    spread = np.sqrt(np.diag(m.S_q))
    L = (m.S_q @ whole.a[:, :r]) / np.where(spread > 0, spread, 1.0)[:, None] * whole.rho[:r]
    R, last = np.eye(r), 0.0
    for _ in range(TURNS):
        turned = L @ R
        U, S, Vt = np.linalg.svd(L.T @ (turned**3 - turned * (turned**2).mean(axis=0)))
        R, reached = U @ Vt, float(S.sum())
        if reached < last * (1 + 1e-9):
            break
        last = reached
    return Directions.of(_with_rest(whole.turned(R), whole), r)


def independent(s: Subject) -> Directions:
    """This project's: canonical components turned by ICA."""
    found = components(s.contrast(), s.found)
    _, whole = _canonical(s)
    c = Canonical(found.a, found.b, found.a_onto, found.b_onto, found.rho)
    return Directions.of(_with_rest(c, whole), len(found))


METHODS: dict[str, Method] = {
    "SVD of W_Qᵀ W_K": weights,
    "PCA of q and of k": pca,
    "ΔC, labels given": supervised,
    "attention contrast, not whitened": plain,
    "canonical, not rotated": unrotated,
    "canonical, varimax": varimax,
    "canonical, ICA (components)": independent,
}


def _canonical(s: Subject) -> tuple[Number, Canonical]:
    contrast = s.contrast()
    counted = number(contrast)
    return counted, canonical(contrast.moments(), Gauge.of(contrast.within), counted.shrink_q, counted.shrink_d)


def _with_rest(turned: Canonical, whole: Canonical) -> Canonical:
    """The turned columns, then the ones that were not, so that there are directions enough for any number."""
    names = ("a", "b", "a_onto", "b_onto")
    r = turned.a.shape[1]
    parts = (np.hstack([getattr(turned, n), getattr(whole, n)[:, r:]]) for n in names)
    return Canonical(*parts, np.append(turned.rho, whole.rho[r:]))


def _axes(S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    variance, axes = np.linalg.eigh(S)
    return variance[::-1].clip(0), axes[:, ::-1]


def _fresh(parts: list[np.ndarray]) -> np.ndarray:
    """(d, d) orthonormal columns that span the parts' columns in turn."""
    Q = np.empty((len(parts[0]), 0))
    for x in np.hstack(parts).T:
        left = x - Q @ (Q.T @ x)
        if (size := float(np.linalg.norm(left))) > 1e-3 and Q.shape[1] < len(x):
            Q = np.column_stack([Q, left / size])
    return Q
