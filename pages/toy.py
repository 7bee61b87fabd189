"""Heads whose truth is known: which ranks does the method recover, and what do the latents look like in one of them?"""

from __future__ import annotations

from functools import partial
from typing import Literal

import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.points import scatter
from dashboard.text import line
from qkstore import charts, toy
from qkstore.analysis import swaps
from qkstore.toy import tallies

shell.enter()

Plot = Literal["2d", "3d"]
PLOTS: dict[Plot, str] = {"2d": "2-D", "3d": "3-D"}
Basis = Literal["trained", "balanced"]
BASES: dict[Basis, str] = {"trained": "As trained", "balanced": "Balanced"}
BOUND = {
    "discrete": (
        "No head can beat the bound: another token may have the signs of the sought one, "
        "and then their payloads must be guessed."
    ),
    "continuous": "Gaussian latents never coincide, so the bound is 100 %: what is missing, the head lacks.",
}
VERDICT = {
    "feature split": (
        "Feature split: the diagonal dominates, so each coordinate of a latent has a direction of its own."
    ),
    "superposition": (
        "Superposition: the latents have more coordinates than the head has dimensions, "
        "so coordinates share directions and mix."
    ),
    "mixed": "Mixed: coordinates share directions although the head has room for all of them.",
}

panel.title(
    "Toy",
    (
        "Heads trained to find a token by its two latents. The true ranks are known. "
        "A cell is a head: click one to see it."
    ),
)
store = shell.store()
st.session_state[state.NOTES] = st.container()
with st.spinner("Opening the runs"):
    toys = toy.toys(store)
if not store.runs():
    shell.empty_store(store)
if not toys:
    st.info("This store has no toy runs yet. Train a grid of small heads (minutes), then reload this page:")
    st.code(shell.public(f"{toy.HOW} --store {store.where}"), language="bash", wrap_lines=True)
    st.stop()


def go(to: toy.Toy) -> None:
    """Show a head, here and on the pages that the links lead to."""
    state.put(run=to.name, contrast=st.query_params.get("latent", "z1"), layer=toy.LAYER, head=toy.HEAD)


def follow() -> None:
    """Another grid was chosen: show its head of the same ranks."""
    go(toy.chosen(toy.grid(toy.narrowed(toys, st.query_params, head)), head.ranks))


def carry() -> None:
    """The latent chosen is the contrast that links take along."""
    state.put(contrast=st.query_params["latent"])


def pick(key: str) -> None:
    """A click on a cell is a choice of head."""
    for cell in st.session_state[key].selection.get("pick", []):
        go(cells[cell["r1"], cell["r2"]])


asked = next((t for t in toys if t.name == st.query_params.get("run")), None)
left = toys
for place, field in zip(st.columns(len(toy.FILTERS)), toy.filters(toys)):
    with place:
        value = state.select(
            toy.FILTERS[field], field, toy.values(left, field), toy.usual(left, field, asked), changed=follow
        )
    left = toy.having(left, field, value)
cells = toy.grid(left)
head = toy.chosen(cells, asked.ranks if asked else None)
recovered = results.recovered(list(cells.values()))
rows = charts.cell_table(list(cells.values()), recovered)
tally, G = tallies(list(cells.values()), recovered), results.interaction(head.run)

panel.figures(
    [
        ("Ranks exact", f"{tally.below.exact} of {tally.below.latents}", "latents of heads with r1 + r2 < d_head"),
        (
            "Recovered r1 + r2",
            panel.number(tally.beyond.mean_sum, ".1f"),
            f"on average where the true ones sum to more than d_head = {head.d_head}",
        ),
        ("Accuracy", panel.percent(head.accuracy, 1), f"of at most {panel.percent(head.bound, 1)}, the head chosen"),
        (
            "Latents",
            G.verdict.capitalize(),
            f"{panel.percent(G.shares.diagonal)} of ‖G‖² on the diagonal, the head chosen",
        ),
    ]
)
with st.container(key="panels"):  # one above the other on a narrow screen
    for place, draw, title in zip(
        st.columns(2, border=True),
        (charts.rank_map, charts.accuracy_map),
        ("Recovered ranks", "Accuracy and its bound, in percent"),
    ):
        with place:
            st.subheader(title, anchor=False)
            key = f"{draw.__name__}-{head.name}"  # a new choice is a new chart: its own selection starts empty
            panel.chart(
                partial(draw, rows, head.ranks),
                title,
                on_select=lambda key=key: pick(key),
                selection_mode="pick",
                key=key,
            )
    line(
        "A cell says the ranks recovered, r1 then r2; an uncoloured one is exact. A dashed edge: r1 + r2 > d_head. "
        + BOUND[head.variant]
    )
    panel.download(rows, f"toy-{head.variant}-d{head.d_head}.csv")

    st.subheader(f"The head of r1 = {head.r1}, r2 = {head.r2}", anchor=False)
    with st.container(border=True):
        with st.container(horizontal=True):
            default = next((f for f in toy.FACTORS if f == st.query_params.get("contrast")), toy.FACTORS[0])
            name = state.segments("Latent", "latent", toy.FACTORS, default, changed=carry, label_visibility="collapsed")
            plot = state.segments("Plot", "plot", list(PLOTS), "2d", shown=PLOTS.get, label_visibility="collapsed")
            basis = state.segments(
                "Basis", "basis", list(BASES), "trained", shown=BASES.get, label_visibility="collapsed"
            )
        view = state.View(store, head.run, store.features(head.run), name, toy.LAYER, toy.HEAD, [])
        points = results.points(head.run, name, basis == "balanced")
        drawn = points.table, charts.axes("pca", points.explained), f"signs of {name}, 1 is +"
        scatter.scatter(scatter.payload(*drawn, panel.dark()), plot, key="space")
        panel.figure(partial(charts.point_pairs, *drawn), "points")
        line(
            f"Queries on U and keys on V of {name}'s subspace of rank {points.rank}, then PCA of both: "
            f"{points.shown:,} of {points.total:,} points (seed 0). "
            f"Colour: the signs of the first three coordinates of {name}."
        )
        line(
            "Training leaves open how queries lie to keys: W_Q → M W_Q, W_K → M⁻ᵀ W_K changes no attention. "
            "Balanced is the one M for which both have the same second moments."
        )
        if head.discrete:
            at = results.centroids(head.run, name)
            line(
                f"Of {at.n:,} queries {panel.percent(at.attended)} have the largest q·c with c the mean key "
                f"of their own signs; it is the nearest c for {panel.percent(at.nearest)} as trained "
                f"and {panel.percent(at.balanced)} balanced. With the sign of the first u alone turned, "
                f"{panel.percent(at.flipped)} find it."
            )
        panel.csv(view, points.table, "points")

    main, detail = st.columns([3, 2], border=True)
    with main:
        st.subheader("Swaps", anchor=False)
        swapped = results.swaps(head.run)
        conditions = [c.to_dict() for c in swapped.conditions]
        panel.chart(partial(charts.swap_bars, conditions), "swaps")
        line(
            f"Attention before (pale) and after two keys swap their coordinates, over {swapped.n:,} contexts; "
            "random: ten subspaces of the rank."
        )
        panel.csv(view, swaps.table(conditions), "swaps")
    with detail:
        st.subheader("G: how the latents interact", anchor=False)
        panel.chart(partial(charts.interaction_matrix, G), "G")
        line(VERDICT[G.verdict])
        panel.facts(
            [
                ("Diagonal", panel.percent(G.shares.diagonal), "of ‖G‖²: a coordinate with itself"),
                ("Blocks", panel.percent(G.shares.block), "other coordinates of the same latent"),
                ("Across", panel.percent(G.shares.across), "coordinates of the other latent"),
                ("Trained for", f"{head.steps:,} steps", f"{head.recipe} recipe, seed {head.seed}"),
            ]
        )
line(f"{head.name} on the other pages")
with st.container(horizontal=True):
    for page in ("heads", *shell.GROUPS["Explain"]):
        shell.link(page, page.capitalize(), run=head.name, contrast=name, layer=toy.LAYER, head=toy.HEAD)
panel.reproduce(
    f"python -m qkstore toy --store {store.where}",
    "import qkstore\nfrom qkstore import toy\n\n"
    f"store = qkstore.open({str(store.where)!r})\nrun = store.run({head.name!r})\n"
    'print(toy.toy(run), toy.recovered(run), toy.interaction(run).shares, sep="\\n")\n'
    "for swapped in toy.swaps(run).conditions:\n    print(swapped)\n",
    view,
    "charts.interaction_matrix(toy.interaction(run))",
)
