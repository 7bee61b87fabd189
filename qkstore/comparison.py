"""The comparison of two features' subspaces in one head: angles between them, how much of one lies in the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore.analysis import Contrasts, subspace
from qkstore.run import Run
from qkstore.subspace import overlap, principal_angles


@dataclass(frozen=True)
class Comparison:
    """angles: a row a pair of principal directions, in degrees (side, index, angle). overlap_*: mean squared cosine.

    expected: what two random subspaces of these ranks overlap.
    """

    ranks: tuple[int, int]
    angles: pl.DataFrame
    overlap_query: float
    overlap_key: float
    expected: float


def compare(run: Run, a: Contrasts, b: Contrasts, layer: int, head: int) -> Comparison:
    """The subspaces of two features, each built on the train split with its 99 % rank."""
    A, B = subspace(run, a, layer, head), subspace(run, b, layer, head)
    rows = [
        {"side": side, "index": i + 1, "angle": float(angle)}
        for side, left, right in (("query", A.U, B.U), ("key", A.V, B.V))
        for i, angle in enumerate(np.degrees(principal_angles(left, right)))
    ]
    return Comparison(
        (A.rank, B.rank), pl.DataFrame(rows), overlap(A.U, B.U), overlap(A.V, B.V), max(A.rank, B.rank) / run.d_head
    )
