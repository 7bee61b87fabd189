"""Evidence: what ΔC of one contrast in one head amounts to, beside its null, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.analysis import build_split
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import Counts, p_value
from qkstore.interval import Moments, moments
from qkstore.rank import LEAST, Rank, ranks, units
from qkstore.run import Run

DEALS = 39  # of signs: the least p-value is 1 in 40


@dataclass(frozen=True)
class Evidence:
    """One head under one contrast, from the pairs counted here.

    rank: the three ranks; None with too few queries to test them. null: 95 % quantile of ‖ΔC‖ when signs are dealt at
    random among each query's keys; None where no query has both signs. gap: mean logit on positive keys less that on
    negative keys, with its 95 % interval (for a centred contrast: what varying queries make of it).
    """

    rank: Rank | None
    moments: Moments
    null: float | None
    p_value: float | None
    scaling: float
    counts: Counts
    split: str | None

    @property
    def gap(self) -> tuple[float, tuple[float, float]]:
        trace = self.moments.trace
        return self.scaling * trace.value, (self.scaling * trace.low, self.scaling * trace.high)

    @property
    def n(self) -> int:
        """Queries."""
        return self.counts.n_q

    @property
    def strength(self) -> float | None:
        """‖ΔC‖ over its null's 95 % quantile."""
        return self.moments.norm.value / self.null if self.null else None


def evidence(run: Run, contrast: Contrast, layer: int, head: int, seed: int = 0) -> Evidence:
    """On the split that subspaces are built on. Raises ContrastError on an empty side."""
    facts, split = run.layer(layer, head), build_split(run)
    found = pairs(run, contrast, split)
    query_rows, key_rows, local = found.localise()
    q, k = run.queries(layer, head, query_rows), run.keys(layer, head, key_rows)
    x, c = units(q, k, local, centred=contrast.centring == "queries", summed=contrast.weighting == "sum")
    both = np.intersect1d(local.query[local.positive], local.query[local.negative])
    norms = contrast.null(local, DEALS, seed).norms(q, k) if len(both) else None
    norm = float(np.linalg.norm(contrast.fitter(run.d_head).update(q, k, local).delta))
    high, p = (None, None) if norms is None else (float(np.quantile(norms, 0.95)), p_value(norm, norms))
    return Evidence(
        ranks(x, c, seed=seed) if len(x) >= LEAST else None,
        moments(x, c, seed),
        high,
        p,
        facts.scaling,
        found.counts,
        split,
    )
