"""Swaps in closed form: two keys exchange coordinates in a feature's subspace, or a query takes on another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Literal, TypeVar

import numpy as np
import polars as pl

from qkstore.analysis.choice import caution
from qkstore.analysis.head import Contrasts, Head, judge_split
from qkstore.analysis.targets import Targets, own_keys, partners, visible_targets
from qkstore.contrast import labels
from qkstore.intervention import (
    Condition,
    Swap,
    Swapper,
    beyond,
    features_and_randoms,
    random_summary,
    summary,
    swap_query,
)
from qkstore.run import Run
from qkstore.score import capped
from qkstore.subspace import Subspace, random
from qkstore.text import SPACE, counted, estimate, number, percent

Side = Literal["keys", "queries"]
SwapIn = Callable[[Sequence[np.ndarray]], list[Swap]]
T = TypeVar("T")
TITLES = {
    "original_before": "Original before",
    "target_before": "Target before",
    "original_after": "Original after",
    "target_after": "Target after",
    "delta_p": "Target gains",
    "flip_rate": "Flip rate",
}
ONE = "; one query gives no interval"
UNCLEAR = "; an interval that holds 0 or less is no evidence that it moves more than any subspace does"
GAPS = {"gap_before": "Gap before", "gap_after": "Gap after", "gap_gain": "Gap moves"}  # in logits


@dataclass(frozen=True)
class Intervention:
    """Swaps of one head: every condition moves the attention of the same n queries between the same two keys.

    hidden: queries that were left out (see `left_out`).
    """

    n: int
    split: str | None
    conditions: list[Condition]
    hidden: int = 0
    seed: int = 0

    def to_dict(self) -> dict:
        return {
            "n": self.n,
            "split": self.split,
            "hidden": self.hidden,
            "seed": self.seed,
            "conditions": [c.to_dict() for c in self.conditions],
        }


@dataclass(frozen=True)
class QueryIntervention(Intervention):
    """Swaps of queries, as Intervention has them of keys.

    stored: mean share of a query's attention that falls on stored keys, among which attention is taken; 1 where every
    key is stored.
    """

    stored: float = 1.0

    def to_dict(self) -> dict:
        return super().to_dict() | {"stored": self.stored}


def intervene(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    n_random: int = 10,
    most: int = 1000,
    seed: int = 0,
    ranks: dict[str, int] | None = None,
) -> Intervention:
    """Swap key coordinates (eq. 8–10) in each feature's subspace, in all together, and in random ones of each rank.

    Closed form, from the stored vectors and log-sum-exps: it equals a re-run of the model with the edit. features:
    {name: contrasts}; most: queries at most, drawn once from the judged split; ranks: {name: where to cut that
    feature's SVD}, 99 % by default. Raises ContrastError where there is nothing to swap.
    """
    at = Head(run, layer, head)
    aimed = aim(at, features, "keys", most, seed)
    swapped = conditions(at.subspaces(features, ranks), aimed.swap_in, run.d_head, n_random, seed)
    return Intervention(len(aimed.targets), judge_split(run), swapped, aimed.hidden, seed)


@dataclass(frozen=True)
class Aim:
    """The queries and keys that swaps of one head move attention between: the same for every subspace.

    swap_in: bases (d_head, r) → Swap of all of them in each. basis: which side's directions it takes, V for keys, U for
    queries. other: (n,) rows of the queries that coordinates come from; None for a swap of keys. hidden, stored: as of
    Intervention and QueryIntervention.
    """

    targets: Targets
    swap_in: SwapIn
    basis: Literal["U", "V"]
    hidden: int
    other: np.ndarray | None = None
    stored: float = 1.0


def aim(at: Head, features: dict[str, Contrasts], side: Side, most: int, seed: int) -> Aim:
    """At most `most` queries of the judged split. Raises ContrastError where there is nothing to swap."""
    run, split = at.run, judge_split(at.run)
    members = tuple(contrast for contrasts in features.values() for contrast in contrasts)
    targets = visible_targets(run, members, [at.facts], split, most, seed)
    if side == "keys":
        return Aim(targets, swapper(at, targets).each, "V", targets.hidden)
    asked = {labels(run, contrasts[0]) for contrasts in features.values()}
    other, kept = partners(run, targets, asked, split, seed)
    swap_in, stored = _query_swapper(at, targets.where(kept), other)
    return Aim(targets.where(kept), swap_in, "U", int((~kept).sum()), other, stored)


def conditions(
    spaces: dict[str, Subspace],
    swap_in: SwapIn,
    d_head: int,
    n_random: int,
    seed: int,
    basis: Literal["U", "V"] = "V",
) -> list[Condition]:
    """One condition for each subspace, then one of each rank that averages `n_random` random subspaces.

    basis: V swaps keys, U queries. The last condition, "random", is the random baseline of the widest subspace.
    """
    features, randoms, last = [], [], list(spaces)[-1]
    for name, B, moved, drawn in swapped_in(spaces, swap_in, d_head, n_random, seed, basis):
        rank = B.shape[1]
        features.append(replace(summary(name, moved, rank, seed), beyond=beyond(moved, drawn, seed)))
        called = "random" if name == last else f"random of {name}'s rank"
        randoms.append(random_summary(called, drawn, rank, seed))
    return features + randoms


def swapped_in(
    spaces: dict[str, Subspace],
    swap_in: SwapIn,
    d_head: int,
    n_random: int,
    seed: int,
    basis: Literal["U", "V"],
) -> Iterator[tuple[str, np.ndarray, Swap, list[Swap]]]:
    """Of each subspace its name, its basis (d_head, r), the swap in it, and those in random subspaces of its rank."""
    rng = np.random.default_rng(seed)
    for name, space in spaces.items():
        B = getattr(space, basis)
        bases = [getattr(random(d_head, B.shape[1], rng), basis) for _ in range(n_random)]
        moved, *drawn = swap_in([B, *bases])
        yield name, B, moved, drawn


def swapper(head: Head, targets: Targets) -> Swapper:
    """Swaps of the targets' keys in one head; vectors are read once."""
    q, logsumexp = head.queries(targets.query), head.logsumexp(targets.query)
    rows, place = np.unique(np.concatenate([targets.original, targets.target]), return_inverse=True)
    original, aimed = np.split(head.keys(rows)[place], 2)  # both are read at once
    return Swapper(q, original, aimed, logsumexp, head.facts.scaling, head.facts.softcap)


def intervene_queries(
    run: Run, features: dict[str, Contrasts], layer: int, head: int, n_random: int = 10, most: int = 1000, seed: int = 0
) -> QueryIntervention:
    """Swap query coordinates in each feature's subspace, in all together, and in random ones of each rank.

    The other query looks for what the target key is: its labels say of itself what the target's labels say of the
    target, in every feature. Queries, originals and targets are those of `intervene`, as far as such a query exists.
    Raises ContrastError where none does.
    """
    at = Head(run, layer, head)
    aimed = aim(at, features, "queries", most, seed)
    swapped = conditions(at.subspaces(features), aimed.swap_in, run.d_head, n_random, seed, basis="U")
    return QueryIntervention(len(aimed.targets), judge_split(run), swapped, aimed.hidden, seed, aimed.stored)


def _query_swapper(head: Head, targets: Targets, other: np.ndarray) -> tuple[SwapIn, float]:
    """Swaps of queries that take on those of the rows `other`, and the mean share of attention on stored keys."""
    rows, first, there = own_keys(head.run, targets.query)
    queries = np.repeat(targets.query, rows.shape[1])
    seen = there & head.attended(queries, rows.ravel()).reshape(rows.shape)
    distinct, place = np.unique(rows, return_inverse=True)
    K = head.keys(distinct)[place.reshape(rows.shape)]
    q, q_other = head.queries(targets.query), head.queries(other)
    scaling, softcap = head.facts.scaling, head.facts.softcap
    logits = capped(scaling * np.einsum("nd,nmd->nm", q, K, dtype=np.float64), softcap)
    stored = np.where(seen, np.exp(logits - head.logsumexp(targets.query)[:, None]), 0).sum(axis=1)
    columns = targets.original - first, targets.target - first
    return lambda bases: [swap_query(q, q_other, K, seen, *columns, U, scaling, softcap) for U in bases], float(
        stored.mean()
    )


def table(conditions: Sequence[dict]) -> pl.DataFrame:
    """A row a condition: means, and the low and high ends of the interval of what the target gains."""
    rows = [
        {"name": c["name"], "rank": c["rank"], "bases": c["bases"]}
        | {name: c[name] for name in TITLES}
        | {"gain_low": c["ci"]["delta_p"][0], "gain_high": c["ci"]["delta_p"][1]}
        | {name: c[name] for name in GAPS}
        | {"gap_low": c["ci"]["gap_gain"][0], "gap_high": c["ci"]["gap_gain"][1]}
        | _beyond(c)
        for c in beside(conditions)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _beyond(condition: dict) -> dict[str, float | None]:
    """The logit gap's move less that of random subspaces, and its interval; nothing of a random condition."""
    told = (condition["beyond"] or {}).get("gap_gain", (None, None, None))
    return dict(zip(("beyond", "beyond_low", "beyond_high"), told, strict=True))


def sentence(condition: dict) -> str:
    """What a feature's swap does beyond random subspaces of its rank, of its dict; '' of a random condition."""
    if not condition["beyond"]:
        return ""
    (gap, *of_gap), (attention, *of_attention) = (condition["beyond"][name] for name in ("gap_gain", "delta_p"))
    if (n := condition["n"]) == 1:
        moved, told = f"{number(gap, 2)} and attention by {number(attention)}", ONE
    else:
        moved = f"{estimate(gap, of_gap, 2)} and attention by {estimate(attention, of_attention)}"
        told = "" if of_gap[0] > 0 and of_attention[0] > 0 else UNCLEAR
    return (
        f"{condition['name']}: beyond random subspaces of rank {condition['rank']} it moves the logit gap towards "
        f"the target by {moved}, paired over {counted(n, 'query', 'queries')}{told}"
    )


def beside(conditions: Sequence[T], bases: Callable[[T], int | None] = itemgetter("bases")) -> list[T]:
    """Each feature's condition, followed by the random one of its rank."""
    return [c for pair in zip(*features_and_randoms(conditions, bases), strict=True) for c in pair]


def left_out(side: Side) -> str:
    """Why a swap of keys or of queries leaves queries out."""
    return {"keys": "their keys are outside the layer's window", "queries": "no other query looks for their target"}[
        side
    ]


def headline(conditions: Sequence[dict]) -> list[tuple[dict, dict]]:
    """What answers the question: the first feature's own swap, then that of all together where there are several.

    Each beside the random condition of its rank.
    """
    features, randoms = features_and_randoms(conditions, itemgetter("bases"))
    pairs = list(zip(features, randoms, strict=True))
    return [pairs[0], *pairs[1:][-1:]]


def answer(moved: dict, baseline: dict) -> str:
    """What a feature's swap moves, with intervals, beside random subspaces of its rank; of their dicts."""
    return (
        f"Swapping {moved['name']} (rank {moved['rank']}), the target gains {gained(moved)} of attention; "
        f"in random subspaces of that rank {gained(baseline)}, {baseline['bases']} bases; "
        f"n = {counted(moved['n'], 'query', 'queries')}{caution(moved['n'])}"
    )


def gained(condition: dict) -> str:
    """The attention that the target gains, in percent with its interval: 30.1 % [28.2, 32.0]."""
    if condition["n"] == 1:  # whose interval would have no width
        return percent(condition["delta_p"], 1)
    low, high = (number(100 * end, 1) for end in condition["ci"]["delta_p"])
    return f"{percent(condition['delta_p'], 1)} [{low},{SPACE}{high}]"
