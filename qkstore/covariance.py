"""Contrastive covariance: the second moment of queries with matching keys less that with the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from qkstore.errors import ContrastError


class Counts(NamedTuple):
    n_q: int
    n_k: int
    n_pos: int
    n_neg: int


@dataclass(frozen=True)
class Pairs:
    """Query row, key row, + or −: the primitive from which every contrast is computed.

    query, key: (p,) row numbers ≥ 0, of a store or of two arrays (see `localise`); they may come from different
    prompts. sign: (p,) +1 or −1. weight: (p,) finite and ≥ 0, ones when not given. Raises ContrastError for any other
    sign or weight.
    """

    query: np.ndarray
    key: np.ndarray
    sign: np.ndarray
    weight: np.ndarray | None = None

    def __post_init__(self):
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
        """(p,) bool."""
        return self.sign > 0

    @property
    def negative(self) -> np.ndarray:
        """(p,) bool."""
        return self.sign < 0

    @property
    def counts(self) -> Counts:
        """Distinct queries and keys, pairs of either sign."""
        n_pos = int(self.positive.sum())
        return Counts(len(_distinct(self.query)[0]), len(_distinct(self.key)[0]), n_pos, len(self) - n_pos)

    def coefficient(self, summed: bool = False) -> np.ndarray:
        """(p,) such that each pair adds coefficient · q kᵀ to ΔC.

        It is the pair's share of its sign's weight (`summed`: of the queries), with the sign.
        """
        total = len(_distinct(self.query)[0]) if summed else np.where(self.positive, *self._totals())
        return self.sign * self.weight / total

    def balanced(self) -> Pairs:
        """Each query equal: within a sign, the weights of a query's pairs sum to 1."""
        group = 2 * self.query + self.negative
        total = np.bincount(group, self.weight)[group]
        return replace(self, weight=np.divide(self.weight, total, out=np.zeros(len(self)), where=total > 0))

    def where(self, kept: np.ndarray) -> Pairs:
        """The pairs of which kept: (p,) bool is true, with the weights they have."""
        return Pairs(self.query[kept], self.key[kept], self.sign[kept], self.weight[kept])

    def localise(self) -> tuple[np.ndarray, np.ndarray, Pairs]:
        """The distinct query rows (n,) and key rows (m,), ascending, and the same pairs as positions in those two."""
        query_rows, query = _distinct(self.query)
        key_rows, key = _distinct(self.key)
        return query_rows, key_rows, replace(self, query=query, key=key)

    def _totals(self) -> tuple[float, float]:
        totals = float(self.weight[self.positive].sum()), float(self.weight[self.negative].sum())
        _require(totals, (int(self.positive.sum()), int(self.negative.sum())))
        return totals


class ContrastiveCovariance:
    """Fitter of C+ = E[q kᵀ | +], C− = E[q kᵀ | −] and ΔC = C+ − C− (eq. 5, 6) that streams.

    Keys are summed per query first, then one product Qᵀ(W K) is taken: no outer product is ever formed. All that is
    kept are unnormalised float64 sums (names ending in `_`; axis 0 is +, −), so shards merge exactly, in any order.

    centred: queries less their mean over the distinct queries seen, C± − q̄ k̄±ᵀ. It removes what a label that is
    constant on one side alone (a leak) adds to ΔC through the mean query.
    summed: sums over a query's keys where the paper takes expectations, C± = Σ w q kᵀ / queries, as the authors'
    scripts do: with more negative than positive keys, a mean that all keys share then does not cancel.
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
        """Add pairs, given as positions in q: (n, d_head) and k: (m, d_head).

        A query belongs to exactly one update, with all its pairs: its vector would otherwise count twice in q̄.
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
        """Add the sums of a fitter that saw other queries."""
        kinds = [(c.d_head, c.centred, c.summed) for c in (self, other)]
        assert kinds[0] == kinds[1], "fitters of one kind merge"
        for name in ("product_", "key_", "query_", "weight_", "pairs_", "queries_"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def n_pos(self) -> int:
        return int(self.pairs_[0])

    @property
    def n_neg(self) -> int:
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
        """Share of ‖ΔC‖²_F that q̄ (k̄+ − k̄−)ᵀ explains: 1 − ‖ΔC − q̄ (k̄+ − k̄−)ᵀ‖² / ‖ΔC‖², of the uncentred ΔC.

        Near 1, ΔC has rank 1 by construction: it says where the keys differ and only that the queries have a mean.
        Below 0, the term makes ΔC smaller than its centred version.
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


class PermutationNull:
    """‖ΔC‖_F when the signs are dealt at random among each query's keys: what a head without the feature would show.

    The n dealt weight matrices are built once and serve all heads. They differ only in their values, in float32: a norm
    is good to 1e-6. A query whose pairs have one sign cannot be dealt anew, so a contrast of such queries has no null.
    centred, summed: as in ContrastiveCovariance.
    """

    def __init__(self, pairs: Pairs, n: int, seed: int = 0, centred: bool = False, summed: bool = False):
        rng, self.centred = np.random.default_rng(seed), centred
        order = np.argsort(pairs.query, kind="stable")
        self.query, self.key = pairs.query[order], pairs.key[order]
        coefficient = pairs.coefficient(summed)[order].astype(np.float32)
        self.dealt = [coefficient[np.lexsort((rng.random(len(order)), self.query))] for _ in range(n)]

    def norms(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """(n,) norms for q: (n_q, d) and k: (n_k, d) of one head."""
        q, k = q.astype(np.float32, copy=False), k.astype(np.float32, copy=False)
        if self.centred:
            q = q - q[_distinct(self.query)[0]].mean(axis=0, dtype=np.float64).astype(np.float32)
        return np.array([np.linalg.norm(q.T @ (self._matrix(c, len(q), len(k)) @ k)) for c in self.dealt])

    def _matrix(self, values: np.ndarray, n_q: int, n_k: int):
        from scipy.sparse import csr_array

        starts = np.searchsorted(self.query, np.arange(n_q + 1))
        return csr_array((values, self.key, starts), shape=(n_q, n_k))


def p_value(observed: float, null: np.ndarray) -> float:
    """Share of the null norms that reach the observed norm, with the observed one counted among them.

    It is never 0, and uniform without a feature.
    """
    return float((1 + np.sum(null >= observed)) / (1 + len(null)))


def _sum_keys(k: np.ndarray, pairs: Pairs, n: int) -> np.ndarray:
    """(n, 2, d): Σ w k over each query's positive and negative keys, float64.

    Both signs are in one matrix, so that k is read once.
    """
    from scipy.sparse import csr_array

    W = csr_array((pairs.weight, (2 * pairs.query + pairs.negative, pairs.key)), shape=(2 * n, len(k)))
    return (W @ k).reshape(n, 2, -1)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct row numbers, ascending, and each row's position there.

    Row numbers are dense, so a table is faster than a sort.
    """
    seen = np.zeros(rows.max(initial=-1) + 1, bool)
    seen[rows] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[rows]


def _require(weights, pairs) -> None:
    for name, weight, n in zip(("positive", "negative"), weights, pairs):
        if not weight > 0:
            raise ContrastError(
                f"the contrast has {'no' if n == 0 else 'only weightless'} {name} pairs: ΔC needs both sides "
                f"({int(pairs[0])} positive, {int(pairs[1])} negative)"
            )
