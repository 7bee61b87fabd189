"""Contrastive covariance: the second moment of queries with their positive keys less that with their negative keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qkstore.errors import ContrastError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

AT_ONCE = 1 << 16  # numbers of 64 bits: of the key sums of a block of queries, which stay in the processor's cache


class Counts(NamedTuple):
    """Numbers of distinct queries, distinct keys, positive pairs and negative pairs."""

    n_q: int
    n_k: int
    n_pos: int
    n_neg: int


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query row and a key row with a sign; every contrast is computed from them.

    query, key: (p,) row numbers ≥ 0 below 2³¹, of a run or of two arrays (see `localise`); a query and its key may come
    from different prompts. sign: (p,) +1 or −1. weight: (p,) finite and ≥ 0; ones, which take no memory and cannot be
    written to, when not given. Raises ContrastError for any other row, sign or weight.
    """

    query: np.ndarray
    key: np.ndarray
    sign: np.ndarray
    weight: np.ndarray | Any = None  # ones, made below

    def __post_init__(self) -> None:
        weight = None if self.weight is None else np.array(self.weight, np.float64)
        if not (np.abs(self.sign) == 1).all():
            raise ContrastError(f"the sign of a pair is +1 or -1, not {sorted(set(np.unique(self.sign)) - {1, -1})[0]}")
        if weight is not None and not (np.isfinite(weight) & (weight >= 0)).all():
            raise ContrastError("the weight of a pair is a finite number ≥ 0")
        values = (
            _row_numbers(self.query),
            _row_numbers(self.key),
            np.asarray(self.sign, np.int8),
            np.broadcast_to(1.0, len(self.query)) if weight is None else weight,
        )
        assert len({v.shape for v in values}) == 1, "query, key, sign and weight have one length"
        for name, value in zip(("query", "key", "sign", "weight"), values):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.query)

    @property
    def weighted(self) -> bool:
        """Whether weights were given."""
        return self.weight.strides != (0,)

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
        n_q, n_k = (int(np.count_nonzero(_seen(rows))) for rows in (self.query, self.key))
        return Counts(n_q, n_k, n_pos, len(self) - n_pos)

    def coefficient(self, summed: bool = False) -> np.ndarray:
        """Return (p,) coefficients c with ΔC = Σ c · q kᵀ over the pairs.

        A pair's coefficient is sign · weight ÷ the total weight of its sign; with `summed`, ÷ the number of queries.
        Raises ContrastError where one sign has no weight (not with `summed`).
        """
        total = np.count_nonzero(_seen(self.query)) if summed else np.where(self.positive, *self._totals())
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
        group = self._sided()
        total = np.bincount(group, self.weight)[group]
        return replace(self, weight=np.divide(self.weight, total, out=np.zeros(len(self)), where=total > 0))

    def where(self, kept: np.ndarray) -> Pairs:
        """Return the pairs where kept: (p,) bool is true, with their weights unchanged."""
        return Pairs(self.query[kept], self.key[kept], self.sign[kept], self.weight[kept] if self.weighted else None)

    def localise(self) -> tuple[np.ndarray, np.ndarray, Pairs]:
        """Return the distinct query rows (n,) and key rows (m,), ascending, and the pairs as positions in these two.

        Read just those rows of a run, and the pairs returned fit the arrays read.
        """
        query_rows, query = _distinct(self.query)
        key_rows, key = _distinct(self.key)
        return query_rows, key_rows, Pairs(query, key, self.sign, self.weight if self.weighted else None)

    def matrix(self, n: int, m: int) -> csr_array:
        """Return W: (2n, m) sparse, of n queries and m keys: row 2i holds the weights of query i's positive pairs, row
        2i + 1 those of its negative ones. Without weights they are ones of 32 bits.
        """
        from scipy.sparse import csr_array

        weight = self.weight if self.weighted else np.ones(len(self), np.float32)
        return csr_array((weight, (self._sided(), self.key)), shape=(2 * n, m))

    def _sided(self) -> np.ndarray:
        """(p,) int32: twice the query, and one more where the pair is negative."""
        return 2 * self.query + self.negative

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
        seen = _seen(pairs.query, len(q))
        for block, keys in _key_sums(k, pairs, len(q)):
            x = q[block].astype(np.float64)
            self.product_ += (x.T @ keys.reshape(len(x), -1)).reshape(self.product_.shape)
            self.key_ += keys.sum(axis=0)
            self.query_ += x[seen[block]].sum(axis=0)
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


def _key_sums(k: np.ndarray, pairs: Pairs, n: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of the n queries, each with Σ w k over a query's positive keys and its negative keys: (b, 2, d) float64.

    The keys of a block are made float64 alone where blocks have keys of their own; keys that all have are so once.
    """
    from scipy.sparse import csr_array

    W, step = pairs.matrix(n, len(k)), max(1, AT_ONCE // (2 * k.shape[1]))
    blocks = []
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        kept = slice(W.indptr[2 * block.start], W.indptr[2 * block.stop])
        used = W.indices[kept]
        blocks.append((block, kept, slice(int(used.min()), int(used.max()) + 1) if len(used) else slice(0, 0)))
    if sum(keys.stop - keys.start for _, _, keys in blocks) > 2 * len(k):
        k = k.astype(np.float64)
    for block, kept, keys in blocks:
        indptr = W.indptr[2 * block.start : 2 * block.stop + 1] - kept.start
        shape = len(indptr) - 1, keys.stop - keys.start
        part = csr_array((W.data[kept], W.indices[kept] - keys.start, indptr), shape=shape)
        if part.nnz > 2 * shape[1]:  # read key by key: each once, where its queries' sums fit into the cache
            part = part.tocsc()
        yield block, (part @ k[keys].astype(np.float64, copy=False)).reshape(-1, 2, k.shape[1])


def _seen(rows: np.ndarray, n: int = 0) -> np.ndarray:
    """(n,) bool, or (largest + 1,): which row numbers are there. They are dense, so a table is faster than a sort."""
    seen = np.zeros(max(n, int(rows.max(initial=-1)) + 1), bool)
    seen[rows] = True
    return seen


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct row numbers, ascending, and each row's position among them, int32."""
    seen = _seen(rows)
    if seen.all():
        return np.arange(len(seen)), rows
    return np.flatnonzero(seen), (np.cumsum(seen, dtype=np.int32) - 1)[rows]


def _row_numbers(rows: np.ndarray) -> np.ndarray:
    """(p,) int32; raises ContrastError for a number that no row has."""
    given = np.asarray(rows)
    if given.dtype != np.int32 and len(given) and not (given.min() >= 0 and given.max() < 2**31):
        raise ContrastError(f"a row number is from 0 to {2**31 - 1}, not {given.min()} to {given.max()}")
    return given.astype(np.int32, copy=False)


def _require(weights: Sequence[float] | np.ndarray, pairs: Sequence[int] | np.ndarray) -> None:
    """Raise ContrastError unless both signs have weight: (positive, negative)."""
    for name, weight, n in zip(("positive", "negative"), weights, pairs):
        if not weight > 0:
            raise ContrastError(
                f"the contrast has {'no' if n == 0 else 'only weightless'} {name} pairs: ΔC needs both sides "
                f"({int(pairs[0])} positive, {int(pairs[1])} negative)"
            )
