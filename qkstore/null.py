"""Two nulls: ΔC of a head whose keys do not depend on the query, and logits of one to which labels mean nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs
from qkstore.errors import ContrastError


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

    observed: (heads,). null: (heads, deals), the same deals for every head. Each statistic is taken in units of its own
    null's spread (the largest of a deal: max-T, Westfall and Young 1993).
    """
    middle, spread = null.mean(axis=1), null.std(axis=1)
    largest = ((null - middle[:, None]) / spread[:, None]).max(axis=0)  # (deals,)
    reached = largest[None] >= ((observed - middle) / spread)[:, None]
    return (1 + reached.sum(axis=1)) / (1 + len(largest))


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

    pairs: localised. The signs are dealt once, by `seed`, and serve every head. summed: as in ContrastiveCovariance.
    Queries count as independent.
    """

    def __init__(self, pairs: Pairs, n: int, seed: int = 0, summed: bool = False):
        self.pairs, self.summed = pairs, summed
        n_q = int(pairs.query.max(initial=-1)) + 1
        self.signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (n, n_q))

    def test(self, q: np.ndarray, k: np.ndarray) -> Tested:
        """Return the norm, beside those of the n deals, for q: (n_q, d) and k: (n_k, d) of one head."""
        c = self.pairs.key_contrast(k, self.summed)
        x, c, n = q - q.mean(axis=0, dtype=np.float64), c - c.mean(axis=0), len(q)
        assert n == self.signs.shape[1], "the pairs are localised: each query has some"
        observed = float(np.linalg.norm(x.T @ c)) / n
        x, c = x.astype(np.float32), c.astype(np.float32)
        scale = (n * max(n - 1, 1)) ** -0.5
        return Tested(observed, tuple(scale * float(np.linalg.norm((x * s[:, None]).T @ c)) for s in self.signs))


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
