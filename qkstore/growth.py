"""Growth: the rank of a contrast against the number of values of its label that go into it (the paper's Fig. 16)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from qkstore import contrast as qkstore_contrast
from qkstore.analysis import build_split
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import Pairs
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.subspace import rank


@dataclass(frozen=True)
class Growth:
    """table: one row for each number of values and draw, with the columns values, draw, rank (99 %) and queries.

    values: how many values; queries: how many went in. label: the query's label whose values are counted, of which
    there are `total`.
    """

    table: pl.DataFrame
    label: str
    total: int
    split: str | None


def growth(
    run: Run,
    contrast: Contrast,
    layer: int,
    head: int,
    by: str | None = None,
    sizes: list[int] | None = None,
    draws: int = 5,
    seed: int = 0,
) -> Growth:
    """The 99 % rank of ΔC from the queries whose label is among 2, 4, 8, … of its values, drawn anew `draws` times.

    by: a label of queries; the contrast's own by default. Raises ContrastError where it has fewer than two values.
    """
    by, split = by or qkstore_contrast.labels(run, contrast)[0], build_split(run)
    query_rows, key_rows, local = pairs(run, contrast, split).localise()
    q, k = run.queries(layer, head, query_rows), run.keys(layer, head, key_rows)
    values, of_query = np.unique(
        run.labels("q", [by], query_rows)[by].to_numpy(zero_copy_only=False).astype(str), return_inverse=True
    )
    if len(values) < 2:
        raise ContrastError(
            f"the queries of contrast {contrast.name!r} have one value of {by!r} "
            f"on the {split or 'whole'} split: nothing grows"
        )
    sizes = sizes or [*(2**i for i in range(1, len(values).bit_length()) if 2**i < len(values)), len(values)]
    wrong = [n for n in sizes if not 1 <= n <= len(values)]
    if wrong:
        raise ContrastError(f"{wrong[0]} values of {by!r}: there are 1 to {len(values)}")
    rows = []
    for draw in range(draws):
        place = np.random.default_rng([seed, draw]).permutation(
            len(values)
        )  # one order a draw: each size holds the smaller one
        for n in sizes:
            part = _of(local, place[of_query] < n)
            S = np.linalg.svd(contrast.fitter(run.d_head).update(q, k, part).delta, compute_uv=False)
            rows.append({"values": n, "draw": draw, "rank": rank(S), "queries": part.counts.n_q})
    return Growth(pl.DataFrame(rows), by, len(values), split)


def _of(every: Pairs, kept: np.ndarray) -> Pairs:
    """The pairs of the queries that are kept: (n,) bool."""
    chosen = kept[every.query]
    return replace(
        every, query=every.query[chosen], key=every.key[chosen], sign=every.sign[chosen], weight=every.weight[chosen]
    )
