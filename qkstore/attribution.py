"""Attribution: how much of an attention logit each feature's subspace explains, and how much none does (eq. 13–15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np

from qkstore.errors import ContrastError
from qkstore.interval import bootstrap
from qkstore.subspace import Subspace, random

REST = "rest"


@dataclass(frozen=True)
class Attribution:
    """logit: (T,) before the softmax and before any soft-cap.

    parts: {feature: (T,)} in the order of projection, then "rest"; they sum to the logit.
    """

    logit: np.ndarray
    parts: dict[str, np.ndarray]


def attribute(
    q: np.ndarray, K: np.ndarray, subspaces: Mapping[str, Subspace], scaling: float, order: Sequence[str] | None = None
) -> Attribution:
    """The logits of one query q: (d,) on its keys K: (T, d), split by feature.

    What two features share counts towards the one projected first: by default the one of smaller rank in query space;
    `order` names another order. A soft-capped model's logits are not linear in q, so the parts sum to the logit before
    the cap.
    """
    K = np.asarray(K, np.float64)
    parts = {name: scaling * (K @ part[0]) for name, part in components(np.atleast_2d(q), subspaces, order).items()}
    return Attribution(scaling * (K @ np.asarray(q, np.float64)), parts)


def components(
    q: np.ndarray, subspaces: Mapping[str, Subspace], order: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """q: (n, d) as a sum of one (n, d) per feature and the rest, each projected from what the ones before it left."""
    left, parts = np.asarray(q, np.float64), {}
    for name in _ordered(subspaces, order):
        U = subspaces[name].U
        parts[name] = left @ U @ U.T
        left = left - parts[name]
    return parts | {REST: left}


@dataclass(frozen=True)
class Shares:
    """Of the logit gap between positive and negative keys, the share that each feature explains; shares sum to 1.

    gap: mean logit on positive keys less that on negative keys. share: {feature: value} in `order`, then "rest"; a
    share may be below 0 or above 1 where parts oppose each other, and is None when the gap is 0. by_order: the same for
    every order of projection, {"order, lexical": {…}}, for 2 or 3 features. random: {feature: (mean, standard
    deviation)} over random subspaces of the same ranks: what the rank alone explains.
    """

    gap: float
    order: tuple[str, ...]
    share: dict[str, float | None]
    by_order: dict[str, dict[str, float | None]]
    random: dict[str, tuple[float, float] | None]

    def to_dict(self) -> dict:
        return asdict(self)


def shares(
    delta: np.ndarray,
    subspaces: Mapping[str, Subspace],
    scaling: float,
    n_random: int = 10,
    seed: int = 0,
    order: Sequence[str] | None = None,
) -> Shares:
    """Shares over all prompts behind delta: (d, d), the (uncentred) ΔC of the pairs to be explained.

    E[q·k | +] = tr C+, so the gap is scaling · tr ΔC; a part of the query is linear in it, q_f = A_f q, so its gap is
    scaling · tr(A_f ΔC). No pair is looked at again, however many there are; ΔC says how they are weighted.
    """
    order = _ordered(subspaces, order)
    orders = list(permutations(order)) if 2 <= len(order) <= 3 else []
    gap, d, rng = scaling * float(np.trace(delta)), len(delta), np.random.default_rng(seed)
    drawn = [
        _share(delta, {name: random(d, subspaces[name].U.shape[1], rng) for name in order}, order)
        for _ in range(n_random)
    ]
    by_order = {", ".join(o): _share(delta, subspaces, o) for o in orders}
    by_chance = _spread(drawn) if gap and drawn else dict.fromkeys((*order, REST))
    return Shares(gap, order, _share(delta, subspaces, order), by_order, by_chance)


def _share(delta: np.ndarray, subspaces: Mapping[str, Subspace], order: Sequence[str]) -> dict[str, float | None]:
    gap = np.trace(delta)
    parts = components(delta.T, subspaces, order)  # row j: the part of Σ q k_j, so its trace is E[q_f · k]
    return {name: float(np.trace(part) / gap) if gap else None for name, part in parts.items()}


def _spread(drawn: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    values = {name: [d[name] for d in drawn] for name in drawn[0]}
    return {name: (float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else 0.0) for name, v in values.items()}


def _ordered(subspaces: Mapping[str, Subspace], order: Sequence[str] | None) -> tuple[str, ...]:
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
    """gap: (n,) logit of each query's positive key less the mean logit of its negative ones.

    parts: {feature: (n,)}, then "rest"; they sum to the gap. share: {feature: mean part ÷ mean gap}, None where the gap
    is 0. ci: 95 % intervals of the shares, by bootstrap over queries.
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
    """The gaps of queries q: (n, d), split by feature.

    difference: (n, d), a query's positive key less the mean of its others. `order` as in qkstore.attribution.
    """
    q, difference = np.asarray(q, np.float64), np.asarray(difference, np.float64)
    parts = {
        name: scaling * np.einsum("nd,nd->n", part, difference) for name, part in components(q, spaces, order).items()
    }
    gap = scaling * np.einsum("nd,nd->n", q, difference)
    drawn = bootstrap(np.column_stack([gap, *parts.values()]), seed)
    whole, known = float(gap.mean()), bool(np.all(drawn[:, 0] != 0))
    share = {name: float(part.mean()) / whole if whole else None for name, part in parts.items()}
    ends = np.quantile(drawn[:, 1:] / drawn[:, :1], [0.025, 0.975], axis=0) if known else np.empty((2, 0))
    ci = {name: (float(ends[0, i]), float(ends[1, i])) if known else None for i, name in enumerate(parts)}
    return Distribution(gap, parts, share, ci, split)
