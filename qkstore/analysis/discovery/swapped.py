"""Swaps of the heads that passed the first two tests: does attention follow the feature, more than any subspace?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.analysis.discovery.sweep import Sweep, Test, p_gap
from qkstore.analysis.head import Head, judge_split
from qkstore.analysis.swaps import swapper
from qkstore.analysis.targets import Targets, draw
from qkstore.errors import ContrastError
from qkstore.intervention import beyond
from qkstore.run import Layer, Run
from qkstore.score import scores
from qkstore.subspace import Subspace, random

QUERIES, BASES = 500, 10  # of a swap: queries, and random subspaces beside it
NOTHING = "no judged query has two keys to exchange"

Estimate = tuple[float, float, float]  # a value and the ends of its 95 % interval


@dataclass(frozen=True)
class Swapped:
    """What a swap does in one head, and its accuracy on judged pairs.

    p: that it moves the logit gap, or attention, no more than swaps in random subspaces of its rank do; 1 where there
    is nothing to swap, as `missing` then says. gap_beyond, beyond: by how much it moves the gap in logits, and
    attention, more than random ones. accuracy: the share of judged queries whose largest logit is on a positive key.
    """

    p: float
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    chance: float | None
    n: int
    rank: int | None = None
    gap_beyond: Estimate | None = None
    beyond: Estimate | None = None
    missing: str = ""


def swaps(
    run: Run, sweep: Sweep, tests: Sequence[Test], seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[Swapped]:
    """A swap for each test, in their order; the vectors of a head are read once for all of its matches."""
    from threadpoolctl import threadpool_limits

    targets = _Targets(run, sweep, seed)
    order = sorted(range(len(tests)), key=lambda i: (tests[i].layer, tests[i].head))
    out: dict[int, Swapped] = {}
    read: _Read | None = None
    with threadpool_limits(1, "blas"):
        for done, i in enumerate(order):
            if progress:
                progress(done, len(order))
            test = tests[i]
            if read is None or (read.at.layer, read.at.head) != (test.layer, test.head):
                read = _Read(Head(run, test.layer, test.head), sweep)
            out[i] = _swapped(read, test.match, targets.of(test.match, read.at.facts), seed)
    return [out[i] for i in range(len(tests))]


class _Read:
    """The vectors of one head, on the built and on the judged rows of all matches."""

    def __init__(self, at: Head, sweep: Sweep):
        self.at, self.sweep, heads = at, sweep, range(at.head, at.head + 1)
        self.built, self.judged = (union.read(at.layer, heads) for union in (sweep.train, sweep.test))

    def space(self, match: int) -> Subspace:
        """Of ΔC of centred queries."""
        (group,) = self.sweep.train.groups(match, self.built)
        return Subspace.of(group.units.centred[0])

    def accuracy(self, match: int) -> dict:
        (group,) = self.sweep.test.groups(match, self.judged)
        (score,) = scores(group.by_query, resample=False)
        return {name: getattr(score, name) for name in ("accuracy", "accuracy_ci", "chance", "n")}


class _Targets:
    """The queries and keys of each match's swaps, drawn once for all heads, with what the queries look for."""

    def __init__(self, run: Run, sweep: Sweep, seed: int):
        self.run, self.sweep, self.seed = run, sweep, seed
        self._drawn: dict[int, tuple[Targets, np.ndarray] | None] = {}

    def of(self, match: int, layer: Layer) -> tuple[Targets, np.ndarray] | None:
        """Those that a layer sees both keys of, and a number (n,) for each value asked for; None without any."""
        if match not in self._drawn:
            self._drawn[match] = self._draw(match)
        if (drawn := self._drawn[match]) is None:
            return None
        there, groups = drawn
        seen = self.run.attended(layer, there.query, there.original) & self.run.attended(
            layer, there.query, there.target
        )
        return (there.where(seen), groups[seen]) if seen.any() else None

    def _draw(self, match: int) -> tuple[Targets, np.ndarray] | None:
        side = self.sweep.sides[match]
        contrast = side.match.contrast(judge_split(self.run))
        try:
            drawn = draw(self.run, (contrast,), judge_split(self.run), QUERIES, self.seed)
        except ContrastError:
            return None
        asked = self.run.labels("q", [side.match.query], drawn.query)[side.match.query]
        return drawn, np.unique(asked.to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[1]


def _swapped(read: _Read, match: int, aimed: tuple[Targets, np.ndarray] | None, seed: int) -> Swapped:
    accuracy = read.accuracy(match)
    if aimed is None:
        return Swapped(1.0, **accuracy, missing=NOTHING)
    (targets, asked), space = aimed, read.space(match)
    rng, d = np.random.default_rng(seed), len(space.V)
    bases = [random(d, space.rank, rng).V for _ in range(BASES)]
    moved, *drawn = swapper(read.at, targets).each([space.V, *bases])
    more = [getattr(moved, n) - np.mean([getattr(r, n) for r in drawn], axis=0) for n in ("gap_gain", "delta_p")]
    prompts = read.at.run.query_places[0][targets.query]
    groups = [] if read.sweep.sides[match].closed else [asked]
    groups += [prompts] if len(np.unique(prompts)) < len(prompts) else []
    p = max(p_gap(rows, groups) for rows in more)
    told = beyond(moved, drawn, seed)
    return Swapped(p, **accuracy, rank=space.rank, gap_beyond=told["gap_gain"], beyond=told["delta_p"])
