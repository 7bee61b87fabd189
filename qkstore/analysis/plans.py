"""What swaps of several heads together exchange: a condition for each feature or group, and random ones beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.analysis.decomposition import HeadComponents
from qkstore.analysis.decomposition.swaps import randoms, spaces
from qkstore.errors import ContrastError
from qkstore.subspace import Subspace, random

At = tuple[int, int]  # layer, query head


@dataclass(frozen=True)
class Plan:
    """One condition: {head: P (d_head, d_head)}, k̃ = k + P (k' − k), for every head; several for a random condition.

    ranks: {head: dimensions that P is on}.
    """

    name: str
    ranks: dict[At, int]
    edits: list[dict[At, np.ndarray]]
    random: bool


@dataclass(frozen=True)
class ComponentGroups:
    """Components of heads that are swapped together. groups: {name: {head: its components}}.

    Raises ContrastError for a group that leaves a head out, or names one that is not among them.
    """

    found: Mapping[At, HeadComponents]
    groups: Mapping[str, Mapping[At, Sequence[int]]]

    def __post_init__(self):
        for name, group in self.groups.items():
            for layer, head in sorted(set(self.found) ^ set(group)):
                wrong = "is not swapped" if (layer, head) in group else "has none"
                raise ContrastError(f"{name}: head {layer}:{head} {wrong}; name components of every head that is")

    @property
    def told(self) -> dict[str, dict[str, list[int]]]:
        """{name: {'1:0': components}} of the groups, and of all components of every head: what decides the numbers."""
        every = {at: range(len(of)) for at, of in self.found.items()}
        named = {**self.groups, "all": every}
        return {name: {f"{a}:{b}": list(c) for (a, b), c in sorted(each.items())} for name, each in named.items()}

    def plans(self, bases: int, seed: int) -> list[Plan]:
        """Every group, all components, everything but them; then `bases` random ones for each.

        In each head they are those of decomposition.swaps. Raises what it raises.
        """
        each = {at: spaces(of, {name: g[at] for name, g in self.groups.items()}) for at, of in self.found.items()}
        names = [name for name in next(iter(each.values())) if all(name in own for own in each.values())]
        drawn = {
            at: randoms(self.found[at], (space.rank for space in own.values()), bases, seed) for at, own in each.items()
        }
        ranks = {name: {at: own[name].rank for at, own in each.items()} for name in names}
        plans = [Plan(name, ranks[name], [{at: own[name].P for at, own in each.items()}], False) for name in names]
        for name in names:
            edits = [{at: drawn[at][rank][i] for at, rank in ranks[name].items()} for i in range(bases)]
            plans.append(Plan(f"random, as many as {name}", ranks[name], edits, True))
        return plans


def feature_plans(d_head: int, spaces: Mapping[At, Mapping[str, Subspace]], bases: int, seed: int) -> list[Plan]:
    """Every feature's subspace, all together, then `bases` random ones of each one's rank.

    spaces: {head: {name: subspace}}, the same names in each. In each head the random ones are those that the closed
    form draws.
    """
    names = list(next(iter(spaces.values())))
    ranks = {name: {at: own[name].V.shape[1] for at, own in spaces.items()} for name in names}
    plans = [Plan(n, ranks[n], [{at: _onto(own[n]) for at, own in spaces.items()}], False) for n in names]
    dice = {at: np.random.default_rng(seed) for at in spaces}
    for name in names:
        title = "random" if name == names[-1] else f"random of {name}'s rank"
        edits = [
            {at: _onto(random(d_head, own[name].rank, dice[at])) for at, own in spaces.items()} for _ in range(bases)
        ]
        plans.append(Plan(title, ranks[name], edits, True))
    return plans


def _onto(space: Subspace) -> np.ndarray:
    return space.V @ space.V.T
