"""Distribution: each query's logit gap, positive key less the mean of its others, split by feature (eq. 13–15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.analysis import Contrasts, judge_split, subspace
from qkstore.attribution import components
from qkstore.contrast import Contrast, pairs
from qkstore.rank import units
from qkstore.run import Run
from qkstore.score import bootstrap
from qkstore.subspace import Subspace


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


def gaps(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    over: Contrast,
    order: Sequence[str] | None = None,
    seed: int = 0,
) -> Distribution:
    """The gaps of `over`'s queries on the judged split, in subspaces built on the other.

    Raises ContrastError for an empty side.
    """
    facts, split = run.layer(layer, head), judge_split(run)
    spaces = {name: subspace(run, contrasts, layer, head) for name, contrasts in features.items()}
    query_rows, key_rows, local = pairs(run, over.replace(weighting="query", centring="none"), split).localise()
    x, c = units(run.queries(layer, head, query_rows), run.keys(layer, head, key_rows), local)
    return distribution(x, c, spaces, facts.scaling, order, seed, split)
