"""Query-side swaps: a query takes on, in a feature's subspace, the coordinates of one that looks for the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from qkstore import contrast, target
from qkstore.analysis import Contrasts, Intervention, conditions, judge_split, subspaces
from qkstore.errors import ContrastError
from qkstore.intervention import swap_query
from qkstore.run import Layer, Run
from qkstore.score import capped


@dataclass(frozen=True)
class QueryIntervention(Intervention):
    """Swaps of queries, as qkstore.analysis.Intervention has them of keys.

    stored: mean share of a query's attention that falls on stored keys, among which attention is taken; 1 where every
    key is stored.
    """

    stored: float = 1.0

    def to_dict(self) -> dict:
        return super().to_dict() | {"stored": self.stored}


def intervene(
    run: Run, features: dict[str, Contrasts], layer: int, head: int, n_random: int = 10, most: int = 1000, seed: int = 0
) -> QueryIntervention:
    """Swap query coordinates in each feature's subspace, in all together, and in random ones of each rank.

    The other query looks for what the target key is: its labels say of itself what the target's labels say of the
    target, in every feature. Queries, originals and targets are those of qkstore.analysis.intervene, as far as such a
    query exists. Raises ContrastError where none does.
    """
    facts, split = run.layer(layer, head), judge_split(run)
    contrasts = tuple(c for members in features.values() for c in members)
    targets = target.draw(run, contrasts, split, most, seed).visible(run, facts)
    other, kept = _partners(
        run, targets, {contrast.labels(run, members[0]) for members in features.values()}, split, seed
    )
    targets = target.Targets(targets.query[kept], targets.original[kept], targets.target[kept])
    swap_in, stored = _swapper(run, facts, targets, other, layer, head)
    found = conditions(subspaces(run, features, layer, head), swap_in, run.d_head, n_random, seed, side="U")
    return QueryIntervention(len(targets), split, found, int((~kept).sum()), seed, stored)


def _partners(
    run: Run, targets: target.Targets, pairs: set[tuple[str, str]], split: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A query row for each target whose labels fit it, drawn at random, and which targets (n,) bool have one."""
    q_labels, k_labels = zip(*sorted(pairs))
    every = np.arange(run.n_queries)
    queries = pl.from_arrow(run.labels("q", [*dict.fromkeys(q_labels), "split"], every)).with_columns(
        other=pl.Series(every)
    )
    queries = queries.filter(pl.col("split") == split) if split else queries
    wanted = pl.from_arrow(run.labels("k", list(dict.fromkeys(k_labels)), targets.target)).with_row_index("place")
    names = [f"label{i}" for i in range(len(q_labels))]
    queries = queries.select("other", **{name: pl.col(q).cast(pl.String) for name, q in zip(names, q_labels)})
    wanted = wanted.select("place", **{name: pl.col(k).cast(pl.String) for name, k in zip(names, k_labels)})
    found = wanted.join(queries, on=names)
    found = found.with_columns(dice=np.random.default_rng(seed).random(len(found))).sort("place", "dice")
    found = found.unique("place", keep="first", maintain_order=True)
    kept = np.zeros(len(targets), bool)
    kept[found["place"].to_numpy()] = True
    if not kept.any():
        said = ", ".join(f"{q} = {k}" for q, k in sorted(pairs))
        raise ContrastError(
            f"no query of the {split or 'whole'} split looks for any target key ({said}), "
            "so there is nothing to swap queries with"
        )
    return found["other"].to_numpy(), kept


def _swapper(run: Run, facts: Layer, targets: target.Targets, other: np.ndarray, layer: int, head: int):
    """U → Swap, and the mean share of attention on stored keys."""
    prompts = run.key_places[0]
    assert (np.diff(prompts) >= 0).all(), "key rows run through the prompts in order"
    own = run.query_places[0][targets.query]
    first, last = np.searchsorted(prompts, own), np.searchsorted(prompts, own, side="right")
    rows = first[:, None] + np.arange((last - first).max())  # (n, m)
    there = rows < last[:, None]
    rows = np.where(there, rows, first[:, None])
    seen = there & run.attended(facts, np.repeat(targets.query, rows.shape[1]), rows.ravel()).reshape(rows.shape)
    every, place = np.unique(rows, return_inverse=True)
    K = run.keys(layer, head, every)[place.reshape(rows.shape)]
    q, q_other = run.queries(layer, head, targets.query), run.queries(layer, head, other)
    logits = capped(facts.scaling * np.einsum("nd,nmd->nm", q, K, dtype=np.float64), facts.softcap)
    held = np.where(seen, np.exp(logits - run.logsumexp(layer, head, targets.query)[:, None]), 0).sum(axis=1)
    columns = targets.original - first, targets.target - first
    return lambda U: swap_query(q, q_other, K, seen, *columns, U, facts.scaling, facts.softcap), float(held.mean())
