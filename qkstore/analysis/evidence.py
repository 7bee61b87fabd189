"""Evidence: what ΔC of one contrast in one head amounts to, beside its null, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore.analysis.asked import label_null
from qkstore.analysis.head import Contrasts, Head
from qkstore.contrast import Contrast, labels
from qkstore.covariance import Counts
from qkstore.errors import ContrastError
from qkstore.interval import Moments, moments
from qkstore.null import Tested
from qkstore.rank import LEAST, Canonical, Rank, canonical, ranks
from qkstore.run import Run
from qkstore.subspace import overlap, principal_angles, rank
from qkstore.text import split_name

DEALS = 39  # of signs: the least p-value is 1 in 40
LABEL_DEALS = 199  # of labels, which cost little


@dataclass(frozen=True)
class Evidence:
    """One head under one contrast, from the pairs counted here.

    rank: the three ranks; None with too few queries to test them. signs: ‖ΔC‖ of centred queries and under dealt signs,
    whether keys depend on the query at all; None where no query has keys of both signs. labels: the gain and under
    dealt labels, whether logits depend on what the query looks for and the key has; None where the contrast has no
    such labels. gap: mean logit on positive keys less that on negative keys, with its 95 % interval (for a centred
    contrast: what varying queries make of it).
    """

    rank: Rank | None
    moments: Moments
    signs: Tested | None
    labels: Tested | None
    scaling: float
    counts: Counts
    split: str | None

    @property
    def null(self) -> float | None:
        """95 % quantile of ‖ΔC‖ of centred queries under dealt signs."""
        return self.signs and self.signs.high

    @property
    def p_value(self) -> float | None:
        """Of the dealt signs."""
        return self.signs and self.signs.p_value

    @property
    def strength(self) -> float | None:
        """‖ΔC‖ of centred queries over its null's 95 % quantile."""
        return self.signs and self.signs.ratio

    @property
    def gap(self) -> tuple[float, tuple[float, float]]:
        trace = self.moments.trace
        return self.scaling * trace.value, (self.scaling * trace.low, self.scaling * trace.high)

    @property
    def n(self) -> int:
        """Queries."""
        return self.counts.n_q


def evidence(run: Run, contrast: Contrast, layer: int, head: int, seed: int = 0) -> Evidence:
    """On the split that subspaces are built on. Raises ContrastError on an empty side."""
    at = Head(run, layer, head)
    data = at.read(contrast)
    labels = label_null(data.rows, LABEL_DEALS, seed)
    return Evidence(
        ranks(*data.units, seed=seed) if len(data.q) >= LEAST else None,
        moments(*data.units, seed),
        data.null(DEALS, seed) if data.dealt else None,
        labels and labels.test(data.q, data.k, at.facts.scaling),
        at.facts.scaling,
        data.counts,
        data.split,
    )


@dataclass(frozen=True)
class Dimension:
    """One head under one contrast, from the pairs counted here, of the split named here."""

    rank: Rank
    canonical: Canonical
    counts: Counts
    split: str | None
    seed: int

    def to_dict(self) -> dict:
        """What `python -m qkstore rank --json` prints."""
        r = self.rank
        return {
            "energy": r.energy,
            "statistical": r.statistical,
            "cross_validated": r.cross_validated,
            "weak": r.weak,
            "sentence": r.sentence,
            "level": r.level,
            "p_values": list(r.p_values),
            "n": r.n,
            "seed": self.seed,
            "canonical": self.canonical.values.tolist(),
            "chance": self.canonical.chance,
            **self.counts._asdict(),
            "split": self.split,
        }


def dimension(run: Run, contrast: Contrast, layer: int, head: int, seed: int = 0) -> Dimension:
    """Ranks and canonical correlations of ΔC in one head, on the split that subspaces are built on.

    Raises ContrastError for an empty side and for too few queries.
    """
    data = Head(run, layer, head).read(contrast)
    return Dimension(ranks(*data.units, seed=seed), canonical(*data.units), data.counts, data.split, seed)


@dataclass(frozen=True)
class Null:
    """‖ΔC‖_F of centred queries as observed and under `norms.size` deals; delta_norm: ‖ΔC‖_F as the contrast has it.

    dealt: False where no query has keys of both signs to deal. ratio: the norm over the null's 95 % quantile.
    """

    norm: float
    norms: np.ndarray
    p_value: float
    ratio: float | None
    dealt: bool
    delta_norm: float


def null(run: Run, contrast: Contrast, layer: int, head: int, n: int = 99, seed: int = 0) -> Null:
    """The null of one head by dealt signs (qkstore.null.SignNull), on the split that subspaces are built on."""
    data = Head(run, layer, head).read(contrast)
    signs = data.null(n, seed)
    return Null(signs.observed, np.array(signs.null), signs.p_value, signs.ratio, data.dealt, data.norm)


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
    by, data = by or labels(run, contrast)[0], Head(run, layer, head).read(contrast)
    told = run.labels("q", [by], data.rows.query)[by].to_numpy(zero_copy_only=False)
    values, of_query = np.unique(told.astype(str), return_inverse=True)
    sizes = _sizes(contrast, by, len(values), data.split, sizes)
    rows = []
    for draw in range(draws):
        # one order a draw: each size holds the smaller one
        place = np.random.default_rng([seed, draw]).permutation(len(values))
        for n in sizes:
            part = data.pairs.where((place[of_query] < n)[data.pairs.query])
            S = np.linalg.svd(data.fit(part).delta, compute_uv=False)
            rows.append({"values": n, "draw": draw, "rank": rank(S), "queries": part.counts.n_q})
    return Growth(pl.DataFrame(rows), by, len(values), data.split)


def _sizes(contrast: Contrast, by: str, total: int, split: str | None, wanted: list[int] | None) -> list[int]:
    """The numbers of values that are tried: those wanted, or 2, 4, 8, … and all."""
    if total < 2:
        raise ContrastError(
            f"the queries of contrast {contrast.name!r} have one value of {by!r} "
            f"on the {split_name(split)} split: nothing grows"
        )
    wrong = [n for n in wanted or [] if not 1 <= n <= total]
    if wrong:
        raise ContrastError(f"{wrong[0]} values of {by!r}: there are 1 to {total}")
    return wanted or [*(2**i for i in range(1, total.bit_length()) if 2**i < total), total]


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
    at = Head(run, layer, head)
    A, B = at.subspace(a), at.subspace(b)
    rows = [
        {"side": side, "index": i + 1, "angle": float(angle)}
        for side, left, right in (("query", A.U, B.U), ("key", A.V, B.V))
        for i, angle in enumerate(np.degrees(principal_angles(left, right)))
    ]
    return Comparison(
        (A.rank, B.rank), pl.DataFrame(rows), overlap(A.U, B.U), overlap(A.V, B.V), max(A.rank, B.rank) / run.d_head
    )
