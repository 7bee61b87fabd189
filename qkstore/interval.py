"""95 % intervals: Wilson for shares, bootstrap over queries for means, jackknife over queries for statistics of ΔC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from qkstore.errors import ContrastError
from qkstore.subspace import rank

RESAMPLES = 1000  # of the bootstrap
KEPT_ROWS = 10_000  # whose resamples are kept: 20 MB at most
PARTS = 20  # of the jackknife
AT_ONCE = 1 << 22  # values of the heads that are resampled together
LEAST_GROUPS = 8  # of values that depend on each other: the t of fewer has tails that nothing reaches


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of successes ÷ n (Wilson 1927), n ≥ 1.

    It lies within 0…1 and has a width also where the share is 0 or 1. successes may be a mean, so it need not be whole.
    """
    p, z = successes / n, 1.959964
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return float(max(0.0, (middle - half) / (1 + z**2 / n))), float(min(1.0, (middle + half) / (1 + z**2 / n)))


def bootstrap(rows: np.ndarray, seed: int) -> np.ndarray:
    """Return (RESAMPLES, c) means of rows: (n, c), each over n rows drawn with replacement; the same for one seed."""
    n = len(rows)
    return np.concatenate([counts @ rows / n for counts in (_kept if n <= KEPT_ROWS else _resamples)(n, seed)])


def _resamples(n: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks (r, n) uint16 of RESAMPLES in all: how often each of n rows is drawn, about a million draws at a time."""
    rng, step = np.random.default_rng(seed), max(1, 1_000_000 // n)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.uint16)


@lru_cache(2)
def _kept(n: int, seed: int) -> list[np.ndarray]:
    """The same, kept: conditions of one analysis, and heads of one run, resample the same rows."""
    return list(_resamples(n, seed))


def ratio_interval(sums: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the ratio of the two means of sums: (n, 2); NaN is left out of a mean."""
    return ratio_intervals([sums], seed)[0]


def ratio_intervals(sums: Sequence[np.ndarray], seed: int = 0) -> list[tuple[float, float]]:
    """Return `ratio_interval` of each of several heads, (n, 2) of the same n queries: their resamples are one."""
    step = max(1, AT_ONCE // max(4 * len(sums[0]), 1)) if sums else 1
    return [found for i in range(0, len(sums), step) for found in _ratio_intervals(sums[i : i + step], seed)]


def _ratio_intervals(sums: Sequence[np.ndarray], seed: int) -> list[tuple[float, float]]:
    values = np.concatenate(sums, axis=1)  # (n, 2 · heads)
    there = ~np.isnan(values)
    filled = np.where(there, values, 0.0)
    if there.all():  # as in most contrasts: every query has both
        means = bootstrap(filled, seed)
    else:
        each = bootstrap(np.hstack([filled, there]), seed)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = each[:, : values.shape[1]] / each[:, values.shape[1] :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means[:, ::2] / means[:, 1::2]  # (draws, heads)
    quantile = np.nanquantile if np.isnan(ratios).any() else np.quantile  # which is many times as fast
    low, high = quantile(ratios, [0.025, 0.975], axis=0)
    return list(zip(low.tolist(), high.tolist()))


def digests(rows: np.ndarray) -> np.ndarray:
    """Return (n,) uint64 numbers of rows: (n, c) float32 or int64, equal where rows are: repeats tell nothing new.

    By a hash of 64 bits (the finaliser of splitmix64), so that rows need not be seen together.
    """
    words = (rows + 0.0).view(np.uint32) if rows.dtype == np.float32 else rows  # + 0: −0 is 0
    return _mixed((words.astype(np.uint64) + np.uint64(1)) * _mixed(np.arange(1, words.shape[1] + 1))).sum(axis=1)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def student(n: int) -> float:
    """Return the half width of a 95 % interval from n ≥ 2 values, in standard errors: Student's t, n − 1 degrees."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.975))


def p_above(values: np.ndarray, groups: np.ndarray | None = None) -> float | None:
    """Return the one-sided p-value of a mean of 0 or less, from values: (n,), by Student's t; None where n is 1.

    groups: (n,) whole numbers; values of one group count as one observation together, since they depend on each other
    (a word that many prompts ask for): the variance is that of the groups' sums (Liang and Zeger 1986), its degrees of
    freedom are the groups' number less 1. Fewer than LEAST_GROUPS groups tell too little, and are not used.
    """
    from scipy.special import stdtr

    n, parts = len(values), np.arange(len(values))
    if groups is not None and len(distinct := np.unique(groups)) >= LEAST_GROUPS:
        parts = np.searchsorted(distinct, groups)
    if n < 2:
        return None
    mean, count = float(np.mean(values)), int(parts.max()) + 1
    sums = np.bincount(parts, weights=values - mean)
    error = np.sqrt(count / (count - 1) * np.sum(sums**2)) / n
    if not error:
        return 1.0 if mean <= 0 else 0.0
    return float(stdtr(count - 1, -mean / error))


def p_binomial(successes: int, n: int, chance: float) -> float:
    """Return the probability of as many successes of n or more, where each has the probability `chance`."""
    from scipy.special import bdtrc

    return float(bdtrc(successes - 1, n, chance)) if successes else 1.0


def margin(values: np.ndarray) -> float:
    """Return half the width of the 95 % interval of the mean of values: (n,), by Student's t; 0 where n is 1."""
    n = len(values)
    return student(n) * float(np.std(values, ddof=1)) / np.sqrt(n) if n > 1 else 0.0


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def together(self, n: int) -> tuple[float, float]:
        """The interval that holds for n such values together: its ends as far out as a level of .05 ÷ n asks for.

        As of a normal distribution on either side (Bonferroni).
        """
        wider = NormalDist().inv_cdf(1 - 0.025 / n) / NormalDist().inv_cdf(0.975)
        return self.value - wider * (self.value - self.low), self.value + wider * (self.high - self.value)

    def less(self, other: Estimate, correlation: float = 0.0) -> Estimate:
        """This value less another, with the 95 % interval that the two intervals give (Newcombe 1998, method 10).

        correlation: of the two values over samples; 0 where they are of different queries.
        """
        difference, below, above = self.value - other.value, self.value - self.low, self.high - self.value
        other_below, other_above = other.value - other.low, other.high - other.value
        low = below**2 + other_above**2 - 2 * correlation * below * other_above
        high = above**2 + other_below**2 - 2 * correlation * above * other_below
        return Estimate(difference, difference - max(low, 0.0) ** 0.5, difference + max(high, 0.0) ** 0.5)


@dataclass(frozen=True)
class Moments:
    """Statistics of one ΔC with intervals.

    norm: ‖ΔC‖_F. rank: singular values that hold 99 % of ‖ΔC‖²_F. trace: E[q·k | +] − E[q·k | −], the logit gap before
    scaling. mean_query: share of ‖ΔC‖²_F that q̄ (k̄+ − k̄−)ᵀ explains.
    """

    norm: Estimate
    rank: Estimate
    trace: Estimate
    mean_query: Estimate


def moments(x: np.ndarray, c: np.ndarray, seed: int = 0, parts: int = PARTS) -> Moments:
    """Return the Moments of ΔC = mean x cᵀ from the units x, c: (n, d) of `qkstore.rank.units`.

    Queries are dealt at random (by `seed`) into `parts` parts, or n parts where n is less. An interval is value ± t · s
    with s from the values with one part left out each (jackknife, Quenouille 1949) and Student's t for that number of
    parts. A bootstrap would add noise to ΔC and raise its rank. Where leaving out any part gives the same rank, its
    interval has no width. Raises ContrastError for fewer than 2 queries.
    """
    if len(x) < 2:
        raise ContrastError(f"an interval of ΔC is taken over 2 queries or more; the contrast has {len(x)}")
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
    half = student(len(deal)) * np.sqrt((len(deal) - 1) * left.var(axis=0))
    ranges = (0, np.inf), (0, x.shape[1]), (-np.inf, np.inf), (-np.inf, 1)
    return Moments(*(_estimate(v, h, *of) for v, h, of in zip(whole, half, ranges)))


def _estimate(value: float, half: float, least: float, most: float) -> Estimate:
    """value ± half, of a statistic that is within `least` and `most`."""
    return Estimate(float(value), float(max(least, value - half)), float(min(most, value + half)))


def _statistics(delta: np.ndarray, q_mean: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """(4,) norm, rank, trace and mean-query share of one ΔC: (d, d), from q̄: (d,) and k̄+ − k̄−: (d,)."""
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
