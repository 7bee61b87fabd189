"""Swaps of components: the key that a head chose and another one exchange their scores in a group of components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

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

    @property
    def paired(self) -> list[Condition]:
        """The groups' conditions, then for each of them, in the same order, the random one of its rank: as bars are."""
        groups = [c for c in self.conditions if not c.bases]
        randoms = {c.rank: c for c in self.conditions if c.bases}
        return [*groups, *(randoms[c.rank] for c in groups)]


class Space(NamedTuple):
    """P: (d_head, d_head) oblique projector of keys on `rank` dimensions of a head."""

    P: np.ndarray
    rank: int


def swaps(
    of: HeadComponents,
    groups: Mapping[str, Sequence[int]] | None = None,
    n_random: int = LEAST_BASES,
    most: int = 1000,
    seed: int = 0,
    targets: Targets | None = None,
) -> ComponentSwaps:
    """Swap each group's scores between the key that a query chose and another one of its keys, in closed form.

    k̃ = k + P (k' − k) with the oblique projector P of the group, which no change of the head's basis moves. groups:
    {name: components}; by default each alone. All of them together and everything but them come after; then random
    ones, as many dimensions each, drawn evenly in coordinates in which a query's keys have covariance 1, so that they
    too are the same in every basis. targets: queries and keys of another swap, to be set beside it; by default `draw`.
    Raises ContrastError where the head has no components, or nothing to swap.
    """
    each = spaces(of, {str(j): [j] for j in range(len(of))} if groups is None else groups)
    targets = draw([of], most, seed) if targets is None else targets
    moved = swapper(of.head, targets)
    at_random = randoms(of, (space.rank for space in each.values()), n_random, seed)
    drawn = {rank: moved.through(projectors) for rank, projectors in at_random.items()}
    conditions = []
    for (name, space), swap in zip(each.items(), moved.through([s.P for s in each.values()]), strict=True):
        told = summary(name, swap, space.rank, seed)
        conditions.append(replace(told, beyond=beyond(swap, drawn[space.rank], seed)))
    others = [random_summary(f"random {rank}", swapped, rank, seed) for rank, swapped in drawn.items()]
    return ComponentSwaps(len(targets), of.judged.split, conditions + others, seed)


def spaces(of: HeadComponents, groups: Mapping[str, Sequence[int]]) -> dict[str, Space]:
    """What swaps of a head exchange: each group, all components, and everything but them where that is something.

    Raises ContrastError where the head has no components, or not the ones named.
    """
    if not len(of):
        raise ContrastError(
            f"layer {of.head.layer} head {of.head.head} has no component above chance, so there is nothing to swap"
        )
    gauge, whole = Gauge.of(of.train.within), of.found.key_projector()
    named = {name: Space(of.found.key_projector(group), len(group)) for name, group in groups.items()}
    named[ALL] = Space(whole, len(of))
    named[REST] = Space(gauge.query @ gauge.key.T - whole, gauge.query.shape[1] - len(of))
    return {name: space for name, space in named.items() if space.rank > 0}


def randoms(of: HeadComponents, ranks: Iterable[int], n: int, seed: int) -> dict[int, list[np.ndarray]]:
    """{rank: n projectors (d_head, d_head) on that many dimensions}, drawn evenly in the gauge's coordinates."""
    gauge, rng = Gauge.of(of.train.within).upright(of.train.q), np.random.default_rng(seed)
    return {rank: [gauge.random(rank, rng) for _ in range(n)] for rank in sorted(set(ranks))}


def draw(of: Sequence[HeadComponents], most: int = 1000, seed: int = 0) -> Targets:
    """At most `most` judged queries with the key that gets most of each one's attention, and another at random.

    Both are among the keys that the query may choose from, of one role and place in their span. of: one head, or
    several that are swapped together, which may not agree on a key: then the one that gets most from all of them, their
    attention on these keys added up. Raises ContrastError where no query has two.
    """
    sight, rng = of[0].judged, np.random.default_rng(seed)
    k = [one.head.keys(np.arange(sight.run.n_keys)) for one in of]
    parts = [_drawn(sight, of, block, k, rng) for block in sight.blocks]
    query, original, target = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(query):
        raise ContrastError("no query has two keys of one role to choose from, so there is nothing to swap")
    chosen = np.sort(rng.permutation(len(query))[:most])
    order = chosen[np.argsort(query[chosen], kind="stable")]
    return Targets(query[order], original[order], target[order])


def _drawn(
    sight: Sight, of: Sequence[HeadComponents], block: Block, k: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seen = reduce(np.logical_and, [sight.seen(one.head.facts, block) for one in of])
    logits = [np.where(seen, _logits(one, block, keys), -np.inf) for one, keys in zip(of, k, strict=True)]
    best = (logits[0] if len(of) == 1 else sum(_attention(each) for each in logits)).argmax(axis=2)
    rows = np.broadcast_to(block.key[:, None, :], seen.shape)
    kind = sight.kinds[rows]
    like = seen & (kind == np.take_along_axis(kind, best[:, :, None], axis=2))
    np.put_along_axis(like, best[:, :, None], False, axis=2)
    there, other = like.any(axis=2), np.where(like, rng.random(seen.shape), -1.0).argmax(axis=2)
    original, target = (np.take_along_axis(rows, at[:, :, None], axis=2)[:, :, 0][there] for at in (best, other))
    return block.query[there], original, target


def _logits(of: HeadComponents, block: Block, k: np.ndarray) -> np.ndarray:
    """(b, i, j) logits of a block's queries and keys."""
    facts, rows = of.head.facts, np.unique(block.query)
    q = of.head.queries(rows)[np.searchsorted(rows, block.query)].astype(np.float64)
    return capped(facts.scaling * (q @ k[block.key].swapaxes(1, 2)), facts.softcap)


def _attention(logits: np.ndarray) -> np.ndarray:
    """Attention over the last axis; zeros where every logit is −∞."""
    top = logits.max(axis=-1, keepdims=True)
    weight = np.exp(logits - np.where(np.isfinite(top), top, 0.0))
    total = weight.sum(axis=-1, keepdims=True)
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
