"""All heads of a run: how many components each one has, as a map whose cells lead to them, and what heads share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl
import streamlit as st

from dashboard import job, notes, panel, results, shell, state
from dashboard.components import clusters
from dashboard.heads import map as maps
from dashboard.state import View
from dashboard.text import line, plain
from qkstore import charts
from qkstore.analysis.decomposition import COUNTED, HeadCount, statement, table, untested
from qkstore.analysis.decomposition.across import ROUGH, kept_counts, known_counts, refusals
from qkstore.analysis.decomposition.across.counted import MOST_NAMED
from qkstore.text import head_name

WHICH, ONE, ALL = "heads", "one", "all"  # in the address
SHOWN = {ONE: "One head", ALL: "All heads"}
MOST = 16  # runs; of 1,000 heads some MB
AT_ONCE = 32  # heads, of which it takes some seconds; more begin with a button
BEGUN = "across-begun"  # of the session: the runs whose heads a person waits for
ROWS = 12


def asked() -> bool:
    """Whether all heads are asked for, and not one; the choice stands above the filters."""
    return state.segments("Components of", WHICH, [ONE, ALL], ONE, shown=SHOWN.get) == ALL


def show() -> None:
    """The map of all heads and, below it, the components that several of them have in common."""
    view = _view()
    rows = _rows(view)
    told = table(rows)
    _figures(rows, told)
    by_place, _ = st.columns([1.6, 5.2])
    with by_place:
        by = state.select("Colour by", "by", list(COUNTED), "number", shown=lambda m: COUNTED[m][0])
    main, detail = panel.panels()
    with main:
        st.subheader("Components of every head", anchor=False)
        maps.draw(view, partial(charts.component_map, told, by, _at(view)), "component map", by, choose=go)
        maps.keyboard(view, [maps.key(view, "component map", by)], go)
        line(f"{COUNTED[by][0]}: {COUNTED[by][1]}. A click on a cell leads to that head's components.")
        line("A strong edge marks heads whose number's 95 % interval leaves 0 out, a stroke those without a value.")
    with detail:
        _listed(view, told)
    line(f"{statement(rows)} {ROUGH}")
    if told := untested(view.run):
        st.warning(plain(f"{told}."))
    for why, n in refusals(rows).items():
        line(f"{n:,} {'head' if n == 1 else 'heads'} without: {why}.")
    with shell.optional():
        clusters.show(view, rows, go)
    notes.show(view)
    _reproduce(view, by)


def go(layer: int, head: int, component: int | None = None) -> None:
    """To one head's components, in one entry of the browser's history."""
    kept = {"layer": layer, "head": head, "component": component}
    state.put(**kept, **{WHICH: None}, by=None, cluster=None, **dict.fromkeys(("q", "k", "against", "group")))


def map_of_all() -> None:
    """To the map of all heads, with the head that was shown ringed."""
    state.put(**{WHICH: ALL})
    state.forget_head()


def _view() -> View:
    """The filters without a head; the one of the address, if it is there, is ringed on the map."""
    view = state.view(head=False, without=True)
    layer, head = (st.query_params.get(name, "") for name in ("layer", "head"))
    there = layer in map(str, view.run.layers) and head in map(str, range(view.run.n_heads))
    return replace(view, layer=int(layer), head=int(head)) if there else view


def _at(view: View) -> tuple[int, int]:
    return (-1, -1) if view.layer is None or view.head is None else (view.layer, view.head)


def _rows(view: View) -> list[HeadCount]:
    """The counts of all heads, kept ones at once; the page ends where a person has to ask for them first."""
    key, kept = (results.identity(view.run),), _kept()
    if (there := kept.get(key) or known_counts(view.store, view.run)) is None:
        there = _found(view)
    return results.remember(kept, MOST, key, there)


def _found(view: View) -> list[HeadCount]:
    run, pool, n = view.run, job.pool(), len(view.run.layers) * view.run.n_heads
    begun = st.session_state.setdefault(BEGUN, set())
    if n > AT_ONCE and run.name not in begun:
        line(
            f"The components of {n:,} heads are found and named once for all who use the store, which takes half a "
            "second to two of each; layers that are done are kept."
        )
        st.button("Find the components of all heads", type="primary", on_click=begun.add, args=(run.name,))
        st.stop()
    return job.done(
        ("across", results.identity(run)),
        lambda progress: kept_counts(view.store, run, progress=progress, pool=pool),
        f"Finding the components of all heads of {run.name}",
        "Found the components of {done} of {of} heads",
        "Cancelled. Layers that were finished are kept; reload this page to go on.",
    )


def _figures(rows: Sequence[HeadCount], told: pl.DataFrame) -> None:
    """How many heads, how many components, how many without a name, and the head that has most."""
    has = told.filter(pl.col("number") > 0)
    number, confirmed, unnamed = (int(has[name].sum() or 0) for name in ("number", "confirmed", "n_unnamed"))
    most = has.filter(pl.col("number") == pl.col("number").max())
    heads = [head_name(*at) for at in most.select("layer", "head").iter_rows()]
    top = most.row(0, named=True) if len(most) else None
    panel.figures(
        [
            ("Heads with components", f"{len(has):,}", f"of {len(rows):,}"),
            ("Components", f"{number:,}", f"{confirmed:,} hold on the judged split too"),
            ("Unnamed", f"{unnamed:,}", "that no label explains"),
            (
                "Most components",
                heads[0] if len(heads) == 1 else f"{len(heads):,} heads" if top else panel.MISSING,
                _most(top, heads) if top else "no head has one",
            ),
        ]
    )


def _most(top: dict, heads: Sequence[str]) -> str:
    """The number of the head that has most, with its interval; of several that tie, which they are, where they are few.

    Their intervals differ, and stand in the list.
    """
    if len(heads) == 1:
        return f"{top['number']} [{top['low']}, {top['high']}]"
    return f"{top['number']} each" + (f": {', '.join(heads)}" if len(heads) <= MOST_NAMED else "")


def _listed(view: View, told: pl.DataFrame) -> None:
    """The heads with most components first; a click on a row leads to its head."""
    st.subheader("Most components", anchor=False)
    has = told.filter(pl.col("number") > 0)

    def pick() -> None:
        for i in st.session_state["across-heads"].selection.rows:
            go(has["layer"][i], has["head"][i])

    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    heads = [f"L{layer} H{head}" for layer, head in has.select("layer", "head").iter_rows()]
    counts = [f"{n} [{low}, {high}]" for n, low, high in has.select("number", "low", "high").iter_rows()]
    shown = has.select(
        pl.Series("of", heads, pl.String), pl.Series("components", counts, pl.String), "clear", "explained", "n_unnamed"
    )
    st.dataframe(
        shown,
        hide_index=True,
        height=panel.height(shown, ROWS),
        placeholder=panel.MISSING,
        key="across-heads",
        on_select=pick,
        selection_mode="single-row",
        column_config={
            "of": text("Head"),
            "components": text("Components", help="With the 95 % interval over halvings of the prompts."),
            "clear": number(COUNTED["clear"][0], help=COUNTED["clear"][1]),
            "explained": number("Explained", format="percent", help=COUNTED["explained"][1]),
            "n_unnamed": number("Unnamed", help="Components that no label explains."),
        },
    )
    panel.csv(view, told, "components of all heads")


def _reproduce(view: View, by: str) -> None:
    where, name = str(view.store.where), view.run.name
    command = ["python", "-m", "qkstore", "components", "--store", where, "--run", name, "--all"]
    panel.reproduce(
        f"{shlex.join([*command, '--names'])}\n{shlex.join([*command, '--clusters'])}",
        "\n".join(
            [
                "import qkstore",
                "from qkstore.analysis.decomposition import across",
                "",
                f"store = qkstore.open({where!r})",
                f"run = store.run({name!r})",
                "rows = across.kept_counts(store, run)",
                "table = across.table(rows)",
                "print(across.statement(rows))",
                "if any(rho > 0.5 for row in rows for rho in row.rho):",
                "    found = across.kept_clusters(store, run, rows)",
                "    print(across.cluster_table(across.called(found, rows)))",
                "",
            ]
        ),
        view,
        f"charts.component_map(table, {by!r}, {_at(view)})",
    )


@st.cache_resource(max_entries=1)
def _kept() -> dict:
    return {}
