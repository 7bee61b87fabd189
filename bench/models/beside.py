"""Swaps of all components of a head beside the paper's order + lexical and beside random dimensions, on the same keys.

Everything is built on the train split. The keys that swap are those of the paper (the queried entity's box and another
box), or those of the components (the key that the head attends to most, and another of its kind), of the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.models.keep import keep
from qkstore.analysis import Head, HeadComponents, components, swapper
from qkstore.analysis.decomposition.swaps import draw, randoms
from qkstore.analysis.targets import Targets, visible_targets
from qkstore.contrast.builtin import RIGHT_BOX
from qkstore.errors import ContrastError
from qkstore.intervention import LEAST_BASES, beyond, random_summary, summary
from qkstore.run import Run
from qkstore.store import Store
from qkstore.subspace import Subspace, random
from qkstore.text import estimate, head_name, number

MOST, SEED = 1000, 0
PAPER, OWN = "the paper's", "the components'"  # whose keys
FEATURES = ("order", "lexical")
CELLS = ("components", "random, gauge", "order + lexical", "random, head's basis", "order + lexical, as many")
At = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One head on one set of n keys: its conditions by CELLS, as dicts, or why there are none.

    number: components; rank: dimensions of order + lexical by the paper's rule, wide: as many as there are components.
    ahead, ahead_wide: attention on the target that the swap of all components gives beyond that of order + lexical,
    with its 95 % interval, paired over the queries; of order + lexical of `rank` and of `wide` dimensions.
    """

    layer: int
    head: int
    keys: str
    why: str = ""
    n: int = 0
    number: int = 0
    rank: int = 0
    wide: int = 0
    conditions: dict[str, dict] | None = None
    ahead: Sequence[float] | None = None
    ahead_wide: Sequence[float] | None = None

    @property
    def told(self) -> list[str]:
        """The cells of a table."""
        name = head_name(self.layer, self.head)
        if self.conditions is None:
            return [name, self.why, *["–"] * 6]
        parts = self.conditions
        first = parts["components"]
        sizes = (self.number, self.number, self.rank, self.rank, self.wide)
        before = f"{number(first['original_before'])} / {number(first['target_before'])} (n = {self.n:,})"
        cells = [f"{size}: {_after(parts[cell])}" for size, cell in zip(sizes, CELLS, strict=True)]
        assert self.ahead, "swaps that were made are compared"
        return [name, before, *cells, estimate(self.ahead[0], self.ahead[1:])]


HEAD = ["head", "before", *CELLS, "components beyond order + lexical"]


def _after(condition: dict) -> str:
    return f"{number(condition['original_after'])} / " + estimate(
        condition["target_after"], condition["ci"]["target_after"]
    )


def rows(store: Store, run: Run, heads: Sequence[At]) -> list[Row]:
    """Each head on both sets of keys, the paper's first."""
    made = []
    for at in heads:
        kept = keep(store, run, "components beside order + lexical", at, __file__, lambda at=at: _both(store, run, at))
        made += [Row(**row) for row in kept]
    return sorted(made, key=lambda row: row.keys != PAPER)


def _both(store: Store, run: Run, at: At) -> list[dict]:
    try:
        of = components(run, *at)
        if not len(of):
            raise ContrastError("has no component")
    except ContrastError as error:
        why = str(error).removeprefix(f"layer {at[0]} head {at[1]}").lstrip(": ")
        return [vars(Row(*at, keys, why)) for keys in (PAPER, OWN)]
    paper = visible_targets(run, (RIGHT_BOX,), [of.head.facts], of.judged.split, MOST, SEED)
    own = draw([of], MOST, SEED)
    features = {name: store.feature(run, name) for name in FEATURES}
    return [vars(_row(of, features, targets, keys)) for keys, targets in ((PAPER, paper), (OWN, own))]


def _row(of: HeadComponents, features: dict, targets: Targets, keys: str) -> Row:
    at, many = of.head, len(of)
    paper = _span(at, features)
    wide = _span(at, features, many)
    moved, rng = swapper(at, targets), np.random.default_rng(SEED)
    drawn = [random(at.run.d_head, paper.rank, rng).V for _ in range(LEAST_BASES)]
    (everything,) = moved.through([of.found.key_projector()])
    of_paper, of_wide, *by_chance = moved.each([paper.V, wide.V, *drawn])
    in_gauge = moved.through(randoms(of, [many], LEAST_BASES, SEED)[many])
    told = [
        summary(CELLS[0], everything, many, SEED),
        random_summary(CELLS[1], in_gauge, many, SEED),
        summary(CELLS[2], of_paper, paper.rank, SEED),
        random_summary(CELLS[3], by_chance, paper.rank, SEED),
        summary(CELLS[4], of_wide, wide.rank, SEED),
    ]
    return Row(
        at.layer, at.head, keys, "", len(targets), many, paper.rank, wide.rank,
        {c.name: c.to_dict() for c in told},
        beyond(everything, [of_paper], SEED)["delta_p"], beyond(everything, [of_wide], SEED)["delta_p"],
    )  # fmt: skip


def _span(at: Head, features: dict[str, Any], dimensions: int | None = None) -> Subspace:
    """Order + lexical by the paper's rule, or with lexical cut so that both together have so many dimensions."""
    if dimensions is None:
        return at.subspaces(features)["+".join(features)]
    order = min(at.subspace(features["order"]).rank, dimensions - 1)
    if not order:  # one dimension alone
        return at.subspace(features["lexical"], dimensions)
    return at.subspaces(features, {"order": order, "lexical": dimensions - order})["+".join(features)]


def ahead(row: Row) -> str:
    """Which swap moves the target further, told by the interval of the difference."""
    assert row.ahead is not None
    return "components" if row.ahead[1] > 0 else "order + lexical" if row.ahead[2] < 0 else "neither"


def sentence(each: Sequence[Row]) -> str:
    """Of how many heads the interval of the difference says which swap moves the target further."""
    there = [row for row in each if row.ahead]
    ways = [ahead(row) for row in there]
    wide = [row.ahead_wide for row in there if row.ahead_wide]
    first, other = sum(a[1] > 0 for a in wide), sum(a[2] < 0 for a in wide)
    return (
        f"Of {len(there)} heads, between {each[0].keys} keys, all components move the target further in "
        f"{ways.count('components')}, order + lexical in {ways.count('order + lexical')}, and the interval holds 0 in "
        f"{ways.count('neither')}; with as many dimensions the components in {first}, order + lexical in {other}."
    )
