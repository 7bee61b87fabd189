"""Distribution: each query's logit gap, positive key less the mean of its others, split by feature (eq. 13–15)."""

from __future__ import annotations

from collections.abc import Sequence

from qkstore.analysis import Contrasts, judge_split, subspace
from qkstore.attribution import Distribution, distribution
from qkstore.contrast import Contrast, pairs
from qkstore.rank import units
from qkstore.run import Run


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
