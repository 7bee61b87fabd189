"""What a head chose for its queries: the keys that it attends to, less the others that it could have attended to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from qkstore.errors import ContrastError
from qkstore.score import capped

SAME = 1e-12  # of the mean square of keys: a variance below is the rounding of float32
LEAST = 0.05  # of a query's attention on the keys at hand: below, what it chose is elsewhere


@dataclass(frozen=True)
class Choices:
    """The choices of n queries of one head.

    q: (n, d_head) queries; d: (n, d_head) what each chose, k⁺ − k⁻; both float64. group: (n,) whole numbers ≥ 0, of the
    prompt that a query stands in: queries of one prompt are not independent. attention: (n,) share of a query's
    attention on the keys at hand, NaN where it is not known. within: (d_head, d_head) sum over the n queries of the
    covariance of the keys that each could choose from. few, elsewhere: queries that were left out, since they had fewer
    than two keys to choose from, or less than LEAST of their attention on them.
    """

    q: np.ndarray
    d: np.ndarray
    group: np.ndarray
    attention: np.ndarray
    within: np.ndarray
    few: int = 0
    elsewhere: int = 0

    def __len__(self) -> int:
        return len(self.q)

    def where(self, kept: np.ndarray) -> Choices:
        """Those where kept: (n,) bool is true, or at the places kept: (m,); `within` stays that of all."""
        return replace(self, q=self.q[kept], d=self.d[kept], group=self.group[kept], attention=self.attention[kept])

    @classmethod
    def joined(cls, parts: Sequence[Choices]) -> Choices:
        """Those of several blocks of prompts, in their order."""
        rows = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("q", "d", "group", "attention")}
        within = np.sum([p.within for p in parts], axis=0)
        return cls(**rows, within=within, few=sum(p.few for p in parts), elsewhere=sum(p.elsewhere for p in parts))


def choices(
    q: np.ndarray,
    k: np.ndarray,
    seen: np.ndarray,
    group: np.ndarray,
    scaling: float,
    softcap: float | None = None,
    logsumexp: np.ndarray | None = None,
) -> Choices:
    """Return what each query chose among its keys: d = k⁺ − k⁻ of b prompts of the same shape.

    q: (b, i, d_head), k: (b, j, d_head) of the same prompts; seen: (b, i, j) bool, the keys that a query may choose
    from (leave out the ones that it does not see, itself, and sinks); group: (b,) the prompts' numbers; logsumexp:
    (b, i) of all logits of a query's row, where known.

    k⁺ = Σ aᵢ kᵢ with attention a taken anew over the m keys at hand, k⁻ the mean of the other keys, each weighted by
    what it did not get: (Σ kᵢ − k⁺) / (m − 1). So d = m / (m − 1) · (k⁺ − k̄). Raises ContrastError for vectors that
    are not finite.
    """
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    _check_finite(q, "queries")
    _check_finite(k, "keys")
    chosen = choosing(q, k, seen, scaling, softcap, logsumexp)
    kept, many = chosen.kept, seen.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        even = np.where(kept[:, :, None], seen / many[:, :, None], 0.0)
    mean = even @ k  # (b, i, d_head)
    scale = many / np.maximum(many - 1, 1)
    d = scale[:, :, None] * (np.where(kept[:, :, None], chosen.attention, 0.0) @ k - mean)
    flat, column = k.reshape(-1, k.shape[2]), even.sum(axis=1).ravel()
    own = mean[kept]
    within = (flat * column[:, None]).T @ flat - own.T @ own
    if np.trace(within) <= SAME * np.sum(own**2):
        within = np.zeros_like(within)
    groups = np.broadcast_to(np.asarray(group)[:, None], kept.shape)
    few, elsewhere = int((many < 2).sum()), int(((many > 1) & ~kept).sum())
    return Choices(q[kept], d[kept], groups[kept], chosen.share[kept], within, few, elsewhere)


def _check_finite(x: np.ndarray, what: str) -> None:
    bad = int((~np.isfinite(x)).any(axis=2).sum())
    if bad:
        raise ContrastError(f"{bad:,} of {x.shape[0] * x.shape[1]:,} {what} hold NaN or infinite values")


class Choosing(NamedTuple):
    """How b prompts' queries choose among their keys.

    attention: (b, i, j) over the keys at hand alone, of which it sums to 1. share: (b, i) of the whole row's attention
    on them, NaN where it is not known. kept: (b, i) bool, whether the query has a choice: two keys at hand,
    and at least LEAST of its attention on them.
    """

    attention: np.ndarray
    share: np.ndarray
    kept: np.ndarray


def choosing(
    q: np.ndarray,
    k: np.ndarray,
    seen: np.ndarray,
    scaling: float,
    softcap: float | None = None,
    logsumexp: np.ndarray | None = None,
) -> Choosing:
    """Return how the queries of b prompts choose among their keys; arguments as in `choices`."""
    many = seen.sum(axis=2)
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    logit = np.where(seen, capped(scaling * (q @ k.swapaxes(1, 2)), softcap), -np.inf)
    top = np.where(many > 0, logit.max(axis=2, initial=-np.inf), 0.0)
    weight = np.exp(logit - top[:, :, None])  # (b, i, j)
    total = weight.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.full(many.shape, np.nan) if logsumexp is None else total * np.exp(top - logsumexp)
        attention = weight / total[:, :, None]
    return Choosing(attention, share, (many > 1) & ~(share < LEAST))
