"""Contrastive covariance: the second moment of queries with their positive keys less that with their negative keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from qkstore.errors import ContrastError


class Counts(NamedTuple):
    """Numbers of distinct queries, distinct keys, positive pairs and negative pairs."""

    n_q: int
    n_k: int
    n_pos: int
    n_neg: int


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query row and a key row with a sign; every contrast is computed from them.

    query, key: (p,) row numbers ≥ 0, of a run or of two arrays (see `localise`); a query and its key may come from
    different prompts. sign: (p,) +1 or −1. weight: (p,) finite and ≥ 0; ones when not given. Raises ContrastError for
    any other sign or weight.
    """

    query: np.ndarray
    key: np.ndarray
    sign: np.ndarray
    weight: np.ndarray = None  # type: ignore[assignment]  # ones, made below

    def __post_init__(self) -> None:
        weight = np.ones(len(self.query)) if self.weight is None else np.asarray(self.weight, np.float64)
        if not np.isin(self.sign, (1, -1)).all():
            raise ContrastError(f"the sign of a pair is +1 or -1, not {sorted(set(np.unique(self.sign)) - {1, -1})[0]}")
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise ContrastError("the weight of a pair is a finite number ≥ 0")
        values = (
            np.asarray(self.query, np.int64),
            np.asarray(self.key, np.int64),
            np.asarray(self.sign, np.int8),
            weight,
        )
        assert len({v.shape for v in values}) == 1, "query, key, sign and weight have one length"
        for name, value in zip(("query", "key", "sign", "weight"), values):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.query)

    @property
    def positive(self) -> np.ndarray:
        """(p,) bool: which pairs have sign +1."""
        return self.sign > 0

    @property
    def negative(self) -> np.ndarray:
        """(p,) bool: which pairs have sign −1."""
        return self.sign < 0

    @property
    def counts(self) -> Counts:
        """Count distinct queries, distinct keys, positive and negative pairs."""
        n_pos = int(self.positive.sum())
        return Counts(len(_distinct(self.query)[0]), len(_distinct(self.key)[0]), n_pos, len(self) - n_pos)

    def coefficient(self, summed: bool = False) -> np.ndarray:
        """Return (p,) coefficients c with ΔC = Σ c · q kᵀ over the pairs.

        A pair's coefficient is sign · weight ÷ the total weight of its sign; with `summed`, ÷ the number of queries.
        Raises ContrastError where one sign has no weight (not with `summed`).
        """
        total = len(_distinct(self.query)[0]) if summed else np.where(self.positive, *self._totals())
        return self.sign * self.weight / total

    def key_contrast(self, k: np.ndarray, summed: bool = False) -> np.ndarray:
        """Return c: (n, d) float64, each query's keys by their coefficients times n, so that ΔC = mean q cᵀ.

        k: (m, d), for localised pairs of n queries. With one positive key a query, c is that key less the mean of the
        query's negative ones.
        """
        from scipy.sparse import csr_array

        n = int(self.query.max(initial=-1)) + 1
        W = csr_array((n * self.coefficient(summed), (self.query, self.key)), shape=(n, len(k)))
        return W @ k.astype(np.float64)

    def balanced(self) -> Pairs:
        """Return the pairs reweighted: within a sign, each query's weights sum to 1, or to 0 if all are 0."""
        group = 2 * self.query + self.negative
        total = np.bincount(group, self.weight)[group]
        return replace(self, weight=np.divide(self.weight, total, out=np.zeros(len(self)), where=total > 0))

    def where(self, kept: np.ndarray) -> Pairs:
        """Return the pairs where kept: (p,) bool is true, with their weights unchanged."""
        return Pairs(self.query[kept], self.key[kept], self.sign[kept], self.weight[kept])

    def localise(self) -> tuple[np.ndarray, np.ndarray, Pairs]:
        """Return the distinct query rows (n,) and key rows (m,), ascending, and the pairs as positions in these two.

        Read just those rows of a run, and the pairs returned fit the arrays read.
        """
        query_rows, query = _distinct(self.query)
        key_rows, key = _distinct(self.key)
        return query_rows, key_rows, replace(self, query=query, key=key)

    def _totals(self) -> tuple[float, float]:
        totals = float(self.weight[self.positive].sum()), float(self.weight[self.negative].sum())
        _require(totals, (int(self.positive.sum()), int(self.negative.sum())))
        return totals


class ContrastiveCovariance:
    """Fit C+ = E[q kᵀ | +], C− = E[q kᵀ | −] and ΔC = C+ − C− (eq. 5, 6) from one shard of queries after another.

    Keys are summed per query first and one product Qᵀ(W K) is taken, so no outer product of a pair is formed. The state
    is unnormalised float64 sums (names ending in `_`; where an axis has size 2 it is +, −), so fitters of different
    shards merge in any order.

    d_head: size of a query or key.
    centred: subtract the mean q̄ over the distinct queries seen: C± − q̄ k̄±ᵀ. It removes from ΔC what a key label that
    is constant on one side only (a leak) adds through the mean query.
    summed: C± = Σ w q kᵀ ÷ number of queries, as in the authors' category scripts, where the paper takes expectations.
    With more negative than positive keys per query, a mean that all keys share then does not cancel.
    """

    def __init__(self, d_head: int, centred: bool = False, summed: bool = False):
        self.d_head, self.centred, self.summed = d_head, centred, summed
        self.product_ = np.zeros((d_head, 2, d_head))  # Σ w q kᵀ
        self.key_ = np.zeros((2, d_head))  # Σ w k
        self.query_ = np.zeros(d_head)  # Σ q over distinct queries
        self.weight_ = np.zeros(2)  # Σ w
        self.pairs_ = np.zeros(2, np.int64)
        self.queries_ = 0

    def update(self, q: np.ndarray, k: np.ndarray, pairs: Pairs) -> ContrastiveCovariance:
        """Add pairs, which are positions in q: (n, d_head) and k: (m, d_head); return the fitter itself.

        Give all pairs of a query in one update: in two, its vector would count twice in the mean query.
        """
        assert q.shape[1] == k.shape[1] == self.d_head, (q.shape, k.shape, self.d_head)
        seen = np.bincount(pairs.query, minlength=len(q)) > 0
        q = q.astype(np.float64)
        keys = _sum_keys(k, pairs, len(q))  # (n, 2, d)
        self.product_ += (q.T @ keys.reshape(len(q), -1)).reshape(self.product_.shape)
        self.key_ += keys.sum(axis=0)
        self.query_ += q[seen].sum(axis=0)
        self.weight_ += [pairs.weight[pairs.positive].sum(), pairs.weight[pairs.negative].sum()]
        self.pairs_ += [pairs.positive.sum(), pairs.negative.sum()]
        self.queries_ += int(seen.sum())
        return self

    def merge(self, other: ContrastiveCovariance) -> ContrastiveCovariance:
        """Add the sums of a fitter of the same kind that saw other queries; return the fitter itself."""
        kinds = [(c.d_head, c.centred, c.summed) for c in (self, other)]
        assert kinds[0] == kinds[1], "fitters of one kind merge"
        for name in ("product_", "key_", "query_", "weight_", "pairs_", "queries_"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def n_pos(self) -> int:
        """Positive pairs seen."""
        return int(self.pairs_[0])

    @property
    def n_neg(self) -> int:
        """Negative pairs seen."""
        return int(self.pairs_[1])

    @property
    def C_pos(self) -> np.ndarray:
        """(d_head, d_head) E[q kᵀ | +], eq. 5. Raises ContrastError when a side is empty."""
        return self._second_moment(0)

    @property
    def C_neg(self) -> np.ndarray:
        """(d_head, d_head) E[q kᵀ | −], eq. 6. Raises ContrastError when a side is empty."""
        return self._second_moment(1)

    @property
    def delta(self) -> np.ndarray:
        """(d_head, d_head) ΔC = C+ − C−. Raises ContrastError when a side is empty."""
        return self.C_pos - self.C_neg

    @property
    def mean_query_share(self) -> float:
        """Share of ‖ΔC‖²_F that the mean query explains: 1 − ‖ΔC − q̄ (k̄+ − k̄−)ᵀ‖² / ‖ΔC‖², of the uncentred ΔC.

        Near 1, ΔC has rank 1 by construction: it tells the difference of the mean keys and, of the queries, their mean
        alone. Below 0, ΔC is smaller than its centred version.
        """
        delta = self._raw(0) - self._raw(1)
        rest = delta - np.outer(self._mean_query(), self._mean_key(0) - self._mean_key(1))
        return float(1 - np.sum(rest**2) / np.sum(delta**2))

    def _second_moment(self, side: int) -> np.ndarray:
        raw = self._raw(side)
        return raw - np.outer(self._mean_query(), self._mean_key(side)) if self.centred else raw

    def _raw(self, side: int) -> np.ndarray:
        _require(self.weight_, self.pairs_)
        return self.product_[:, side] / self._size(side)

    def _mean_key(self, side: int) -> np.ndarray:
        return self.key_[side] / self._size(side)

    def _size(self, side: int) -> float:
        return self.queries_ if self.summed else self.weight_[side]

    def _mean_query(self) -> np.ndarray:
        return self.query_ / self.queries_


def _sum_keys(k: np.ndarray, pairs: Pairs, n: int) -> np.ndarray:
    """(n, 2, d) float64: Σ w k over each query's positive keys and its negative keys."""
    from scipy.sparse import csr_array

    # both signs in one matrix, so that k is read once
    W = csr_array((pairs.weight, (2 * pairs.query + pairs.negative, pairs.key)), shape=(2 * n, len(k)))
    return (W @ k).reshape(n, 2, -1)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct row numbers, ascending, and each row's position among them."""
    # row numbers are dense, so a table is faster than a sort
    seen = np.zeros(rows.max(initial=-1) + 1, bool)
    seen[rows] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[rows]


def _require(weights: Sequence[float] | np.ndarray, pairs: Sequence[int] | np.ndarray) -> None:
    """Raise ContrastError unless both signs have weight: (positive, negative)."""
    for name, weight, n in zip(("positive", "negative"), weights, pairs):
        if not weight > 0:
            raise ContrastError(
                f"the contrast has {'no' if n == 0 else 'only weightless'} {name} pairs: ΔC needs both sides "
                f"({int(pairs[0])} positive, {int(pairs[1])} negative)"
            )
