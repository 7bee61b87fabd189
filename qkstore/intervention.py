"""Interventions: two keys of a row swap their coordinates in a feature's subspace, and attention is computed anew.

The edit changes two logits of one row of attention, so q, the two keys and the row's log-sum-exp are enough: it equals
a re-run of the model with the keys of this one query head edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import TypeVar

import numpy as np

from qkstore.errors import ContrastError
from qkstore.interval import bootstrap, wilson
from qkstore.score import capped, logits

T = TypeVar("T")
ROUNDING = float(np.finfo(np.float64).eps)  # of a stored log-sum-exp, relative
UNSURE = 0.01
LEAST_BASES = 10  # one random basis is not a baseline
MEANS = ("original_before", "target_before", "original_after", "target_after", "delta_p")


@dataclass(frozen=True)
class Swap:
    """(n,) attention on the original and on the target key, before and after the swap.

    doubt: (n,) relative error of the values after, from rounding. All other keys together are known only as what the
    two leave of the row; where that is less than a float64 log-sum-exp resolves and the swap takes both keys down, it
    decides the result.
    """

    original_before: np.ndarray
    target_before: np.ndarray
    original_after: np.ndarray
    target_after: np.ndarray
    doubt: np.ndarray | float = 0.0

    @property
    def delta_p(self) -> np.ndarray:
        """(n,) attention that the target gains."""
        return self.target_after - self.target_before

    @property
    def could_flip(self) -> np.ndarray:
        """(n,) bool: the original had more attention than the target."""
        return self.original_before > self.target_before

    @property
    def flipped(self) -> np.ndarray:
        """(n,) bool: it had, and now the target has more than the original."""
        return self.could_flip & (self.target_after > self.original_after)


def swap(
    q: np.ndarray,
    k_original: np.ndarray,
    k_target: np.ndarray,
    logsumexp: np.ndarray,
    V: np.ndarray,
    scaling: float,
    softcap: float | None = None,
) -> Swap:
    """Attention when k̃ = k + V Vᵀ(k' − k), eq. 8–10, for both keys of each row.

    q, k_original, k_target: (n, d), two keys of the row that the query attends with; logsumexp: (n,) of that row's
    logits, all keys (and sinks) included; V: (d, r) orthonormal. Excluded: rows whose keys a window hides.
    """
    V = np.asarray(V, np.float64)
    difference = np.asarray(k_target, np.float64) - k_original
    moved = scaling * np.einsum("nr,nr->n", q @ V, difference @ V)
    raw = np.stack([logits(q, k_original, scaling), logits(q, k_target, scaling)])  # (2, n)
    before = capped(raw, softcap) - logsumexp
    after = capped(raw + np.stack([moved, -moved]), softcap) - logsumexp
    with np.errstate(divide="ignore"):
        others = np.log(
            np.clip(1 - np.exp(before).sum(axis=0), 0, None)
        )  # mass of all other keys, in units of the old sum
    total = np.logaddexp(others, np.logaddexp(*after))
    error = ROUNDING * np.maximum(1, np.abs(logsumexp))
    return Swap(*np.exp(before), *np.exp(after - total), error * np.exp(-np.maximum(total, -700)))


@dataclass(frozen=True)
class Condition:
    """Means of n swaps in one subspace.

    delta_p: attention the target gains. flip_rate: of the rows where the original had more attention than the target,
    the share where the target has more afterwards; None without such rows.

    ci: 95 % intervals, {name: (low, high)}: bootstrap over rows for means, Wilson for flip_rate. Random conditions
    average over `bases` subspaces; spread is the standard deviation over them, {name: value}. unsure: share of swaps
    whose values after are not known to 1 % (see Swap.doubt).
    """

    name: str
    rank: int
    n: int
    original_before: float
    target_before: float
    original_after: float
    target_after: float
    delta_p: float
    flip_rate: float | None
    ci: dict[str, tuple[float, float]]
    unsure: float = 0.0
    bases: int | None = None
    spread: dict[str, float] | None = None

    def to_dict(self) -> dict:
        return asdict(self)


def summary(name: str, swap: Swap, rank: int, seed: int = 0) -> Condition:
    """The means of one subspace's swaps.

    One seed resamples the rows of all conditions alike, so that they stay paired.
    """
    return _condition(name, [swap], rank, seed)


def random_summary(name: str, swaps: Sequence[Swap], rank: int, seed: int = 0) -> Condition:
    """The means over random subspaces of one rank, each swapped on the same rows, with their spread.

    Raises ContrastError for fewer than 10 of them.
    """
    if len(swaps) < LEAST_BASES:
        raise ContrastError(f"a random baseline needs {LEAST_BASES} or more random subspaces, not {len(swaps)}")
    return _condition(name, swaps, rank, seed, bases=len(swaps), spread=_spread(swaps))


def features_and_randoms(
    conditions: Iterable[T], bases: Callable[[T], int | None] = attrgetter("bases")
) -> tuple[list[T], list[T]]:
    """(features' conditions, random conditions): the i-th random one has the rank of the i-th feature.

    conditions: those of one or several interventions, features before randoms in each. bases: reads of a condition how
    many random subspaces it averages over; a feature's has None.
    """
    features, randoms = [], []
    for condition in conditions:
        (randoms if bases(condition) else features).append(condition)
    assert len(features) == len(randoms), "each feature has its random baseline"
    return features, randoms


def _condition(name: str, swaps: Sequence[Swap], rank: int, seed: int, **more) -> Condition:
    rows = np.stack([np.mean([getattr(s, m) for s in swaps], axis=0) for m in MEANS], axis=1)  # (n, 5)
    assert len(rows), "a condition has at least one row"
    could, rates = int(swaps[0].could_flip.sum()), _flip_rates(swaps)
    low, high = np.quantile(bootstrap(rows, seed), [0.025, 0.975], axis=0)
    ci = {m: (float(a), float(b)) for m, a, b in zip(MEANS, low, high)}
    if could:
        ci["flip_rate"] = wilson(np.mean(rates) * could, could)
    means, flip_rate = map(float, rows.mean(axis=0)), float(np.mean(rates)) if could else None
    unsure = float(np.mean([np.mean(s.doubt > UNSURE) for s in swaps]))
    return Condition(name, int(rank), len(rows), *means, flip_rate, ci, unsure, **more)


def _flip_rates(swaps: Sequence[Swap]) -> list[float]:
    return [float(s.flipped.sum() / s.could_flip.sum()) for s in swaps if s.could_flip.any()]


def _spread(swaps: Sequence[Swap]) -> dict[str, float]:
    spread = {m: float(np.std([getattr(s, m).mean() for s in swaps], ddof=1)) for m in MEANS[2:]}
    rates = _flip_rates(swaps)
    return spread | ({"flip_rate": float(np.std(rates, ddof=1))} if rates else {})


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
    """Attention when q̃ = q + U Uᵀ(q' − q), the query's counterpart of eq. 8–10.

    q, other: (n, d); K: (n, m, d) keys of each query's prompt, of which seen: (n, m) bool are there and visible;
    original, aimed: (n,) columns of the two keys; U: (d, r) orthonormal. A changed query changes the logit of every
    key: attention is among the keys given, and leaves out what the head attends to elsewhere.
    """
    rows, q = np.arange(len(q)), np.asarray(q, np.float64)

    def attention(q: np.ndarray) -> np.ndarray:
        logits = np.where(seen, capped(scaling * np.einsum("nd,nmd->nm", q, K, dtype=np.float64), softcap), -np.inf)
        logits -= logits.max(axis=1, keepdims=True)
        weight = np.exp(logits)
        return weight / weight.sum(axis=1, keepdims=True)

    before, after = attention(q), attention(q + (other - q) @ U @ U.T)
    return Swap(before[rows, original], before[rows, aimed], after[rows, original], after[rows, aimed])
