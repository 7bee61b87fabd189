"""Head scores: how well a head's logits and attention tell the positive keys of a contrast from the negative ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import numpy as np

from qkstore.covariance import Pairs
from qkstore.interval import digests, margin, p_above, p_binomial, ratio_intervals, wilson

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

    n: queries that have keys of both signs; those of one vector and the same keys count once, since their logits are
    the same (`Queries.distinct`). accuracy: share of these whose largest logit is on a positive key, a tie
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
    attention summed over the positive keys and over the negative ones, NaN where the query attends to none. alike: (n,)
    whole numbers, the same for queries that have one vector and the same keys (`Ordered.alike`); None where none have.
    """

    query: np.ndarray
    counts: np.ndarray
    both: np.ndarray
    right: np.ndarray
    sums: np.ndarray
    alike: np.ndarray | None = None

    @property
    def distinct(self) -> Queries:
        """The first of those that are alike: the others repeat its logits (not its attention, on their own prompts)."""
        if self.alike is None:
            return self
        kept = np.sort(np.unique(self.alike, return_index=True)[1])
        return self if len(kept) == len(self.alike) else self._each(lambda values: values[kept], [self])

    @classmethod
    def joined(cls, parts: Sequence[Queries]) -> Queries:
        """Those of several, which have no query in common, together in the order of the queries."""
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([part.query for part in parts]), kind="stable")
        return cls._each(lambda *values: np.concatenate(values)[order], parts)

    @classmethod
    def _each(cls, made: Callable[..., np.ndarray], parts: Sequence[Queries]) -> Queries:
        values = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*cast("Iterator[Any]", (None if of[0] is None else made(*of) for of in values)))


class Ordered:
    """Pairs by their queries, those of as many keys together: made once for all heads that have the pairs.

    order: (p,) places among the pairs as given. query: (n,) the queries that have any, and starts: (n,) where the pairs
    of each begin. key: (p,), positive: (p,) bool, in that order.
    """

    def __init__(self, pairs: Pairs):
        many = np.bincount(pairs.query)
        place = np.empty(len(many), np.int64)
        place[np.argsort(many, kind="stable")] = np.arange(len(many))
        # by key within a query: keys of one prompt mostly follow each other, and are then read as one piece
        self.order = np.argsort(place[pairs.query] * (int(pairs.key.max(initial=0)) + 1) + pairs.key, kind="stable")
        query = pairs.query[self.order]
        self.starts = np.flatnonzero(np.diff(query, prepend=-1))
        self.query, self.key, self.positive = query[self.starts], pairs.key[self.order], pairs.positive[self.order]
        self._many = np.diff(self.starts, append=len(query))

    @cached_property
    def ascending(self) -> np.ndarray:
        """(n,) places in `query`, by the number of the query."""
        return np.argsort(self.query)

    @cached_property
    def counts(self) -> np.ndarray:
        """(n, 2) positive and negative keys of each query."""
        sides = np.stack([self.positive, ~self.positive], axis=1)
        return np.add.reduceat(sides, self.starts, dtype=float) if len(self.starts) else EMPTY

    def blocks(self, k: np.ndarray) -> Iterator[tuple[np.ndarray, slice, np.ndarray]]:
        """Queries (b,), the slice of their pairs, and the keys of these (b, m, d) float64, a CHUNK of pairs at a time.

        k: (n_k, d). A query of more keys than that comes several times.
        """
        edges = np.flatnonzero(np.diff(self._many, prepend=0, append=0)).tolist() if len(self._many) else []
        for begin, end in pairwise(edges):
            m = int(self._many[begin])
            for i in range(begin, end, max(CHUNK // m, 1)):
                query = self.query[i : min(i + max(CHUNK // m, 1), end)]
                for j in range(0, m, CHUNK):
                    first, width = int(self.starts[i]) + j, min(CHUNK, m - j)
                    part = slice(first, first + len(query) * width)
                    yield query, part, _rows(k, self.key[part]).astype(np.float64).reshape(len(query), width, -1)

    def key_contrast(self, k: np.ndarray, coefficient: np.ndarray, n: int) -> np.ndarray:
        """Return c: (n, d) float64, the sum of coefficient: (p,) · key over the pairs of each of n queries."""
        c, coefficient = np.zeros((n, k.shape[1])), coefficient[self.order]
        for query, part, keys in self.blocks(k):
            c[query] += np.matmul(coefficient[part].reshape(len(query), 1, -1), keys)[:, 0]
        return c

    def logits(self, q: np.ndarray, k: np.ndarray, scaling: float, softcap: float | None = None) -> np.ndarray:
        """Return the (h, p) logits of q: (h, n, d), heads that share the keys k: (n_k, d), in this order of pairs."""
        out = np.empty((len(q), len(self.order)))
        for query, part, keys in self.blocks(k):
            each = np.stack([_rows(one, query) for one in q]).astype(np.float64)
            out[:, part] = np.einsum("bmd,hbd->hbm", keys, each).reshape(len(q), -1)
        return capped(scaling * out, softcap)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """Return (n,) numbers of the queries' keys and their signs, equal where these are; rows: (p,) the keys' own."""
        own = digests(2 * rows[self.order, None] + self.positive[:, None])
        return np.add.reduceat(own, self.starts) if len(self.starts) else own

    def alike(self, q: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return (h, n) numbers of the queries of q: (h, n_q, d), equal where vector and keys, as of `keys`, are."""
        return np.stack([digests(one[self.query]) + keys for one in q])

    def by_query(self, logit: np.ndarray, attention: np.ndarray, alike: np.ndarray | None = None) -> list[Queries]:
        """Return what each head does query by query, from logit and attention: (h, p) in this order of pairs.

        alike: (h, n) as of `alike`; None where no two queries of a head are.
        """
        sides = self.positive, ~self.positive
        best = [_reduced(np.maximum, np.where(side, logit, -np.inf), self.starts) for side in sides]
        there = ~np.isnan(attention)
        seen = np.where(there, attention, 0.0)
        sums = [_reduced(np.add, np.where(side, seen, 0.0), self.starts) for side in sides]
        if not (there.all() and self.counts.all()):
            none = [_reduced(np.add, (there & side).astype(int), self.starts) == 0 for side in sides]
            sums = [np.where(empty, np.nan, side) for empty, side in zip(none, sums)]
        query, counts, right, each = self.query, self.counts, best[0] > best[1], np.stack(sums, axis=2)
        if (np.diff(query) < 0).any():
            at = self.ascending
            query, counts, right, each = query[at], counts[at], right[:, at], each[:, at]
            alike = None if alike is None else alike[:, at]
        both = np.all(counts > 0, axis=1)
        same = [None] * len(right) if alike is None else alike
        return [Queries(query, counts, both, *one) for one in zip(right, each, same, strict=True)]


def _rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those rows of values: (n, d); without a copy where they follow each other."""
    first = int(rows[0])
    run = len(rows) == int(rows[-1]) - first + 1 and bool((np.diff(rows) == 1).all())
    return values[first : first + len(rows)] if run else values[rows]


def by_query(
    logit: np.ndarray, attention: np.ndarray, pairs: Pairs, q: np.ndarray | None = None, rows: np.ndarray | None = None
) -> Queries:
    """What a head does query by query, from each pair's logit: (p,) and attention: (p,), as `score` takes them.

    q: (n_q, d) and rows: (p,) the keys' own numbers tell which queries are alike; without them none is.
    """
    of = Ordered(pairs)
    logit, attention = (np.asarray(values, float)[None, of.order] for values in (logit, attention))
    return of.by_query(logit, attention, None if q is None or rows is None else of.alike(q[None], of.keys(rows)))[0]


def score(
    logit: np.ndarray, attention: np.ndarray, pairs: Pairs, resample: bool = True, groups: np.ndarray | None = None
) -> Score:
    """Score a head from each pair's logit: (p,) and attention: (p,), NaN where the query does not attend to the key.

    resample: compute the interval of selectivity, which takes most of the time; without it selectivity_ci is None.
    groups: (n_q,) whole numbers, of the queries by their position in `pairs`; see Score.
    """
    return scores([by_query(logit, attention, pairs)], groups, resample)[0]


def scores(each: Sequence[Queries], groups: np.ndarray | None = None, resample: bool = True) -> list[Score]:
    """The score of each of several heads that have the same pairs; `score` says what the rest is."""
    found = [_score(one, groups) for one in each]
    rated = [i for i, one in enumerate(found) if one.selectivity is not None] if resample else []
    for i, interval in zip(rated, ratio_intervals([each[i].sums for i in rated]), strict=True):
        found[i] = replace(found[i], selectivity_ci=interval)
    return found


def _score(each: Queries, groups: np.ndarray | None) -> Score:
    """The score without the interval of selectivity."""
    sums, once = each.sums, each.distinct
    both, counts = once.both, once.counts
    right, n = once.right[both], int(both.sum())
    (on, on_ci), (off, off_ci) = (_mean(side) for side in sums.T)
    chances = counts[both, 0] / counts[both].sum(axis=1)
    return Score(
        n,
        float(right.mean()) if n else None,
        wilson(int(right.sum()), n) if n else None,
        on,
        off,
        on / off if on is not None and off else None,
        None,
        float(chances.mean()) if n else None,
        _accuracy_p(right, chances, None if groups is None else groups[once.query][both]) if n else None,
        _attention_p(sums, each.counts, None if groups is None else groups[each.query]),
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


def _reduced(by: np.ufunc, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(h, n) values: (h, p) of each query, whose pairs begin at `starts`: (n,), put together."""
    return by.reduceat(values, starts, axis=1) if len(starts) else np.empty((len(values), 0))
