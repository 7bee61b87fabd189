"""The components of a head: what it tells keys apart by, found without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.components.attention import FOLDS, AttentionContrast
from qkstore.components.canonical import Canonical, Gauge, canonical, held_out
from qkstore.components.choices import Choices
from qkstore.components.number import Number, number
from qkstore.components.rotation import independent, skewness
from qkstore.errors import ContrastError


@dataclass(frozen=True)
class Components:
    """r components of one head, in the order of what they carry of the logit gap.

    Component j scores queries by (q − q_mean) · a[:, j] and keys by k · b[:, j], both with variance 1 by the shrunken
    covariances of the queries and choices that they were fitted on. a_onto, b_onto: (d_head, r), what a query or key
    gains by one unit of a component alone. rho: (r,) correlations of the two scores on the fitted queries; share: (r,)
    part of the centred logit gap E[(q − q_mean) · d], which sums to at most about 1 over all. None of these but a, b
    and their like changes with the head's basis (W_Q → M W_Q, W_K → M⁻ᵀ W_K). mean_share: part of the whole gap
    E[q · d] that the mean query makes, which no component can. number: how many there are, and how sure. rotated:
    whether the rotation came to rest.
    """

    a: np.ndarray
    b: np.ndarray
    a_onto: np.ndarray
    b_onto: np.ndarray
    rho: np.ndarray
    share: np.ndarray
    q_mean: np.ndarray
    mean_share: float
    number: Number
    rotated: bool

    def __len__(self) -> int:
        return len(self.rho)

    def __repr__(self) -> str:
        return f"Components({len(self)} of d_head={len(self.a)}, rho={np.round(self.rho, 3).tolist()})"

    def query_scores(self, q: np.ndarray) -> np.ndarray:
        """(n, r) scores of q: (n, d_head)."""
        return (q - self.q_mean) @ self.a

    def key_scores(self, k: np.ndarray) -> np.ndarray:
        """(m, r) scores of keys or choices k: (m, d_head); only their differences say something."""
        return np.asarray(k, np.float64) @ self.b

    def key_projector(self, group: Sequence[int] | None = None) -> np.ndarray:
        """(d_head, d_head) P of a group of components, or of all: k @ P.T is a key's part in them.

        It is oblique: P = Σ b_onto bᵀ, so that what it takes of a key does not depend on the head's basis, and what it
        leaves scores 0 on the group.
        """
        at = self._group(group)
        return self.b_onto[:, at] @ self.b[:, at].T

    def query_projector(self, group: Sequence[int] | None = None) -> np.ndarray:
        """(d_head, d_head) P of a group of components, or of all: q @ P.T is a query's part in them."""
        at = self._group(group)
        return self.a_onto[:, at] @ self.a[:, at].T

    def _group(self, group: Sequence[int] | None) -> list[int]:
        at = list(range(len(self)) if group is None else group)
        wrong = [j for j in at if not 0 <= j < len(self)]
        if wrong:
            raise ContrastError(f"no component {wrong[0]}; this head has {_numbers(len(self))}")
        return at


def components(contrast: AttentionContrast, found: Choices, n: int | None = None, seed: int = 0) -> Components:
    """Return the components of a head, from its attention contrast and the choices that a rotation is fitted on.

    n: how many to keep; by default as many as there are (`number`). Raises ContrastError for an n that the head has no
    room for, and where queries or keys do not vary.
    """
    counted = number(contrast, seed)
    gauge, moments = Gauge.of(contrast.within), contrast.moments()
    whole = canonical(moments, gauge, counted.shrink_q, counted.shrink_d)
    kept = counted.value if n is None else n
    if not 0 <= kept <= len(whole.rho):
        raise ContrastError(f"{kept} components; this head can have 0 to {len(whole.rho)}")
    x, y = (found.q - moments.q_mean) @ whole.a[:, :kept], found.d @ whole.b[:, :kept]
    upright = np.where(skewness((x + y) / 2) < 0, -1.0, 1.0)  # the SVD's signs differ from one basis to another
    rotation = independent((x + y) / 2 * upright, seed)
    turned = whole.turned(upright[:, None] * rotation.R)
    gap = float(np.trace(moments.S_qd))
    share = np.einsum("dr,de,er->r", turned.b_onto, moments.S_qd, turned.b) / (gap or 1.0)
    order = np.argsort(-share, kind="stable")
    c, sign = turned.only(order), np.where(skewness((x + y) / 2 * upright @ rotation.R)[order] < 0, -1.0, 1.0)
    mean_gap = float(moments.q_mean @ moments.d_mean)
    return Components(
        a=c.a * sign,
        b=c.b * sign,
        a_onto=c.a_onto * sign,
        b_onto=c.b_onto * sign,
        rho=held_out(c, moments),
        share=share[order],
        q_mean=moments.q_mean,
        mean_share=mean_gap / (mean_gap + gap) if mean_gap + gap else 0.0,
        number=counted,
        rotated=rotation.converged,
    )


def correlations(found: Components, judged: AttentionContrast) -> tuple[np.ndarray, np.ndarray]:
    """Return the components' correlations on other queries, (r,), and their 95 % intervals, (r, 2).

    The interval is a jackknife over the folds of prompts, of Fisher's z.
    """
    c = Canonical(found.a, found.b, found.a_onto, found.b_onto, found.rho)
    rho = held_out(c, judged.moments())
    there = np.flatnonzero(judged.n_)
    if len(there) < 3:
        return rho, np.stack([np.full(len(rho), -1.0), np.full(len(rho), 1.0)], axis=1)
    without = np.array([held_out(c, judged.moments([f for f in range(FOLDS) if f != out])) for out in there])
    z, each = _fisher(rho), _fisher(without)
    half = 1.96 * np.sqrt((len(there) - 1) / len(there) * np.sum((each - each.mean(axis=0)) ** 2, axis=0))
    return rho, np.tanh(np.stack([z - half, z + half], axis=1))


def _fisher(rho: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))


def _numbers(n: int) -> str:
    return "none" if n == 0 else f"0 to {n - 1}"
