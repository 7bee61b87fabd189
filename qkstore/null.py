"""The permutation null of one head: how large ΔC gets when the signs are dealt at random among each query's keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.analysis import build_split
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import p_value
from qkstore.run import Run


@dataclass(frozen=True)
class Null:
    """‖ΔC‖_F as observed and under `norms.size` deals. dealt: False where no query has keys of both signs to deal."""

    norm: float
    norms: np.ndarray
    p_value: float
    ratio: float | None
    dealt: bool


def null(run: Run, contrast: Contrast, layer: int, head: int, n: int = 99, seed: int = 0) -> Null:
    """The null of one head, on the split that subspaces are built on.

    ratio: the norm over the null's 95 % quantile.
    """
    run.layer(layer, head)
    found = pairs(run, contrast, build_split(run))
    query_rows, key_rows, local = found.localise()
    q, k = run.queries(layer, head, query_rows), run.keys(layer, head, key_rows)
    norms = contrast.null(local, n, seed).norms(q, k)
    norm = float(np.linalg.norm(contrast.fitter(run.d_head).update(q, k, local).delta))
    high = float(np.quantile(norms, 0.95))
    both = np.intersect1d(local.query[local.positive], local.query[local.negative])
    return Null(norm, norms, p_value(norm, norms), norm / high if high else None, len(both) > 0)
