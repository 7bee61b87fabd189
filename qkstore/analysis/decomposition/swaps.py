"""Swaps of components: the key that a head chose and another one exchange their scores in a group of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qkstore.analysis.decomposition.found import HeadComponents
from qkstore.analysis.decomposition.sight import Block, Sight
from qkstore.analysis.swaps import swapper
from qkstore.analysis.targets import Targets
from qkstore.components import Gauge
from qkstore.errors import ContrastError
from qkstore.intervention import LEAST_BASES, Condition, beyond, random_summary, summary
from qkstore.score import capped

ALL = "all"
REST = "all others"


@dataclass(frozen=True)
class ComponentSwaps:
    """Swaps of one head by groups of its components; each condition moves the same n queries' attention.

    conditions: as Intervention has them, a random one for each size of a group. rank: components in the group, of the
    complement the dimensions that are left. n: queries of the judged split.
    """

    n: int
    split: str | None
    conditions: list[Condition]
    seed: int = 0

    def to_dict(self) -> dict:
        return {
            "n": self.n,
            "split": self.split,
            "seed": self.seed,
            "conditions": [c.to_dict() for c in self.conditions],
        }


def swaps(
    of: HeadComponents,
    groups: Mapping[str, Sequence[int]] | None = None,
    n_random: int = LEAST_BASES,
    most: int = 1000,
    seed: int = 0,
) -> ComponentSwaps:
    """Swap each group's scores between the key that a query chose and another one of its keys, in closed form.

    k̃ = k + P (k' − k) with the oblique projector P of the group, which no change of the head's basis moves. groups:
    {name: components}; by default each alone. All of them together and everything but them come after; then random
    ones, as many dimensions each, drawn evenly in coordinates in which a query's keys have covariance 1, so that they
    too are the same in every basis. Raises ContrastError where the head has no components, or nothing to swap.
    """
    if not len(of):
        raise ContrastError(
            f"layer {of.head.layer} head {of.head.head} has no component above chance, so there is nothing to swap"
        )
    found, gauge = of.found, Gauge.of(of.train.within).upright(of.train.q)
    named = {str(j): [j] for j in range(len(of))} if groups is None else groups
    targets = draw(of.judged, of, most, seed)
    moved = swapper(of.head, targets)
    p = gauge.query.shape[1]
    whole = found.key_projector()
    spaces = {name: (found.key_projector(group), len(group)) for name, group in named.items()}
    spaces |= {ALL: (whole, len(of)), REST: (gauge.query @ gauge.key.T - whole, p - len(of))}
    spaces = {name: (P, rank) for name, (P, rank) in spaces.items() if rank > 0}
    rng = np.random.default_rng(seed)
    drawn = {
        rank: moved.through([gauge.random(rank, rng) for _ in range(n_random)])
        for rank in sorted({rank for _, rank in spaces.values()})
    }
    conditions = []
    for (name, (_, rank)), swap in zip(spaces.items(), moved.through([P for P, _ in spaces.values()]), strict=True):
        conditions.append(replace(summary(name, swap, rank, seed), beyond=beyond(swap, drawn[rank], seed)))
    randoms = [random_summary(f"random {rank}", each, rank, seed) for rank, each in drawn.items()]
    return ComponentSwaps(len(targets), of.judged.split, conditions + randoms, seed)


def draw(sight: Sight, of: HeadComponents, most: int = 1000, seed: int = 0) -> Targets:
    """At most `most` queries of a split with the key that gets most of each one's attention, and another at random.

    Both are among the keys that the query may choose from, of one role and place in their span. Raises ContrastError
    where no query has two.
    """
    head, rng = of.head, np.random.default_rng(seed)
    k = head.keys(np.arange(sight.run.n_keys))
    parts = [_drawn(sight, of, block, k, rng) for block in sight.blocks]
    query, original, target = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(query):
        raise ContrastError("no query has two keys of one role to choose from, so there is nothing to swap")
    chosen = np.sort(rng.permutation(len(query))[:most])
    order = chosen[np.argsort(query[chosen], kind="stable")]
    return Targets(query[order], original[order], target[order])


def _drawn(
    sight: Sight, of: HeadComponents, block: Block, k: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    facts, keys = of.head.facts, k[block.key]
    q = of.head.queries(np.unique(block.query))[np.searchsorted(np.unique(block.query), block.query)]
    seen = sight.seen(facts, block)
    logit = capped(facts.scaling * (q.astype(np.float64) @ keys.swapaxes(1, 2)), facts.softcap)
    best = np.where(seen, logit, -np.inf).argmax(axis=2)
    rows = np.broadcast_to(block.key[:, None, :], seen.shape)
    kind = sight.kinds[rows]
    like = seen & (kind == np.take_along_axis(kind, best[:, :, None], axis=2))
    np.put_along_axis(like, best[:, :, None], False, axis=2)
    there, other = like.any(axis=2), np.where(like, rng.random(seen.shape), -1.0).argmax(axis=2)
    original, target = (np.take_along_axis(rows, at[:, :, None], axis=2)[:, :, 0][there] for at in (best, other))
    return block.query[there], original, target
