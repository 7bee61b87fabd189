"""What `qkstore components --all` prints: how many components each head has, and which heads share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkstore.cli.arguments import workers
from qkstore.cli.terminal import Progress, print_json, print_table
from qkstore.errors import ContrastError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkstore.analysis.decomposition import HeadCount
    from qkstore.analysis.decomposition.across import Cluster

TOP = 20
WIDE = 12  # heads of a layer: of more, the map has numbers without their intervals
MEMBERS = 6  # of a cluster, that are printed
OF_ONE = {"layer": None, "head": None, "n": None, "group": None, "prompts": None, "labels": None, "left_out": False}
OF_ALL = {"names": False, "clusters": False, "workers": 1, "ray": None}


def check(options) -> None:
    """Raise ContrastError for options of one head beside --all, and for options of all heads without it."""
    if options.all:
        given = next((name for name, default in OF_ONE.items() if getattr(options, name) != default), None)
        if given:
            raise ContrastError(f"--all is of every head: leave out --{given.replace('_', '-')}, or --all")
        return
    given = next((name for name, default in OF_ALL.items() if getattr(options, name) != default), None)
    if given:
        raise ContrastError(f"--{given} is of every head: give --all too, or leave it out")
    missing = next((name for name in ("layer", "head") if getattr(options, name) is None), None)
    if missing:
        raise ContrastError(f"--{missing} is missing: name a head by --layer and --head, or give --all")


def across(options, there, run) -> None:
    """All heads: a map of their numbers and a list, or the clusters of their components."""
    from qkstore.analysis.decomposition.across import ROUGH, kept_counts, statement, table

    with workers(options) as pool, Progress() as progress:
        rows = kept_counts(
            there, run, options.where, seed=options.seed, named=options.names or options.clusters,
            progress=lambda done, total: progress("components", done, total), pool=pool,
        )  # fmt: skip
        if options.clusters:
            _clusters(options, there, run, rows, progress)
            return
    if options.json:
        print_json([row.to_dict() for row in rows])
        return
    print_table(_map(rows))
    listed = table(rows).to_dicts()
    has = [row for row in listed if row["number"]]
    if top := has[: options.top or TOP]:
        print()
        print_table([_row(row, options.names) for row in top])
    if more := len(has) - len(top):
        print(f"and {more:,} more (--top)")
    _refused(rows)
    print(statement(rows))
    if options.names:
        print(ROUGH)
    _warned(run)


def _map(rows: Sequence[HeadCount]) -> list[dict]:
    """A row a layer, the last one first, a column a head: the number with its interval, where there is room."""
    heads = sorted({r.head for r in rows})
    at = {(r.layer, r.head): _number(r, len(heads) <= WIDE) for r in rows}
    layers = sorted({r.layer for r in rows}, reverse=True)
    return [{"layer": f"L{layer}", **{f"H{head}": at.get((layer, head)) for head in heads}} for layer in layers]


def _number(row: HeadCount, interval: bool) -> str | None:
    if row.number is None or row.interval is None:
        return None
    low, high = row.interval
    return f"{row.number} [{low}, {high}]" if interval else str(row.number)


def _row(row: dict, named: bool) -> dict:
    told = {
        "head": f"L{row['layer']}H{row['head']}",
        "components": f"{row['number']} [{row['low']}, {row['high']}]",
        "above chance": row["clear"],
        "judged > .5": row["confirmed"],
        "gap carried": row["carried"],
    }
    if not named:
        return told
    unnamed = {"unnamed": row["n_unnamed"], "gap unnamed": row["unnamed"]}
    return told | {"explained": row["explained"]} | unnamed | {"most by": row["label"] or None}


def _refused(rows: Sequence[HeadCount]) -> None:
    from qkstore.analysis.decomposition.across import refusals

    for why, n in refusals(rows).items():
        print(f"{n:,} {'head' if n == 1 else 'heads'} without: {why}")


def _clusters(options, there, run, rows: Sequence[HeadCount], progress: Progress) -> None:
    from qkstore.analysis.decomposition.across import called, clusters_statement, kept_clusters

    found = kept_clusters(
        there, run, rows, options.where, seed=options.seed,
        progress=lambda done, total: progress("clusters", done, total),
    )  # fmt: skip
    clusters = called(found, rows)
    if options.json:
        print_json(found.to_dict() | {"clusters": [c.to_dict() for c in clusters]})
        return
    shared = [c for c in clusters if len(c.heads) > 1]
    top = shared[: options.top or TOP]
    print_table([_cluster(c) for c in top])
    if more := len(shared) - len(top):
        print(f"and {more:,} more (--top)")
    print(clusters_statement(found, clusters))
    _warned(run)


def _warned(run) -> None:
    from qkstore.analysis.decomposition import untested

    if told := untested(run):
        print(f"warning: {told}.")


def _cluster(cluster: Cluster) -> dict:
    from qkstore.text import number, visible

    members = [f"L{m.layer}H{m.head}:{m.component}" for m in cluster.members]
    more = f" and {len(members) - MEMBERS:,} more" if len(members) > MEMBERS else ""
    return {
        "cluster": str(cluster.cluster),
        "heads": len(cluster.heads),
        "components": len(members),
        "least likeness": number(cluster.within, 2),
        "named": f"{cluster.n_named} of {len(members)}",
        "members": ", ".join(members[:MEMBERS]) + more,
        "name": visible(cluster.name),
    }
