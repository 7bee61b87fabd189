"""From a run and a contrast to its covariance, subspace, head scores, projection, swaps and attribution.

Everything is built on the train split and judged on the test split, where a run has them; each result says which
prompts it comes from, and how many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore.contrast import Contrast, pairs
from qkstore.covariance import ContrastiveCovariance, Counts
from qkstore.run import Run
from qkstore.score import pair_logits
from qkstore.subspace import Subspace, union

Contrasts = tuple[Contrast, ...]


def build_split(run: Run) -> str | None:
    """The split that subspaces are built on: train, or every prompt of a run without one."""
    return "train" if "train" in run.splits else None


def judge_split(run: Run) -> str | None:
    """The split that results are judged on: test, or else the one they were built on."""
    return "test" if "test" in run.splits else build_split(run)


@dataclass(frozen=True)
class Covariance:
    """ΔC of one head with its subspace (99 % rank unless one was asked for) and the pairs it comes from."""

    covariance: ContrastiveCovariance
    subspace: Subspace
    counts: Counts
    split: str | None

    @property
    def delta(self) -> np.ndarray:
        return self.covariance.delta

    def arrays(self) -> dict[str, np.ndarray]:
        """What `python -m qkstore covariance --out` writes."""
        c, s = self.covariance, self.subspace
        return dict(
            C_pos=c.C_pos, C_neg=c.C_neg, delta=c.delta, U=s.U, S=s.S, V=s.V, n_pos=c.n_pos, n_neg=c.n_neg, rank=s.rank
        )


def covariance(
    run: Run, contrast: Contrast, layer: int, head: int, rank: int | None = None, split: str | None = "build"
) -> Covariance:
    """C+, C− and ΔC (eq. 5, 6) of one head with the SVD of ΔC (eq. 7). Raises ContrastError on an empty side."""
    run.layer(layer, head)
    split = build_split(run) if split == "build" else split
    found = pairs(run, contrast, split)
    fitter = fit(run, contrast, layer, head, *found.localise())
    return Covariance(fitter, Subspace.of(fitter.delta, rank), found.counts, split)


def fit(run: Run, contrast: Contrast, layer: int, head: int, query_rows, key_rows, local) -> ContrastiveCovariance:
    """The covariance of one head from pairs that are localised already."""
    q, k = run.queries(layer, head, query_rows), run.keys(layer, head, key_rows)
    return contrast.fitter(run.d_head).update(q, k, local)


def subspace(run: Run, contrasts: Contrasts, layer: int, head: int, rank: int | None = None) -> Subspace:
    """The subspace of a contrast, or the span of several; built on the train split."""
    parts = [covariance(run, c, layer, head, rank).subspace for c in contrasts]
    return parts[0] if len(parts) == 1 else union(parts)


def subspaces(
    run: Run, features: dict[str, Contrasts], layer: int, head: int, ranks: dict[str, int] | None = None
) -> dict[str, Subspace]:
    """The subspace of each feature, and where there are several the span of all, under their names joined by +."""
    spaces = {
        name: subspace(run, contrasts, layer, head, (ranks or {}).get(name)) for name, contrasts in features.items()
    }
    return spaces | ({"+".join(spaces): union(list(spaces.values()))} if len(spaces) > 1 else {})


def spectrum(S: np.ndarray, rank: int) -> pl.DataFrame:
    """Singular values with the share of ‖ΔC‖² that they and those before them hold."""
    held = np.cumsum(np.square(S, dtype=np.float64))
    return pl.DataFrame(
        {
            "index": np.arange(1, len(S) + 1),
            "value": S,
            "held": held / held[-1] if held[-1] else held,
            "kept": np.arange(len(S)) < rank,
        }
    )


def matrices(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The three matrices of a contrast by their names in the paper."""
    return {"C+": arrays["C_pos"], "C−": arrays["C_neg"], "ΔC": arrays["delta"]}


def pair_arrays(run: Run, contrast: Contrast, layer: int, head: int, split: str | None = None) -> dict[str, np.ndarray]:
    """q (n, d_head), k (m, d_head), their row numbers, and the pairs as positions in them.

    This is what a notebook starts from.
    """
    run.layer(layer, head)
    query_rows, key_rows, local = pairs(run, contrast, split).localise()
    return dict(
        q=run.queries(layer, head, query_rows),
        k=run.keys(layer, head, key_rows),
        query_rows=query_rows,
        key_rows=key_rows,
        query=local.query,
        key=local.key,
        sign=local.sign,
        weight=local.weight,
    )


def pair_table(run: Run, contrast: Contrast, layer: int, head: int, split: str | None = None) -> pl.DataFrame:
    """One row for each pair: rows, sign, weight, logit, attention (NULL across prompts), and all labels of both sides.

    The labels' columns are q_… and k_….
    """
    facts = run.layer(layer, head)
    found = pairs(run, contrast, split)
    query_rows, key_rows, local = found.localise()
    logit = pair_logits(
        run.queries(layer, head, query_rows), run.keys(layer, head, key_rows), local, facts.scaling, facts.softcap
    )
    seen = run.attended(facts, found.query, found.key)
    attention = np.where(seen, np.exp(logit - run.logsumexp(layer, head, found.query)), np.nan)
    sides = [
        pl.from_arrow(run.labels(side, run.columns[side], rows)).rename(lambda name, side=side: f"{side}_{name}")
        for side, rows in (("q", found.query), ("k", found.key))
    ]
    own = pl.DataFrame({"sign": found.sign, "weight": found.weight, "logit": logit, "attention": attention})
    return pl.concat([own.with_columns(pl.col("attention").fill_nan(None)), *sides], how="horizontal")
