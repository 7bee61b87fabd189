"""Two nulls: ΔC of a head whose keys do not depend on the query, and logits of one to which labels mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from qkstore.covariance import Pairs
from qkstore.errors import ContrastError

FEWEST = 64  # queries of equal signs: a product of fewer is mostly overhead
BITS = 4, 13  # of a pattern of signs, at least and at most: 16 to 8,192 sums a head
BLOCK = 8192  # queries that are centred at a time
AT_ONCE = 1 << 22  # values of float32 in a step


@dataclass(frozen=True)
class Tested:
    """A statistic of one head beside its null. observed: its value; null: what it is under each deal."""

    observed: float
    null: tuple[float, ...]

    @property
    def p_value(self) -> float:
        """The share of deals that reach what is observed (see `p_value`)."""
        return p_value(self.observed, np.array(self.null))

    @property
    def high(self) -> float:
        """The null's 95 % quantile."""
        return float(np.quantile(self.null, 0.95))

    @property
    def ratio(self) -> float | None:
        """What is observed over the null's 95 % quantile; None where that is 0."""
        return self.observed / self.high if self.high else None


def p_value(observed: float, null: np.ndarray) -> float:
    """Return the share of the null values (n,) that are at least the observed one, which is counted among them.

    The least value is 1 ÷ (n + 1). Without a feature the value is uniform.
    """
    return float((1 + np.sum(null >= observed)) / (1 + len(null)))


def family_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return (heads,) P(where no head has a feature, any of them is as far above its null as this one).

    observed: (heads,). null: (heads, deals), the same deals for every head. Each statistic is taken in units of the
    spread of its own values (the largest of a deal: max-T, Westfall and Young 1993). The observed one is among these,
    so that any of them might be it where there is no feature: without that, few deals give far too many findings.
    """
    values = np.concatenate([observed[:, None], null], axis=1)
    spread = values.std(axis=1, keepdims=True)
    z = np.divide(values - values.mean(axis=1, keepdims=True), spread, out=np.zeros_like(values), where=spread > 0)
    return (z.max(axis=0, initial=-np.inf) >= z[:, :1]).mean(axis=1)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Return (n,) q-values of p-values p: (n,): the least rate of false discoveries at which each would be one.

    Benjamini and Hochberg 1995: of those with a q-value of at most .05, at most .05 are false in the mean, where the
    p-values are independent, or positively dependent on those without a feature (Benjamini and Yekutieli 2001).
    """
    order = np.argsort(p)[::-1]
    n = len(p)
    least = np.minimum.accumulate(p[order] * n / np.arange(n, 0, -1))
    q = np.empty(n)
    q[order] = np.minimum(least, 1.0)
    return q


class SignNull:
    """Do a query's keys depend on the query? The norm of ΔC of centred queries, under random signs.

    ΔC = mean (q − q̄)(c − c̄)ᵀ + q̄ c̄ᵀ, with c a query's key contrast, such as its positive key less its mean negative
    one. Only the first term changes with the query. The second is the mean query, which may be nine tenths of E‖q‖²,
    times what positive keys have on the average: sampling noise, or a leak. So the statistic is
    ‖mean (q − q̄)(c − c̄)ᵀ‖_F, which is ‖ΔC‖_F of a centred contrast, and a deal flips the sign of each query's c − c̄.
    A deal counts √(n ÷ (n − 1)) times, which makes up for what c̄ takes of c: then the mean squares are equal where c
    does not depend on q. Positive and negative keys may differ in mean and in spread.

    It is no test of whether a head knows the feature: in random weights too, a word's key has to do with that word's
    query. See LabelNull.

    pairs: localised. n deals, by `seed`, the same for every head. summed: as in ContrastiveCovariance. Queries count as
    independent.
    """

    def __init__(self, pairs: Pairs, n: int, seed: int = 0, summed: bool = False):
        self.pairs, self.n, self.seed, self.summed = pairs, n, seed, summed
        self.n_q = int(pairs.query.max(initial=-1)) + 1

    def test(self, q: np.ndarray, k: np.ndarray) -> Tested:
        """Return the norm, beside those of the n deals, for q: (n_q, d) and k: (n_k, d) of one head."""
        c, (n, d) = self.pairs.key_contrast(k, self.summed), q.shape
        c -= c.mean(axis=0)
        x, mean, observed = np.empty((n, d), np.float32), q.mean(axis=0, dtype=np.float64), np.zeros((d, d))
        for i in range(0, n, BLOCK):
            part = q[i : i + BLOCK] - mean
            observed += part.T @ c[i : i + BLOCK]
            x[i : i + BLOCK] = part
        null = self.norms(x, c.astype(np.float32))[:, 0]
        return Tested(float(np.linalg.norm(observed)) / max(n, 1), tuple(null.tolist()))

    def norms(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return (deals, heads) norms under each deal.

        x: (n_q, heads · d) float32 centred queries of heads that read the same keys, side by side. c: (n_q, d) float32,
        the centred key contrasts. Queries with equal signs in a few deals (Deals) are summed first, and the deals are
        sums and differences of these: of t deals together, this is the work of about one (the Four Russians' way).
        """
        assert len(x) == len(c) == self.n_q, "the pairs are localised: each query has some"
        d = c.shape[1]
        found = [np.empty((0, x.shape[1] // d))]
        for deals in self._held or Deals.of(self.n, self.n_q, self.seed):
            found.append(self.sized(deals.totals(x, c).reshape(len(deals.signs), -1, d, d)))
        return np.concatenate(found)

    def sized(self, totals: np.ndarray) -> np.ndarray:
        """Return (deals, heads) norms of the sums of all queries under each deal, totals: (deals, heads, d, d)."""
        squares = np.square(totals, dtype=np.float64).reshape(*totals.shape[:2], -1).sum(axis=2)
        return np.sqrt(squares / (self.n_q * max(self.n_q - 1, 1)))

    @cached_property
    def _held(self) -> list[Deals]:
        """The deals, where these are few enough to be held for the next head."""
        return list(Deals.of(self.n, self.n_q, self.seed)) if self.n * self.n_q <= AT_ONCE else []


@dataclass(frozen=True)
class Deals:
    """A few deals of signs to n queries, which are sorted by their signs in all of them.

    A query's pattern is the signs that it has in these deals, taken times that of the first. order: (n,) queries, those
    of one pattern together. starts: (patterns + 1,) where each begins. first: (n,) ±1 of the first deal. signs: (deals,
    patterns) float32 ±1 that times `first` are the queries' signs.
    """

    order: np.ndarray
    starts: np.ndarray
    first: np.ndarray
    signs: np.ndarray

    @classmethod
    def of(cls, n: int, n_q: int, seed: int, some: np.ndarray | None = None) -> Iterator[Deals]:
        """n deals to n_q queries, as many together as leave FEWEST queries a pattern. One seed gives the same deals.

        some: only these queries, in their order, with the signs that they have in deals to all n_q.
        """
        rng, some = np.random.default_rng(seed), slice(None) if some is None else some
        mine = n_q if isinstance(some, slice) else len(some)
        together = 1 + int(np.clip((mine // FEWEST).bit_length() - 1, *BITS))
        for deals in np.array_split(np.arange(n), -(-n // together)) if n else ():
            yield cls._dealt(rng, len(deals), n_q, some)

    @classmethod
    def _dealt(cls, rng: np.random.Generator, n: int, n_q: int, some: slice | np.ndarray) -> Deals:
        first = rng.integers(0, 2, n_q)[some] > 0
        pattern = np.zeros(len(first), np.uint16)  # 16 bits are sorted by counting
        for bit in range(n - 1):
            pattern |= ((rng.integers(0, 2, n_q)[some] > 0) != first).astype(np.uint16) << np.uint16(bit)
        starts = np.concatenate([[0], np.cumsum(np.bincount(pattern, minlength=1 << (n - 1)))])
        bits = np.arange(len(starts) - 1) >> np.arange(n - 1)[:, None] & 1
        signs = np.concatenate([np.ones((1, len(starts) - 1)), 1 - 2 * bits]).astype(np.float32)
        return cls(np.argsort(pattern, kind="stable"), starts, np.where(first, 1, -1).astype(np.int8), signs)

    def totals(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return (deals, width · d) float32: Σ ± x cᵀ over the queries, x: (n, width) and c: (n, d) float32."""
        width, d = x.shape[1], c.shape[1]
        totals = np.zeros((len(self.signs), width * d), np.float32)
        for part in self.parts(width, d):
            totals += self.signs[:, part] @ _pattern_sums(x, c, self, part)
        return totals

    def parts(self, width: int, d: int) -> Iterator[slice]:
        """Patterns whose rows of width values and whose sums of width · d each stay below AT_ONCE values."""
        patterns = len(self.starts) - 1
        rows = AT_ONCE // width * patterns // max(len(self.order), 1)
        step = max(min(rows, AT_ONCE // (width * d)), 1)
        return (slice(i, min(i + step, patterns)) for i in range(0, patterns, step))


def _pattern_sums(x: np.ndarray, c: np.ndarray, deals: Deals, part: slice) -> np.ndarray:
    """(patterns, width · d) float32: Σ x cᵀ over the queries of each pattern, by their signs in the first deal."""
    starts = deals.starts[part.start : part.stop + 1]
    order = deals.order[starts[0] : starts[-1]]
    x, c, starts = x.take(order, 0), c.take(order, 0) * deals.first[order, None], (starts - starts[0]).tolist()
    out = np.empty((len(starts) - 1, x.shape[1], c.shape[1]), np.float32)
    for one, (begin, end) in zip(out, pairwise(starts), strict=True):
        np.matmul(x[begin:end].T, c[begin:end], out=one)
    return out.reshape(len(out), -1)


class LabelNull:
    """Does a head know which words have the value that a query looks for? Its gain, with values dealt among words.

    asked: (n_q,) the value that each query looks for. word: (n_k,) the word of each key. value: (n_k,) the value of
    that word, such as the category of an item; where each word is its own value, as an entity, the same as `word`. A
    deal gives the values anew to the words, so the null says what a head has whose queries and keys are tied to words,
    but not by this feature. Heads of random weights, too, tie a word's query to its key; there the gain is within its
    null, where ‖ΔC‖ is not.

    The logit of a value and a word is a mean over all their queries and keys but those that are pairs of the contrast:
    query and key of one prompt share what is particular to the prompt, which is not the feature.

    pairs: localised. Deals are made once, by `seed`, and serve every head. Raises ContrastError where a word has two
    values, and where there is nothing to deal: fewer than two words with a value that is asked for, or one value asked.
    """

    def __init__(
        self, pairs: Pairs, asked: np.ndarray, word: np.ndarray, value: np.ndarray, n: int, seed: int = 0
    ) -> None:
        words, first, self.word = np.unique(word, return_index=True, return_inverse=True)
        if (value[first][self.word] != value).any():
            wrong = words[self.word[np.flatnonzero(value[first][self.word] != value)[0]]]
            raise ContrastError(f"{str(wrong)!r} has more than one value: each word needs one, which is dealt anew")
        kinds, self.asked = np.unique(asked, return_inverse=True)
        place = {kind: i for i, kind in enumerate(kinds.tolist())}
        self.own = np.array([place.get(v, -1) for v in value[first].tolist()])  # (words,) row of the value, or −1
        if len(kinds) < 2 or (self.own >= 0).sum() < 2:
            raise ContrastError("labels are dealt anew among two words or more, of values that queries ask for")
        self.pairs, self.shape = pairs, (len(kinds), len(words))
        self.count = np.outer(np.bincount(self.asked), np.bincount(self.word)).astype(np.float64)
        np.subtract.at(self.count, self._cells, 1)
        rng = np.random.default_rng(seed)
        self.dealt = [rng.permutation(self.own) for _ in range(n)]

    @property
    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        """(p,), (p,): of each pair, the value that its query asks for and the word of its key."""
        return self.asked[self.pairs.query], self.word[self.pairs.key]

    def logits(self, q: np.ndarray, k: np.ndarray, scaling: float = 1.0) -> np.ndarray:
        """Return (values, words) mean logits of q: (n_q, d) with k: (n_k, d), NaN where there are but pairs."""
        sums = _sums(q, self.asked, self.shape[0]) @ _sums(k, self.word, self.shape[1]).T
        own = np.einsum("pd,pd->p", q[self.pairs.query], k[self.pairs.key], dtype=np.float64)
        np.subtract.at(sums, self._cells, own)
        there = self.count > 0
        return np.divide(scaling * sums, self.count, out=np.full(self.shape, np.nan), where=there)

    def test(self, q: np.ndarray, k: np.ndarray, scaling: float = 1.0) -> Tested:
        """Return the gain in logits, beside that of the n deals, for q: (n_q, d) and k: (n_k, d) of one head."""
        logit = self.logits(q, k, scaling)
        centred = _centred(logit)
        return Tested(_gain(centred, self.own), tuple(_gain(centred, own) for own in self.dealt))


def gain(logit: np.ndarray, own: np.ndarray) -> float:
    """Return the mean logit from a value to its words, less what the value and the word have in all pairs.

    logit: (values, words); NaN is taken to be what its value and word have elsewhere. own: (words,) the row of each
    word's value; −1 for a value that no query asks for.
    """
    return _gain(_centred(logit), own)


def _gain(centred: np.ndarray, own: np.ndarray) -> float:
    there = np.flatnonzero(own >= 0)
    return float(centred[own[there], there].mean())


def _centred(logit: np.ndarray) -> np.ndarray:
    logit = _filled(logit)
    return logit - logit.mean(axis=0) - logit.mean(axis=1, keepdims=True) + logit.mean()


def _filled(logit: np.ndarray) -> np.ndarray:
    """NaN replaced by the mean of its row and that of its column, less that of all."""
    empty = np.isnan(logit)
    if not empty.any():
        return logit
    total = np.nanmean(logit)
    row, column = (np.nan_to_num(_mean(logit, axis), nan=total) for axis in (1, 0))
    return np.where(empty, row[:, None] + column[None] - total, logit)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean without NaN; NaN where there is nothing else."""
    there = (~np.isnan(values)).sum(axis=axis)
    return np.divide(np.nansum(values, axis=axis), there, out=np.full(there.shape, np.nan), where=there > 0)


def _sums(rows: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """(n, d) float64: the sum of the rows of each group."""
    from scipy.sparse import csr_array

    members = csr_array((np.ones(len(rows)), (group, np.arange(len(rows)))), shape=(n, len(rows)))
    return members @ rows.astype(np.float64)
