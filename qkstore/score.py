"""Head scores: does a head's attention tell the positive keys of a contrast from the negative ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs

RESAMPLES = 1000
CHUNK = 1024  # pairs at a time: gathered queries and keys stay in the processor's cache


def logits(q: np.ndarray, k: np.ndarray, scaling: float, softcap: float | None = None) -> np.ndarray:
    """(n,) what the softmax sees for q: (n, d) and k: (n, d), row by row.

    With the model's own scaling and soft-cap, in float64.
    """
    return capped(scaling * np.einsum("nd,nd->n", q, k, dtype=np.float64), softcap)


def capped(logit: np.ndarray, softcap: float | None) -> np.ndarray:
    """softcap · tanh(logit / softcap), as some models bound their logits; the logit itself without one."""
    return logit if not softcap else softcap * np.tanh(logit / softcap)


def pair_logits(q: np.ndarray, k: np.ndarray, pairs: Pairs, scaling: float, softcap: float | None = None) -> np.ndarray:
    """(p,) logit of every pair of q: (n, d) and k: (m, d), never more than a few MB of gathered vectors at a time."""
    out = np.empty(len(pairs))
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = logits(q[pairs.query[part]], k[pairs.key[part]], scaling, softcap)
    return out


@dataclass(frozen=True)
class Score:
    """One head under one contrast.

    accuracy: P(the largest logit among a query's keys is on a positive one; a tie counts against), over the `n` queries
    that have keys of both signs, with its 95 % Wilson interval. None without such queries. attention_positive,
    attention_negative: a query's attention on its keys of that sign, summed, then averaged over the queries that have
    any; None when none is seen (their keys are in another prompt). selectivity: their ratio, with its 95 % bootstrap
    interval over queries.
    """

    n: int
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    attention_positive: float | None
    attention_negative: float | None
    selectivity: float | None
    selectivity_ci: tuple[float, float] | None


def score(logit: np.ndarray, attention: np.ndarray, pairs: Pairs, resample: bool = True) -> Score:
    """From each pair's logit: (p,) and attention: (p,), NaN where the key is not in the query's own row of attention.

    resample: without it selectivity has no interval, which is most of the time of a score.
    """
    order = np.argsort(pairs.query, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.query[order], prepend=-1))
    positive, logit, attention = pairs.positive[order], np.asarray(logit)[order], np.asarray(attention)[order]
    on, off = _largest(np.where(positive, logit, -np.inf), starts), _largest(np.where(positive, -np.inf, logit), starts)
    both = np.isfinite(on) & np.isfinite(off)
    n, right = int(both.sum()), int((on > off)[both].sum())
    sums = np.stack(
        [_sums(np.where(side, attention, np.nan), starts) for side in (positive, ~positive)], axis=1
    )  # (queries, 2)
    on, off = (float(np.nanmean(s)) if not np.isnan(s).all() else None for s in sums.T)
    ratio = on / off if on is not None and off else None
    interval = ratio_interval(sums) if ratio is not None and resample else None
    return Score(n, right / n if n else None, wilson(right, n) if n else None, on, off, ratio, interval)


def ratio_interval(sums: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio of two means, over the rows of sums: (n, 2); NaN is left out of a mean."""
    there = ~np.isnan(sums)
    means = bootstrap(np.hstack([np.where(there, sums, 0.0), there]), seed)  # (draws, 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (means[:, 0] * means[:, 3]) / (means[:, 1] * means[:, 2])
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927): it stays in 0…1 and is not empty at 0 or 1."""
    p, z = successes / n, 1.959964
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return float(max(0.0, (middle - half) / (1 + z**2 / n))), float(min(1.0, (middle + half) / (1 + z**2 / n)))


def bootstrap(rows: np.ndarray, seed: int) -> np.ndarray:
    """(RESAMPLES, c) means of rows: (n, c) drawn anew with replacement, about a million draws at a time."""
    rng, n = np.random.default_rng(seed), len(rows)
    step = max(1, 1_000_000 // n)
    means = []
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        means.append(np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n) @ rows / n)
    return np.concatenate(means)


def _largest(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) largest value of each query."""
    return np.maximum.reduceat(values, starts) if len(starts) else np.empty(0)


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) sum of each query's values, NaN left out; NaN where it has none."""
    if not len(starts):
        return np.empty(0)
    there = ~np.isnan(values)
    sums = np.add.reduceat(np.where(there, values, 0.0), starts)
    return np.where(np.add.reduceat(there.astype(int), starts) > 0, sums, np.nan)
