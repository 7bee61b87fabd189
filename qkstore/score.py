"""Head scores: does a head's attention tell the positive keys of a contrast from the negative ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs
from qkstore.interval import ratio_interval, wilson

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
