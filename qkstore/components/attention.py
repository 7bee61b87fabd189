"""The attention contrast: a head's own choices as the label of which pairs of a query and a key are positive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.components.choices import Choices
from qkstore.errors import ContrastError

FOLDS = 16  # parts of the prompts: fitted on some, read on others
HALVES = tuple(range(0, FOLDS, 2)), tuple(range(1, FOLDS, 2))
SUMS = ("n_", "q_", "d_", "qq_", "dd_", "qd_", "repaired_", "within_", "few_", "elsewhere_")


@dataclass(frozen=True)
class Moments:
    """Means and covariances of queries q and choices d over n queries, both centred.

    S_q, S_d, S_qd: (d_head, d_head), S_qd = E[q dᵀ] of centred q and d. q_mean, d_mean: (d_head,).
    """

    n: int
    q_mean: np.ndarray
    d_mean: np.ndarray
    S_q: np.ndarray
    S_d: np.ndarray
    S_qd: np.ndarray


class AttentionContrast:
    """Fit E[q dᵀ] and the covariances of q and d from one shard of queries after another, apart for FOLDS of prompts.

    d = k⁺ − k⁻ is what a query chose (`choices`), so that ΔC_att = E[q dᵀ] is a contrastive covariance whose label is
    attention itself. The state is unnormalised float64 sums (names ending in `_`), so fitters of different shards
    merge in any order. A prompt's fold depends on its number alone.

    d_head: size of a query or key. repairs: times that queries are paired anew with the choices of other queries of
    their half of the folds, within the shard, by a shift of all by as many places: what chance gives. seed: of the
    shifts.
    """

    def __init__(self, d_head: int, repairs: int = 99, seed: int = 0):
        self.d_head, self.repairs, self.seed = d_head, repairs, seed
        self.n_ = np.zeros(FOLDS, np.int64)
        self.q_, self.d_ = np.zeros((FOLDS, d_head)), np.zeros((FOLDS, d_head))
        self.qq_, self.dd_, self.qd_ = (np.zeros((FOLDS, d_head, d_head)) for _ in range(3))
        self.repaired_ = np.zeros((repairs, 2, d_head, d_head))  # Σ q dᵀ of both halves, paired anew
        self.within_ = np.zeros((d_head, d_head))  # Σ over queries of the covariance of the keys of each
        self.few_ = self.elsewhere_ = 0

    def update(self, found: Choices) -> AttentionContrast:
        """Add the choices of a shard of prompts; return the fitter itself. Give all queries of a prompt in one."""
        part = fold(found.group)
        for f in range(FOLDS):
            q, d = found.q[part == f], found.d[part == f]
            self.n_[f] += len(q)
            self.q_[f] += q.sum(axis=0)
            self.d_[f] += d.sum(axis=0)
            self.qq_[f] += q.T @ q
            self.dd_[f] += d.T @ d
            self.qd_[f] += q.T @ d
        for half, folds in enumerate(HALVES):
            kept = np.isin(part, folds)
            self._repair(half, found.q[kept], found.d[kept])
        self.within_ += found.within
        self.few_ += found.few
        self.elsewhere_ += found.elsewhere
        return self

    def _repair(self, half: int, q: np.ndarray, d: np.ndarray) -> None:
        """A shift keeps neighbours together, so that what queries of one prompt have in common stays in the null."""
        if len(q):
            by = np.random.default_rng([self.seed, half]).random(self.repairs)
            for r, share in enumerate(by):
                self.repaired_[r, half] += q.T @ np.roll(d, int(share * len(q)), axis=0)

    def merge(self, other: AttentionContrast) -> AttentionContrast:
        """Add the sums of a fitter of the same kind that saw other prompts; return the fitter itself."""
        kinds = [(c.d_head, c.repairs, c.seed) for c in (self, other)]
        assert kinds[0] == kinds[1], "fitters of one kind merge"
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def n(self) -> int:
        """Queries seen."""
        return int(self.n_.sum())

    @property
    def within(self) -> np.ndarray:
        """(d_head, d_head) mean covariance of the keys that a query could choose from."""
        return self.within_ / max(self.n, 1)

    @property
    def delta(self) -> np.ndarray:
        """(d_head, d_head) ΔC_att = E[q dᵀ], not centred."""
        return self.qd_.sum(axis=0) / max(self.n, 1)

    def moments(self, folds: Sequence[int] = tuple(range(FOLDS))) -> Moments:
        """Means and covariances over the queries of some folds. Raises ContrastError for fewer than 2 queries."""
        at = list(folds)
        return self._moments(at, self.qd_[at].sum(axis=0))

    def repaired(self, half: int) -> list[Moments]:
        """The moments of one half of the folds, queries paired anew with choices: one for each of the `repairs`."""
        at = list(HALVES[half])
        return [self._moments(at, product[half]) for product in self.repaired_]

    def _moments(self, at: list[int], product: np.ndarray) -> Moments:
        n = int(self.n_[at].sum())
        if n < 2:
            raise ContrastError(
                f"components need queries of several prompts, at least 2 in each half of these; of {self.n:,} with a "
                f"choice there is {n} in one"
            )
        q, d = self.q_[at].sum(axis=0) / n, self.d_[at].sum(axis=0) / n
        qq, dd = self.qq_[at].sum(axis=0) / n, self.dd_[at].sum(axis=0) / n
        return Moments(n, q, d, qq - np.outer(q, q), dd - np.outer(d, d), product / n - np.outer(q, d))


def fold(group: np.ndarray) -> np.ndarray:
    """(n,) the fold of each prompt number: a hash, since prompts of one kind may stand in turn."""
    mixed = (np.asarray(group, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    return ((mixed * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(48)) % np.uint64(FOLDS)
