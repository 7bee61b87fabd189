"""Interventions: swap the coordinates of two keys (or of two queries) in a feature's subspace, and compute attention.

A swap of keys changes two logits of a row of attention: q, both keys and the row's log-sum-exp suffice, and the result
equals a re-run of the model with the keys of this one query head edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from qkstore.errors import ContrastError
from qkstore.interval import bootstrap, wilson
from qkstore.score import capped, logits

T = TypeVar("T")
ROUNDING = float(np.finfo(np.float64).eps)  # relative error of a stored log-sum-exp
UNSURE = 0.01  # relative error from which a swap counts as not known
LEAST_BASES = 10  # random subspaces of a baseline: one alone tells nothing of their spread
MEANS = (
    "original_before", "target_before", "original_after", "target_after",
    "delta_p", "gap_before", "gap_after", "gap_gain",
)  # fmt: skip
BEYOND = ("delta_p", "gap_gain")  # what is told of a feature's swap less random ones


@dataclass(frozen=True)
class Swap:
    """(n,) attention on the original key and on the target key, before and after each of n swaps.

    doubt: (n,) relative error of the values after, from rounding. The attention on all other keys is known only as what
    the two leave of the row. Where a float64 log-sum-exp does not resolve that rest and the swap lowers both keys, the
    rest decides the result, and doubt is large. gaps: (2, n) logit of the target less that of the original, before and
    after; where only attention is known, it is the logarithm of their ratio, which is the same.
    """

    original_before: np.ndarray
    target_before: np.ndarray
    original_after: np.ndarray
    target_after: np.ndarray
    doubt: np.ndarray | float = 0.0
    gaps: np.ndarray | None = None

    @property
    def gap_before(self) -> np.ndarray:
        """(n,) logit of the target less that of the original."""
        return _log_ratio(self.target_before, self.original_before) if self.gaps is None else self.gaps[0]

    @property
    def gap_after(self) -> np.ndarray:
        """(n,) the same after the swap."""
        return _log_ratio(self.target_after, self.original_after) if self.gaps is None else self.gaps[1]

    @property
    def gap_gain(self) -> np.ndarray:
        """(n,) by how much the swap moves the gap towards the target.

        Attention is convex in the logits: where it is spread, any change of them, a random one too, raises the mean
        attention of both keys. The gap is linear in them: without a soft-cap a swap adds 2 · scaling · qᵀ V Vᵀ (k − k')
        for the original k and the target k', so that a random subspace of rank r turns round r ÷ d of it on average.
        """
        return self.gap_after - self.gap_before

    @property
    def delta_p(self) -> np.ndarray:
        """(n,) attention that the target key gains."""
        return self.target_after - self.target_before

    @property
    def could_flip(self) -> np.ndarray:
        """(n,) bool: before the swap, the original key had more attention than the target."""
        return self.original_before > self.target_before

    @property
    def flipped(self) -> np.ndarray:
        """(n,) bool: the swap turned that round, so that the target has more attention than the original."""
        return self.could_flip & (self.target_after > self.original_after)


class Swapper:
    """Swaps of the same n rows in one subspace after another: both keys of a row take the other's coordinates.

    Equations 8–10: k̃ = k + V Vᵀ(k' − k). q, k_original, k_target: (n, d), queries and two keys that each attends to
    (leave out pairs that a window hides); logsumexp: (n,) of all logits of the query's row, attention sinks included.
    scaling, softcap: the model's own (None for no cap).
    """

    def __init__(
        self, q: np.ndarray, k_original: np.ndarray, k_target: np.ndarray, logsumexp: np.ndarray,
        scaling: float, softcap: float | None = None,
    ):  # fmt: skip
        self.q, self.difference = np.asarray(q, np.float64), np.asarray(k_target, np.float64) - k_original
        self.logsumexp, self.scaling, self.softcap = logsumexp, scaling, softcap
        self.raw = np.stack([logits(q, k_original, scaling), logits(q, k_target, scaling)])  # (2, n)
        self.before = capped(self.raw, softcap)
        self.p_before = np.exp(self.before - logsumexp)
        self.error = ROUNDING * np.maximum(1, np.abs(logsumexp))
        with np.errstate(divide="ignore"):
            self.others = np.log(np.clip(1 - self.p_before.sum(axis=0), 0, None))  # other keys, of the old sum

    def __call__(self, V: np.ndarray) -> Swap:
        """Return attention before and after the swap in V: (d, r), orthonormal."""
        return self.each([V])[0]

    def each(self, bases: Sequence[np.ndarray]) -> list[Swap]:
        """Return the swap in each of several bases (d, r): they cost less together."""
        return self._after(np.stack([self._moved(np.asarray(V, np.float64)) for V in bases]))

    def through(self, projectors: Sequence[np.ndarray]) -> list[Swap]:
        """Return the swap by each of several projectors P: (d, d), oblique ones too: k̃ = k + P (k' − k)."""
        return self._after(
            np.stack([self.scaling * np.einsum("nd,nd->n", self.q @ P, self.difference) for P in projectors])
        )

    def _moved(self, V: np.ndarray) -> np.ndarray:
        """(n,) by how much a swap moves the logit of the original key: scaling · qᵀ V Vᵀ (k' − k)."""
        return self.scaling * np.einsum("nr,nr->n", self.q @ V, self.difference @ V)

    def _after(self, moved: np.ndarray) -> list[Swap]:
        """The swaps that move the logits of the originals by moved: (swaps, n), and of the targets as much back."""
        after = capped(self.raw + np.stack([moved, -moved], axis=1), self.softcap)  # (swaps, 2, n)
        gap_before, gaps = self.before[1] - self.before[0], after[:, 1] - after[:, 0]
        after = after - self.logsumexp
        total = np.logaddexp(self.others, np.logaddexp(after[:, 0], after[:, 1]))
        p_after = np.exp(after - total[:, None])
        doubt = self.error * np.exp(-np.maximum(total, -700))
        (original, target), each = self.p_before, zip(p_after, doubt, gaps, strict=True)
        return [Swap(original, target, p[0], p[1], error, np.stack([gap_before, gap])) for p, error, gap in each]


def swap(
    q: np.ndarray,
    k_original: np.ndarray,
    k_target: np.ndarray,
    logsumexp: np.ndarray,
    V: np.ndarray,
    scaling: float,
    softcap: float | None = None,
) -> Swap:
    """Return attention before and after both keys of each row take the other's coordinates in V; see Swapper."""
    return Swapper(q, k_original, k_target, logsumexp, scaling, softcap)(V)


def swap_query(
    q: np.ndarray,
    other: np.ndarray,
    K: np.ndarray,
    seen: np.ndarray,
    original: np.ndarray,
    aimed: np.ndarray,
    U: np.ndarray,
    scaling: float,
    softcap: float | None = None,
) -> Swap:
    """Return attention before and after each query takes another's coordinates: q̃ = q + U Uᵀ(q' − q).

    This is the query's counterpart of eq. 8–10. q, other: (n, d), the queries and the ones they take coordinates from;
    K: (n, m, d), keys of each query's prompt, of which seen: (n, m) bool are there and visible; original, aimed: (n,)
    positions among the m of the two keys to report; U: (d, r) orthonormal. A changed query changes the logit of every
    key, so attention is a softmax over the keys given: what the head attends to elsewhere is left out.
    """
    rows, q = np.arange(len(q)), np.asarray(q, np.float64)

    def attention(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = np.where(seen, capped(scaling * np.einsum("nd,nmd->nm", q, K, dtype=np.float64), softcap), -np.inf)
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True), logits[rows, aimed] - logits[rows, original]

    (before, gap_before), (after, gap_after) = attention(q), attention(q + (other - q) @ U @ U.T)
    values = before[rows, original], before[rows, aimed], after[rows, original], after[rows, aimed]
    return Swap(*values, gaps=np.stack([gap_before, gap_after]))


@dataclass(frozen=True)
class Condition:
    """Means over n swaps in one subspace of `rank` dimensions, or over the same n swaps in several random subspaces.

    original_before … target_after: mean attention. delta_p: mean attention that the target gains. flip_rate: of the
    rows where the original had more attention than the target, the share where the target has more afterwards; None
    without such rows. ci: {name: (low, high)}, 95 %, by bootstrap over rows, of flip_rate by Wilson. unsure: share of
    swaps whose values after are not known to 1 % (see Swap.doubt). bases: number of random subspaces, and spread: the
    standard deviation over them, {name: value}; both None for one subspace. gap_before … gap_gain: the mean logit gap
    between target and original. beyond: what the swap does more than random subspaces of its rank, paired over the same
    rows, {name of BEYOND: (value, low, high)}; None where no random ones stand beside it.
    """

    name: str
    rank: int
    n: int
    original_before: float
    target_before: float
    original_after: float
    target_after: float
    delta_p: float
    gap_before: float
    gap_after: float
    gap_gain: float
    flip_rate: float | None
    ci: dict[str, tuple[float, float]]
    unsure: float = 0.0
    bases: int | None = None
    spread: dict[str, float] | None = None
    beyond: dict[str, tuple[float, float, float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def summary(name: str, swap: Swap, rank: int, seed: int = 0) -> Condition:
    """Return the means of the swaps of n ≥ 1 rows in one subspace of dimension `rank`, called `name`.

    Conditions with the same seed and rows resample the same rows, so that their intervals are paired.
    """
    return _condition(name, [swap], rank, seed, None, None)


def random_summary(name: str, swaps: Sequence[Swap], rank: int, seed: int = 0) -> Condition:
    """Return the means over random subspaces of dimension `rank`, with their spread.

    swaps: one for each subspace, all of the same rows. Raises ContrastError for fewer than 10.
    """
    if len(swaps) < LEAST_BASES:
        raise ContrastError(f"a random baseline needs {LEAST_BASES} or more random subspaces, not {len(swaps)}")
    return _condition(name, swaps, rank, seed, len(swaps), _spread(swaps))


def beyond(swap: Swap, at_random: Sequence[Swap], seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Return what a feature's swap does more than swaps in random subspaces, with 95 % intervals: Condition.beyond.

    Of each row the mean over the random subspaces is subtracted first; then rows are resampled, so that what differs
    from row to row and is alike in both adds nothing to the interval.
    """
    rows = [getattr(swap, name) - np.mean([getattr(r, name) for r in at_random], axis=0) for name in BEYOND]
    columns = np.stack(rows, axis=1)
    low, high = np.quantile(bootstrap(columns, seed), [0.025, 0.975], axis=0)
    ends = zip(columns.mean(axis=0), low, high)
    return {name: (float(a), float(b), float(c)) for name, (a, b, c) in zip(BEYOND, ends)}


def features_and_randoms(
    conditions: Iterable[T], bases: Callable[[T], int | None] = attrgetter("bases")
) -> tuple[list[T], list[T]]:
    """Return (features' conditions, random conditions); the i-th random one has the rank of the i-th feature.

    conditions: of one or several interventions, each with features before randoms. bases: reads from a condition
    how many random subspaces it averages over; None for a feature's.
    """
    features: list[T] = []
    randoms: list[T] = []
    for condition in conditions:
        (randoms if bases(condition) else features).append(condition)
    assert len(features) == len(randoms), "each feature has its random baseline"
    return features, randoms


def _condition(
    name: str, swaps: Sequence[Swap], rank: int, seed: int, bases: int | None, spread: dict[str, float] | None
) -> Condition:
    rows = np.stack([np.mean([getattr(s, m) for s in swaps], axis=0) for m in MEANS], axis=1)  # (n, 8)
    assert len(rows), "a condition has at least one row"
    could, rates = int(swaps[0].could_flip.sum()), _flip_rates(swaps)
    low, high = np.quantile(bootstrap(rows, seed), [0.025, 0.975], axis=0)
    ci = {m: (float(a), float(b)) for m, a, b in zip(MEANS, low, high)}
    if could:
        ci["flip_rate"] = wilson(float(np.mean(rates)) * could, could)
    means: dict[str, Any] = {m: float(value) for m, value in zip(MEANS, rows.mean(axis=0))}
    return Condition(
        name,
        int(rank),
        len(rows),
        **means,
        flip_rate=float(np.mean(rates)) if could else None,
        ci=ci,
        unsure=float(np.mean([np.mean(s.doubt > UNSURE) for s in swaps])),
        bases=bases,
        spread=spread,
    )


def _log_ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log(a / b) of attention, which may be 0."""
    tiny = np.finfo(np.float64).tiny
    return np.log(np.maximum(a, tiny)) - np.log(np.maximum(b, tiny))


def _flip_rates(swaps: Sequence[Swap]) -> list[float]:
    """The flip rate of each subspace; empty where no row could flip."""
    return [float(s.flipped.sum() / s.could_flip.sum()) for s in swaps if s.could_flip.any()]


def _spread(swaps: Sequence[Swap]) -> dict[str, float]:
    """The standard deviation over subspaces of what a swap changes."""
    spread = {m: float(np.std([getattr(s, m).mean() for s in swaps], ddof=1)) for m in MEANS[2:]}
    rates = _flip_rates(swaps)
    return spread | ({"flip_rate": float(np.std(rates, ddof=1))} if rates else {})
