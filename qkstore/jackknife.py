"""Jackknife: 95 % intervals of ΔC's size, rank and logit gap, by leaving out one part of the queries at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.subspace import rank

PARTS = 20
STUDENT = 2.093  # 97.5 % of Student's t with PARTS − 1 degrees of freedom


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True)
class Moments:
    """What one ΔC says. norm: ‖ΔC‖_F; rank: by 99 % of its energy.

    trace: E[q·k | +] − E[q·k | −], the logit gap before the scaling.
    mean_query: the share of ‖ΔC‖² that q̄ (k̄+ − k̄−)ᵀ explains.
    """

    norm: Estimate
    rank: Estimate
    trace: Estimate
    mean_query: Estimate


def moments(x: np.ndarray, c: np.ndarray, seed: int = 0, parts: int = PARTS) -> Moments:
    """Moments with intervals, from units x, c: (n, d) with mean x cᵀ = ΔC (qkstore.rank.units).

    The queries are dealt at random into parts of about n / parts. The interval is value ± t · s, s from the values with
    one part left out (Quenouille 1949): a bootstrap would add noise to ΔC and so raise its rank. Where every part gives
    the same rank, the interval is that rank alone.
    """
    n, deal = len(x), np.array_split(np.random.default_rng(seed).permutation(len(x)), min(parts, len(x)))
    x, c = np.asarray(x, np.float64), np.asarray(c, np.float64)
    product, x_sum, c_sum = x.T @ c, x.sum(axis=0), c.sum(axis=0)
    whole = _statistics(product / n, x_sum / n, c_sum / n)
    left = np.array(
        [
            _statistics(
                (product - x[p].T @ c[p]) / (n - len(p)),
                (x_sum - x[p].sum(axis=0)) / (n - len(p)),
                (c_sum - c[p].sum(axis=0)) / (n - len(p)),
            )
            for p in deal
        ]
    )
    half = STUDENT * np.sqrt((len(deal) - 1) * left.var(axis=0))
    return Moments(*(_estimate(v, h, least) for v, h, least in zip(whole, half, (0, 0, -np.inf, -np.inf))))


def _estimate(value: float, half: float, least: float) -> Estimate:
    return Estimate(float(value), float(max(least, value - half)), float(value + half))


def _statistics(delta: np.ndarray, q_mean: np.ndarray, difference: np.ndarray) -> np.ndarray:
    energy = np.sum(delta**2)
    rest = np.sum((delta - np.outer(q_mean, difference)) ** 2)
    return np.array(
        [
            np.sqrt(energy),
            rank(np.linalg.svd(delta, compute_uv=False)),
            np.trace(delta),
            1 - rest / energy if energy else 0.0,
        ]
    )
