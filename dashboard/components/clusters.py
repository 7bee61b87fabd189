"""Components that several heads have in common: clusters with a name, how alike they are, and a way to each member."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard import job, panel, results, state
from dashboard.head.counted import cancelled
from dashboard.state import View
from dashboard.text import line, plain
from qkstore.analysis.decomposition import HeadCount
from qkstore.analysis.decomposition.across import (
    Cluster,
    Clusters,
    called,
    cluster_table,
    clusters_statement,
    kept_clusters,
    known_clusters,
)
from qkstore.text import column, head_name, number, visible

CHOSEN = "cluster"  # in the address
TITLE = "Comparing components of all heads"
BEGUN = "clusters-begun"  # of the session: the runs whose clusters a person waits for
AT_ONCE = 32  # heads with components, whose scores take a second or two; more begin with a button
MOST, ROWS, SHOWN = 16, 12, 40
Go = Callable[[int, int, int], None]


def show(view: View, rows: Sequence[HeadCount], go: Go) -> None:
    """The clusters that several heads share, the largest first, and the members of the chosen one."""
    st.subheader("Shared by several heads", anchor=False)
    if not any(r.confirmed for r in rows):
        line("No head has a component that its judged split confirms, so there is nothing to compare.")
        return
    found = _found(view, rows)
    if found is None:
        return
    clusters = called(found, rows)
    shared = [c for c in clusters if len(c.heads) > 1]
    line(clusters_statement(found, clusters))
    panel.csv(view, cluster_table(clusters), "clusters of components")
    if not shared:
        return
    main, detail = panel.panels("clusters")
    with detail:
        cluster = _choose(shared)
        _members(cluster, found, go)
    with main:
        _listed(shared, cluster)


def _found(view: View, rows: Sequence[HeadCount]) -> Clusters | None:
    """What is known, or what a person waits for; None where it was cancelled, or has to be asked for first."""
    key, kept = ("clusters", results.identity(view.run)), _kept()
    there = kept.get(key) or known_clusters(view.store, view.run, rows)
    if there is None:
        heads = sum(bool(r.confirmed) for r in rows)
        begun = st.session_state.setdefault(BEGUN, set())
        stopped = cancelled(TITLE)
        if stopped or (heads > AT_ONCE and view.run.name not in begun):
            begun.discard(view.run.name)
            line("By how alike components score the same queries and the same keys.")
            st.button(f"Compare the components of {heads:,} heads", on_click=begun.add, args=(view.run.name,))
            return None
        there = job.done(
            key,
            lambda progress: kept_clusters(view.store, view.run, rows, progress=progress),
            TITLE,
            "Read the scores of {done} of {of} heads",
            "Cancelled.",
        )
    return results.remember(kept, MOST, key, there)


def _choose(shared: Sequence[Cluster]) -> Cluster:
    """The cluster of the address, or the largest one."""
    of = {c.cluster: c for c in shared}
    first = next(iter(of))
    return of[state.select("Cluster", CHOSEN, list(of), first, shown=lambda i: f"{i}: {of[i].name}")]


def _members(cluster: Cluster, found: Clusters, go: Go) -> None:
    """What is known of the chosen cluster, and its members, each of which leads to itself."""
    st.subheader(f"Cluster {cluster.cluster}: {plain(cluster.name)}", anchor=False)
    many = len(cluster.members)
    told = [
        ("Components", f"{many:,}", f"of {len(cluster.heads):,} heads"),
        ("Least likeness", number(cluster.within, 2), f"of any two; chance reaches {number(found.chance, 2)}"),
        ("Named", f"{cluster.n_named:,}", f"of {many:,} members by {visible(cluster.label)}" if cluster.label else ""),
    ]
    if cluster.others:
        told.append(("Also", ", ".join(map(visible, cluster.others)), "which name other members"))
    panel.facts(told)
    line("A member leads to its component:")
    for member, name in list(zip(cluster.members, cluster.names, strict=True))[:SHOWN]:
        # no link: one to the page that is shown changes it and leaves the address
        st.button(
            plain(f"{head_name(member.layer, member.head)}, component {member.component}: {name}"),
            key=f"member-{member.layer}-{member.head}-{member.component}",
            type="tertiary",
            on_click=go,
            args=(member.layer, member.head, member.component),
        )
    if many > SHOWN:
        line(f"And {many - SHOWN:,} more, in the table at the foot of the page.")


def _listed(shared: Sequence[Cluster], chosen: Cluster) -> None:
    """The table of shared clusters, with the chosen one's row marked; a click chooses another."""
    rows = cluster_table(shared)
    key = f"clusters-{chosen.cluster}"

    def pick() -> None:
        for i in st.session_state[key].selection.rows:
            state.put(**{CHOSEN: rows["cluster"][i]})

    count, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        rows.with_columns(name=column(rows["name"])),
        hide_index=True,
        height=panel.height(rows, ROWS),
        key=key,
        on_select=pick,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [[c.cluster for c in shared].index(chosen.cluster)]}},
        column_order=["cluster", "name", "heads", "components", "within", "members"],
        column_config={
            "cluster": count("No."),
            "name": text("Name", width="medium"),
            "heads": count("Heads"),
            "components": count("Components"),
            "within": count("Least likeness", format="%.2f", help="The smallest likeness between two of a cluster."),
            "members": text("Members", help="Layer, head and number of each component.", width="medium"),
        },
    )


@st.cache_resource(max_entries=1)
def _kept() -> dict:
    return {}
