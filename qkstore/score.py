"""Head scores: how well a head's logits and attention tell the positive keys of a contrast from the negative ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs
from qkstore.interval import margin, p_above, p_binomial, ratio_interval, wilson

EMPTY = np.empty((0, 2))
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
    counting as wrong, with its 95 % Wilson interval; None where n is 0. chance: what it is where the largest logit is
    on any of a query's keys alike, the mean share of positive ones. accuracy_p: of an accuracy no better than chance.
    attention_positive, attention_negative: a query's attention summed over its keys of that sign, averaged over the
    queries that attend to any, with their 95 % intervals by Student's t; None where no query does (its keys are in
    another prompt, or hidden by a window).
    selectivity: attention_positive ÷ attention_negative, with its 95 % bootstrap interval over queries; None where
    either is None or the second is 0. attention_p: of a positive key having no more attention than a negative one.
    p-values are one-sided and, where groups of queries are given, count each group once (qkstore.interval.p_above).
    """

    n: int
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    attention_positive: float | None
    attention_negative: float | None
    selectivity: float | None
    selectivity_ci: tuple[float, float] | None
    chance: float | None = None
    accuracy_p: float | None = None
    attention_p: float | None = None
    attention_positive_ci: tuple[float, float] | None = None
    attention_negative_ci: tuple[float, float] | None = None

    @property
    def mass(self) -> float | None:
        """Attention on all keys of the contrast together."""
        there = [a for a in (self.attention_positive, self.attention_negative) if a is not None]
        return sum(there) if there else None


@dataclass(frozen=True)
class Queries:
    """What a head does query by query, of those that the pairs have, in their order.

    query: (n,) positions in the pairs' queries. counts: (n, 2) positive and negative keys. both: (n,) bool, whether
    there are keys of both signs. right: (n,) bool, whether the largest logit is on a positive one. sums: (n, 2)
    attention summed over the positive keys and over the negative ones, NaN where the query attends to none.
    """

    query: np.ndarray
    counts: np.ndarray
    both: np.ndarray
    right: np.ndarray
    sums: np.ndarray


def by_query(logit: np.ndarray, attention: np.ndarray, pairs: Pairs) -> Queries:
    """What a head does query by query, from each pair's logit: (p,) and attention: (p,), as `score` takes them."""
    order = np.argsort(pairs.query, kind="stable")
    query = pairs.query[order]
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    positive, logit, attention = pairs.positive[order], np.asarray(logit)[order], np.asarray(attention)[order]
    best = [_largest(np.where(side, logit, -np.inf), starts) for side in (positive, ~positive)]
    sides = np.stack([positive, ~positive], axis=1)
    counts = np.add.reduceat(sides, starts, dtype=float) if len(starts) else EMPTY
    sums = [_sums(np.where(side, attention, np.nan), starts) for side in (positive, ~positive)]
    both = np.isfinite(best[0]) & np.isfinite(best[1])
    return Queries(query[starts], counts, both, best[0] > best[1], np.stack(sums, axis=1))


def score(
    logit: np.ndarray, attention: np.ndarray, pairs: Pairs, resample: bool = True, groups: np.ndarray | None = None
) -> Score:
    """Score a head from each pair's logit: (p,) and attention: (p,), NaN where the query does not attend to the key.

    resample: compute the interval of selectivity, which takes most of the time; without it selectivity_ci is None.
    groups: (n_q,) whole numbers, of the queries by their position in `pairs`; see Score.
    """
    each = by_query(logit, attention, pairs)
    both, sums, counts = each.both, each.sums, each.counts
    right, n = each.right[both], int(both.sum())
    (on, on_ci), (off, off_ci) = (_mean(side) for side in sums.T)
    ratio = on / off if on is not None and off else None
    group = None if groups is None else groups[each.query]
    chances = counts[both, 0] / counts[both].sum(axis=1)
    return Score(
        n,
        float(right.mean()) if n else None,
        wilson(int(right.sum()), n) if n else None,
        on,
        off,
        ratio,
        ratio_interval(sums) if ratio is not None and resample else None,
        float(chances.mean()) if n else None,
        _accuracy_p(right, chances, None if group is None else group[both]) if n else None,
        _attention_p(sums, counts, group),
        on_ci,
        off_ci,
    )


def _mean(values: np.ndarray) -> tuple[float | None, tuple[float, float] | None]:
    """The mean of a share: (n,), NaN left out, with its 95 % interval; None where nothing is left."""
    there = values[~np.isnan(values)]
    if not len(there):
        return None, None
    mean, half = float(there.mean()), float(margin(there))
    return mean, (max(mean - half, 0.0), min(mean + half, 1.0))


def _accuracy_p(right: np.ndarray, chances: np.ndarray, groups: np.ndarray | None) -> float:
    """Of n answers right: (n,) bool, which by chance are with probabilities chances: (n,).

    The larger one of two p-values: that of groups which vary as they do, and that of independent queries, which a
    variance of 0 does not deceive.
    """
    binomial = p_binomial(int(right.sum()), len(right), float(chances.mean()))
    return max(binomial, p_above(right - chances, groups) or 0.0)


def _attention_p(sums: np.ndarray, counts: np.ndarray, groups: np.ndarray | None) -> float | None:
    """From sums: (n, 2), attention on a query's positive and negative keys, of which it has counts: (n, 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        each = sums / counts
    there = ~np.isnan(each).any(axis=1)
    more = (each[:, 0] - each[:, 1])[there]
    return p_above(more, None if groups is None else groups[there]) if there.any() else None


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
