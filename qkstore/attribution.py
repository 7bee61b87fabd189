"""Attribution: how much of an attention logit each feature's subspace explains, and how much is left (eq. 13–15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np

from qkstore.errors import ContrastError
from qkstore.interval import bootstrap
from qkstore.subspace import Subspace, random

REST = "rest"  # the name of what the features leave unexplained


@dataclass(frozen=True)
class Attribution:
    """The logits of one query on T keys, split by feature.

    logit: (T,) scaled, before any soft-cap. parts: {feature: (T,)} in the order of projection, then "rest"; they sum to
    the logit.
    """

    logit: np.ndarray
    parts: dict[str, np.ndarray]


def attribute(
    q: np.ndarray, K: np.ndarray, subspaces: Mapping[str, Subspace], scaling: float, order: Sequence[str] | None = None
) -> Attribution:
    """Split the logits of one query q: (d,) on keys K: (T, d) by the features' subspaces in query space (eq. 13–15).

    What two features share counts towards the one projected first. `order` names every feature once; by default the
    smaller rank in query space comes first. scaling: the model's own. A soft-cap is not linear in q, so the parts sum
    to the logit before it. Raises ContrastError for any other order and for a feature called "rest".
    """
    K = np.asarray(K, np.float64)
    parts = {name: scaling * (K @ part[0]) for name, part in components(np.atleast_2d(q), subspaces, order).items()}
    return Attribution(scaling * (K @ np.asarray(q, np.float64)), parts)


def components(
    q: np.ndarray, subspaces: Mapping[str, Subspace], order: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Split queries q: (n, d) into one (n, d) for each feature and "rest", which sum to q (eq. 13, 14).

    Each feature takes its projection U Uᵀ of what those before it in `order` left; see `attribute`.
    """
    left, parts = np.asarray(q, np.float64), dict[str, np.ndarray]()
    for name in _ordered(subspaces, order):
        U = subspaces[name].U
        parts[name] = left @ U @ U.T
        left = left - parts[name]
    return parts | {REST: left}


@dataclass(frozen=True)
class Shares:
    """The share of the logit gap between positive and negative keys that each feature explains.

    gap: mean logit on positive keys less the mean logit on negative keys. share: {feature: value} in `order`, then
    "rest"; they sum to 1. One may be below 0 or above 1 where parts oppose each other; all are None where the gap is 0.
    by_order: the same for every order of projection, {"order, lexical": {…}}, for 2 or 3 features, else empty. random:
    {feature: (mean, standard deviation)} over random subspaces of the same ranks, which is what rank alone explains;
    None without a gap or draws.
    """

    gap: float
    order: tuple[str, ...]
    share: dict[str, float | None]
    by_order: dict[str, dict[str, float | None]]
    random: dict[str, tuple[float, float] | None]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def shares(
    delta: np.ndarray,
    subspaces: Mapping[str, Subspace],
    scaling: float,
    n_random: int = 10,
    seed: int = 0,
    order: Sequence[str] | None = None,
) -> Shares:
    """Return the shares over all pairs behind delta: (d, d), their uncentred ΔC, weighted as they are there.

    E[q·k | +] = tr C+, so the gap is scaling · tr ΔC. A feature's part of a query is linear in it, q_f = A_f q, so that
    part's gap is scaling · tr(A_f ΔC), and no pair is read again. n_random: random subspaces drawn for each feature, by
    `seed`. order and errors: as for `attribute`.
    """
    order = _ordered(subspaces, order)
    orders = list(permutations(order)) if 2 <= len(order) <= 3 else []
    gap, d, rng = scaling * float(np.trace(delta)), len(delta), np.random.default_rng(seed)
    names = (*order, REST)
    if not gap:
        unknown = {", ".join(o): dict.fromkeys((*o, REST)) for o in orders}
        return Shares(gap, order, dict.fromkeys(names), unknown, dict.fromkeys(names))
    drawn = [
        _share(delta, {name: random(d, subspaces[name].U.shape[1], rng) for name in order}, order)
        for _ in range(n_random)
    ]
    by_order = {", ".join(o): _share(delta, subspaces, o) for o in orders}
    by_chance = _spread(drawn) if drawn else dict.fromkeys(names)
    return Shares(gap, order, _share(delta, subspaces, order), by_order, by_chance)


def _share(delta: np.ndarray, subspaces: Mapping[str, Subspace], order: Sequence[str]) -> dict[str, float | None]:
    """{feature: its part of tr ΔC} of a ΔC whose trace is not 0."""
    parts = components(delta.T, subspaces, order)  # row j: the part of Σ q k_j, so its trace is E[q_f · k]
    return {name: float(np.trace(part) / np.trace(delta)) for name, part in parts.items()}


def _spread(drawn: list[dict[str, float | None]]) -> dict[str, tuple[float, float] | None]:
    """{feature: (mean, standard deviation)}."""
    values = {name: [value for d in drawn if (value := d[name]) is not None] for name in drawn[0]}
    return {name: (float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else 0.0) for name, v in values.items()}


def _ordered(subspaces: Mapping[str, Subspace], order: Sequence[str] | None) -> tuple[str, ...]:
    """The order of projection: as given, once it names each feature once, or smaller ranks first."""
    if REST in subspaces:
        raise ContrastError(f"no feature can be called {REST!r}: it names what the features leave unexplained")
    order = sorted(subspaces, key=lambda name: subspaces[name].U.shape[1]) if order is None else order
    if sorted(order) != sorted(subspaces):
        raise ContrastError(
            f"an order of projection names each feature once: {', '.join(subspaces)}, not {', '.join(order)}"
        )
    return tuple(order)


@dataclass(frozen=True)
class Distribution:
    """The logit gap of each of n queries, split by feature.

    gap: (n,) logit of the query's positive key less the mean logit of its negative ones. parts: {feature: (n,)}, then
    "rest"; they sum to the gap. share: {feature: mean part ÷ mean gap}, None where the mean gap is 0. ci: 95 %
    intervals of the shares, by bootstrap over queries; None where a resample's gap is 0, and of one query. split: whose
    queries these are; None for all.
    """

    gap: np.ndarray
    parts: dict[str, np.ndarray]
    share: dict[str, float | None]
    ci: dict[str, tuple[float, float] | None]
    split: str | None = None


def distribution(
    q: np.ndarray,
    difference: np.ndarray,
    spaces: Mapping[str, Subspace],
    scaling: float,
    order: Sequence[str] | None = None,
    seed: int = 0,
    split: str | None = None,
) -> Distribution:
    """Split the logit gap of each query of q: (n, d) by feature (eq. 13–15).

    difference: (n, d), each query's positive key less the mean of its negative ones. scaling, order and errors: as for
    `attribute`. seed: of the bootstrap. split: kept in the result.
    """
    q, difference = np.asarray(q, np.float64), np.asarray(difference, np.float64)
    parts = {
        name: scaling * np.einsum("nd,nd->n", part, difference) for name, part in components(q, spaces, order).items()
    }
    gap = scaling * np.einsum("nd,nd->n", q, difference)
    drawn = bootstrap(np.column_stack([gap, *parts.values()]), seed)
    whole, known = float(gap.mean()), len(gap) > 1 and bool(np.all(drawn[:, 0] != 0))
    share = {name: float(part.mean()) / whole if whole else None for name, part in parts.items()}
    ends = np.quantile(drawn[:, 1:] / drawn[:, :1], [0.025, 0.975], axis=0) if known else np.empty((2, 0))
    ci = {name: (float(ends[0, i]), float(ends[1, i])) if known else None for i, name in enumerate(parts)}
    return Distribution(gap, parts, share, ci, split)
