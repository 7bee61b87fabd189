"""All heads of a run side by side: how many components each has, and which of them several heads share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.discovery.demo import RUNS
from qkstore.analysis.decomposition.across import HeadCount, called, kept_clusters, kept_counts, refusals
from qkstore.analysis.decomposition.names import UNNAMED
from qkstore.errors import ContrastError
from qkstore.store import Store

# Text, words said twice, and the same words through the same architecture with weights drawn anew: the control.
REAL = ("smollm2-docs", "smollm2-repeats", "smollm2-random-repeats")


@dataclass(frozen=True)
class RunRow:
    """One run: its heads, their components, and the clusters of these.

    number: of each head that has components. confirmed: components whose correlation is above .5 on the judged split;
    unnamed: those that no label explains, None where nobody asked. shared: of each cluster that several heads have a
    part in how many heads; one_head: clusters in which two components are of one head. judged: queries and keys that
    scores were compared on. refused: why heads have nothing to choose. seconds: CPU of the counts and of the clusters
    in this call; of kept ones none.
    """

    run: str
    heads: int
    number: tuple[int, ...]
    most: str
    confirmed: int
    unnamed: int | None
    clusters: int
    compared: int
    shared: tuple[int, ...]
    unnamed_shared: int | None
    one_head: int
    within: float
    chance: float
    judged: tuple[int, int]
    refused: dict[str, int]
    seconds: tuple[float, float]


def study(
    store: Store, names: Sequence[str] = RUNS, named: bool = True, tell: Callable[[str], None] = lambda line: None
) -> list[RunRow]:
    """A row of each run that the store has; what it keeps is not done again. named: whether labels are tried."""
    there = {run.name for run in store.runs()}
    return [row(store, name, named, tell) for name in names if name in there]


def row(store: Store, name: str, named: bool, tell: Callable[[str], None]) -> RunRow:
    run, begun = store.run(name), time.process_time()
    counted = kept_counts(store, run, named=named)
    counts_s, begun = time.process_time() - begun, time.process_time()
    has = [r for r in counted if r.number]
    named = named and all(r.was_named for r in counted)
    most = max(has, key=lambda r: r.number or 0, default=None)
    told = {
        "run": name,
        "heads": len(counted),
        "number": tuple(r.number or 0 for r in has),
        "most": f"L{most.layer}H{most.head}" if most else "",
        "confirmed": sum(r.confirmed or 0 for r in has),
        "unnamed": sum(r.n_unnamed or 0 for r in has) if named else None,
        "refused": refusals(counted),
    }
    tell(f"{name}: counted in {counts_s:.0f} CPU s")
    found = _clustered(store, counted, name)
    return RunRow(**told, **found, seconds=(counts_s, time.process_time() - begun))


def _clustered(store: Store, counted: Sequence[HeadCount], name: str) -> dict:
    try:
        found = kept_clusters(store, store.run(name), counted)
    except ContrastError:
        nothing = {"clusters": 0, "compared": 0, "shared": (), "unnamed_shared": None, "one_head": 0}
        return nothing | {"within": 1.0, "chance": 0.0, "judged": (0, 0)}
    clusters = called(found, counted)
    shared = [c for c in clusters if len(c.heads) > 1]
    named = all(r.was_named for r in counted)
    return {
        "clusters": len(clusters),
        "compared": len(found.members),
        "shared": tuple(len(c.heads) for c in shared),
        "unnamed_shared": sum(c.name == UNNAMED for c in shared) if named else None,
        "one_head": sum(len(c.members) > len(c.heads) for c in clusters),
        "within": min((c.within for c in shared), default=1.0),
        "chance": found.chance,
        "judged": (found.n_queries, found.n_keys),
    }


def table(rows: Sequence[RunRow]) -> list[list[str]]:
    """A row a run, with a header."""
    out = [
        [
            "run", "heads with components", "components", "a head: quartiles, most", "above .5 on the judged split",
            "without a name", "clusters", "shared by several heads", "without a name", "least likeness", "chance",
            "queries, keys",
        ]
    ]  # fmt: skip
    for r in rows:
        quartiles = " ".join(f"{q:.0f}" for q in np.percentile(r.number, [25, 50, 75])) if r.number else "–"
        most = f"{quartiles}, {max(r.number)} ({r.most})" if r.number else "–"
        unnamed, unnamed_shared = ("–" if n is None else f"{n:,}" for n in (r.unnamed, r.unnamed_shared))
        of = [f"{len(r.number)} of {r.heads}", f"{sum(r.number):,}", most, f"{r.confirmed:,}", unnamed]
        groups = [f"{r.clusters:,} of {r.compared:,}", sizes(r.shared), unnamed_shared, f"{r.within:.2f}"]
        out.append([r.run.removeprefix("demo-"), *of, *groups, f"{r.chance:.2f}", "{:,}, {:,}".format(*r.judged)])
    return out


def sizes(shared: Sequence[int]) -> str:
    """23: 6 by 4, 1 by 3, 16 by 2; of many sizes the largest alone."""
    many = sorted(Counter(shared).items(), reverse=True)
    if len(many) > 4:
        return f"{len(shared):,}, at most by {many[0][0]}"
    return f"{len(shared):,}" + (f": {', '.join(f'{n} by {heads}' for heads, n in many)}" if many else "")


def refused(rows: Sequence[RunRow]) -> list[str]:
    """A line for each reason that heads of a run have nothing to choose."""
    return [f"{r.run.removeprefix('demo-')}, {n} without: {why}" for r in rows for why, n in r.refused.items()]


def failures(rows: Sequence[RunRow]) -> list[str]:
    """What the page promises of these runs and does not hold."""
    by = {r.run: r for r in rows}
    out = [f"{r.run}: no component is shared by several heads" for r in rows if r.run in RUNS and not r.shared]
    out += [f"{r.run}: clusters join what chance joins" for r in rows if r.shared and r.chance >= r.within]
    if {REAL[1], REAL[2]} <= set(by) and len(by[REAL[2]].shared) >= len(by[REAL[1]].shared):
        out.append(f"{REAL[2]}: random weights share as much as trained ones")
    return out
