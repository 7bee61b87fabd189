"""Head scores: how well a head's logits and attention tell the positive keys of a contrast from the negative ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs
from qkstore.interval import ratio_interval, wilson

CHUNK = 1024  # pairs at a time: the queries and keys gathered for them stay in the processor's cache


def logits(q: np.ndarray, k: np.ndarray, scaling: float, softcap: float | None = None) -> np.ndarray:
    """Return the (n,) float64 logits of q: (n, d) and k: (n, d), row by row: scaling · q·k, then soft-capped.

    scaling, softcap: the model's own (None for no cap), so a logit is what the softmax sees.
    """
    return capped(scaling * np.einsum("nd,nd->n", q, k, dtype=np.float64), softcap)


def capped(logit: np.ndarray, softcap: float | None) -> np.ndarray:
    """Return softcap · tanh(logit / softcap), the bound that some models put on logits; logit itself for None or 0."""
    return logit if not softcap else softcap * np.tanh(logit / softcap)


def pair_logits(q: np.ndarray, k: np.ndarray, pairs: Pairs, scaling: float, softcap: float | None = None) -> np.ndarray:
    """Return the (p,) logits of pairs, which are positions in q: (n, d) and k: (m, d); see `logits`."""
    out = np.empty(len(pairs))
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = logits(q[pairs.query[part]], k[pairs.key[part]], scaling, softcap)
    return out


@dataclass(frozen=True)
class Score:
    """Scores of one head under one contrast.

    n: queries that have keys of both signs. accuracy: share of these whose largest logit is on a positive key, a tie
    counting as wrong, with its 95 % Wilson interval; None where n is 0.
    attention_positive, attention_negative: a query's attention summed over its keys of that sign, averaged over the
    queries that attend to any; None where no query does (its keys are in another prompt, or hidden by a window).
    selectivity: attention_positive ÷ attention_negative, with its 95 % bootstrap interval over queries; None where
    either is None or the second is 0.
    """

    n: int
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    attention_positive: float | None
    attention_negative: float | None
    selectivity: float | None
    selectivity_ci: tuple[float, float] | None


def score(logit: np.ndarray, attention: np.ndarray, pairs: Pairs, resample: bool = True) -> Score:
    """Score a head from each pair's logit: (p,) and attention: (p,), NaN where the query does not attend to the key.

    resample: compute the interval of selectivity, which takes most of the time; without it selectivity_ci is None.
    """
    order = np.argsort(pairs.query, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.query[order], prepend=-1))
    positive, logit, attention = pairs.positive[order], np.asarray(logit)[order], np.asarray(attention)[order]
    best = [_largest(np.where(side, logit, -np.inf), starts) for side in (positive, ~positive)]
    both = np.isfinite(best[0]) & np.isfinite(best[1])
    n, right = int(both.sum()), int((best[0] > best[1])[both].sum())
    sums = np.stack(
        [_sums(np.where(side, attention, np.nan), starts) for side in (positive, ~positive)], axis=1
    )  # (queries, 2)
    on, off = (float(np.nanmean(s)) if not np.isnan(s).all() else None for s in sums.T)
    ratio = on / off if on is not None and off else None
    interval = ratio_interval(sums) if ratio is not None and resample else None
    return Score(n, right / n if n else None, wilson(right, n) if n else None, on, off, ratio, interval)


def _largest(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) largest value of each query, whose pairs begin at `starts`: (n,)."""
    return np.maximum.reduceat(values, starts) if len(starts) else np.empty(0)


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) sum of each query's values, NaN left out; NaN where all of them are."""
    if not len(starts):
        return np.empty(0)
    there = ~np.isnan(values)
    sums = np.add.reduceat(np.where(there, values, 0.0), starts)
    return np.where(np.add.reduceat(there.astype(int), starts) > 0, sums, np.nan)
