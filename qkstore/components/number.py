"""How many components a head has: correlations on held-out queries beside those of queries paired anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qkstore.components.attention import FOLDS, HALVES, AttentionContrast, Moments
from qkstore.components.canonical import Gauge, Whitener, correlation, forms, shrinkage
from qkstore.null import p_value

STRONG = 0.5  # correlation from which a component counts: a quarter of the variance of either side tells the other
LEVEL = 0.05
HALVINGS = 20  # random ones, that the number's interval is of


@dataclass(frozen=True)
class Number:
    """The number of a head's components, and what it rests on.

    value: leading components whose held-out correlation is above STRONG and above `chance`. interval: what holds 95 %
    of the same number over random halvings of the prompts. clear: how many are above chance, weak ones too; attention
    picks keys that fit a query in any head, so most heads have weak ones. held: (p,) held-out correlations, fitted on
    one half of the prompts and read on the other, both ways, averaged. null: (repairs,) the largest of such
    correlations where queries are paired anew with choices; chance: their 95 % quantile. p_value: of the head having
    none. shrink_q, shrink_d: see canonical. n: queries.
    """

    value: int
    interval: tuple[int, int]
    clear: int
    held: np.ndarray
    null: np.ndarray
    chance: float
    p_value: float
    shrink_q: float
    shrink_d: float
    n: int

    @property
    def told(self) -> str:
        """The number in words."""
        low, high = self.interval
        many = "1 component" if self.value == 1 else f"{self.value} components"
        return f"{many} [{low}, {high}], with a held-out correlation above {STRONG}; chance gives {self.chance:.2f}"


def number(contrast: AttentionContrast, seed: int = 0, halvings: int = HALVINGS) -> Number:
    """Return how many components an attention contrast has, with its null and its interval.

    A covariance is shrunk as far as makes the other half's queries likeliest; that choice looks at one side alone, so
    p-values are those of exchangeable pairings. Raises ContrastError where nothing varies or queries are too few.
    """
    gauge = Gauge.of(contrast.within)
    one, other = (contrast.moments(folds) for folds in HALVES)
    shrink_q, shrink_d = shrinkages(one, other, gauge)

    halves = Halves.of(one, other, gauge, shrink_q, shrink_d)
    held = halves.held(one.S_qd, other.S_qd)
    anew = zip(contrast.repaired(0), contrast.repaired(1), strict=True)
    null = np.array([halves.held(a.S_qd, b.S_qd).max() for a, b in anew])
    chance = float(np.quantile(null, 1 - LEVEL)) if len(null) else 0.0
    rng, counts = np.random.default_rng(seed), []
    for _ in range(halvings):
        order = rng.permutation(FOLDS)
        one, other = (contrast.moments(part) for part in (order[: FOLDS // 2], order[FOLDS // 2 :]))
        read = Halves.of(one, other, gauge, shrink_q, shrink_d).held(one.S_qd, other.S_qd)
        counts.append(_leading(read, max(STRONG, chance)))
    value = _leading(held, max(STRONG, chance))
    low, high = (int(end) for end in np.quantile([value, *counts], [0.025, 0.975], method="closest_observation"))
    return Number(
        value, (min(low, value), max(high, value)), _leading(held, chance), held, null, chance,
        p_value(float(held.max()), null), shrink_q, shrink_d, contrast.n,
    )  # fmt: skip


class Side(NamedTuple):
    """One half of the prompts, for fitting, and the other in its coordinates, for reading.

    S_q, S_d: covariances of the other half's queries and choices in the coordinates of `whitener`.
    """

    whitener: Whitener
    S_q: np.ndarray
    S_d: np.ndarray

    @classmethod
    def of(cls, fitted: Moments, other: Moments, gauge: Gauge, shrink_q: float, shrink_d: float) -> Side:
        w = Whitener.of(fitted, gauge, shrink_q, shrink_d)
        return cls(w, w.query.T @ other.S_q @ w.query, w.key.T @ other.S_d @ w.key)

    def held(self, fitted: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(p,) correlations on the other half of components fitted on the one; of their S_qd, (d_head, d_head)."""
        fitted, other = (self.whitener.query.T @ S_qd @ self.whitener.key for S_qd in (fitted, other))
        A, _, Bt = np.linalg.svd(fitted, full_matrices=False)
        B = Bt.T
        return correlation(forms(A, other, B), forms(A, self.S_q, A) * forms(B, self.S_d, B))


@dataclass(frozen=True)
class Halves:
    """Two halves of the prompts, whitened once: pairing queries anew with choices changes S_qd alone."""

    one: Side
    other: Side

    @classmethod
    def of(cls, one: Moments, other: Moments, gauge: Gauge, shrink_q: float, shrink_d: float) -> Halves:
        return cls(*(Side.of(*both, gauge, shrink_q, shrink_d) for both in ((one, other), (other, one))))

    def held(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(p,) correlations of components fitted on one half and read on the other, and the other way, averaged.

        one, other: (d_head, d_head) S_qd of the halves.
        """
        first, second = self.one.held(one, other), self.other.held(other, one)
        p = min(len(first), len(second))
        return (first[:p] + second[:p]) / 2


def shrinkages(one: Moments, other: Moments, gauge: Gauge) -> tuple[float, float]:
    """How far the covariances of queries and of choices are shrunk, chosen on the halves of the prompts."""
    a, b = gauge.inside(one), gauge.inside(other)
    return shrinkage(a.S_q, b.S_q), shrinkage(a.S_d, b.S_d)


def _leading(held: np.ndarray, limit: float) -> int:
    """How many of held: (p,) stand above a limit before the first that does not."""
    below = held <= limit
    return int(below.argmax()) if below.any() else len(held)
