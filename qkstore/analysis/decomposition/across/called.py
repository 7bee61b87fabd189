"""What clusters of components are called: by the names of their members, or unnamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from qkstore.analysis.decomposition.across.counted import HeadCount, Named
from qkstore.analysis.decomposition.across.shared import Clusters, Member
from qkstore.analysis.decomposition.claim import UNSWAPPED
from qkstore.analysis.decomposition.names import UNNAMED
from qkstore.text import number

UNASKED = "not asked"  # of components that nobody named


@dataclass(frozen=True)
class Cluster:
    """One cluster with what it is called.

    name: of its most explained member among those of `label`, the label that names most of its members, by itself or
    by a side that their own labels have in common with it; UNNAMED where none is named. n_named: these members. others:
    the labels of other members, most frequent first. names: of its members, in their order. within: the smallest
    likeness between two of them.
    """

    cluster: int
    name: str
    label: str
    n_named: int
    others: tuple[str, ...]
    members: tuple[Member, ...]
    names: tuple[str, ...]
    within: float

    @property
    def heads(self) -> list[tuple[int, int]]:
        """(layer, head) of those that have a part in it."""
        return list(dict.fromkeys((m.layer, m.head) for m in self.members))

    def to_dict(self) -> dict:
        """The fields by name, members as dictionaries."""
        members = [m._asdict() | {"name": name} for m, name in zip(self.members, self.names, strict=True)]
        told = {"cluster": self.cluster, "name": self.name, "label": self.label, "n_named": self.n_named}
        return told | {"others": list(self.others), "heads": self.heads, "within": self.within, "members": members}


def called(found: Clusters, rows: Sequence[HeadCount]) -> list[Cluster]:
    """The clusters of `found`, the largest first, called by the names that the heads' rows give to their members."""
    names = {(r.layer, r.head, j): name for r in rows for j, name in enumerate(r.names)}
    there = {(r.layer, r.head) for r in rows if r.was_named}
    of: dict[int, list[Member]] = {}
    for member in found.members:
        of.setdefault(member.cluster, []).append(member)
    return [_called(i, of[i], names, there, found.within[i]) for i in sorted(of)]


def _called(i: int, members: list[Member], names: dict, there: set, within: float) -> Cluster:
    whose = [names.get((m.layer, m.head, m.component)) for m in members]
    shown = tuple(
        (name.name if name and name.named else UNNAMED) if (m.layer, m.head) in there else UNASKED
        for m, name in zip(members, whose, strict=True)
    )
    labels: dict[str, list[Named]] = {}
    for name in whose:
        if name and name.named:
            labels.setdefault(name.label, []).append(name)

    def agreeing(label: str) -> int:
        return sum(len(those) for other, those in labels.items() if _sides(other) & _sides(label))

    order = sorted(labels, key=lambda label: (-agreeing(label), -sum(n.explained for n in labels[label]), label))
    if not order:
        return Cluster(i, UNASKED if UNASKED in shown else UNNAMED, "", 0, (), tuple(members), shown, within)
    best = order[0]
    others = sorted((x for x in labels if not _sides(x) & _sides(best)), key=lambda x: (-len(labels[x]), x))
    name = max(labels[best], key=lambda n: n.explained).name
    return Cluster(i, name, best, agreeing(best), tuple(others), tuple(members), shown, within)


def _sides(label: str) -> set[str]:
    """The columns of a label: q.queried_order and k.order_id of their agreement, which either of them is a part of."""
    return set(label.split(" = "))


def cluster_table(clusters: Sequence[Cluster]) -> pl.DataFrame:
    """A row a cluster: its name, how many components and heads, the least likeness of two, and who they are."""
    rows = [
        {
            "cluster": c.cluster,
            "name": c.name,
            "n_named": c.n_named,
            "components": len(c.members),
            "heads": len(c.heads),
            "layers": len({layer for layer, _ in c.heads}),
            "within": c.within,
            "members": ", ".join(f"L{m.layer}H{m.head}:{m.component}" for m in c.members),
            "others": "; ".join(c.others),
        }
        for c in clusters
    ]
    schema = {"cluster": int, "name": str, "n_named": int, "components": int, "heads": int, "layers": int}
    return pl.DataFrame(rows, schema=schema | {"within": float, "members": str, "others": str})


def clusters_statement(found: Clusters, clusters: Sequence[Cluster]) -> str:
    """How many clusters several heads share, how alike they are, beside chance."""
    shared = [c for c in clusters if len(c.heads) > 1]
    in_shared = sum(len(c.members) for c in shared)
    unnamed = sum(c.name == UNNAMED for c in shared)
    named = "" if any(c.name == UNASKED for c in clusters) else f", {unnamed:,} of these without a name"
    left = f" {found.left_out:,} weaker ones had no room." if found.left_out else ""
    return (
        f"{len(found.members):,} components in {len(clusters):,} clusters; {len(shared):,} are shared by several heads"
        f"{named} ({in_shared:,} components). Clusters join components of likeness {number(found.threshold, 2)} and "
        f"more on average; of different heads the two most alike reach {number(found.chance, 2)} by chance "
        f"({found.n_queries:,} queries, {found.n_keys:,} keys, prompts paired anew {found.repairs:,} times).{left}"
        f"{f' {UNSWAPPED}' if any(c.n_named for c in clusters) else ''}"
    )
