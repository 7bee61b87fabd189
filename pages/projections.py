"""Queries and keys as points in a feature's subspace: do queries lie with the keys they look for?"""

from __future__ import annotations

from functools import partial
from typing import Literal

import streamlit as st

from dashboard import notes, panel, results, shell, space, state
from dashboard.text import line
from qkstore import charts, contrast
from qkstore.analysis.points import Method, held
from qkstore.text import split_name

shell.enter()

Plot = Literal["2d", "3d"]
METHODS: dict[Method, str] = {"pca": "PCA", "umap": "UMAP", "raw": "Raw PCA"}
PLOTS: dict[Plot, str] = {"2d": "2-D", "3d": "3-D"}
HINTS: dict[Plot, str] = {
    "2d": "Drag to brush both plots; click a label to single it out.",
    "3d": "Drag or press arrow keys to turn, wheel to zoom, double click to reset; click a label to single it out.",
}

panel.title("Projections", "Do queries lie with the keys they look for? A triangle is a query, a circle a key.")
view = state.view(extra=[2, 1.7, 1.4])
q_choices, k_choices = contrast.label_choices(view.run)
q_default, k_default = results.labels(view.run, view.contrast)
with view.extra[0]:
    q_label = state.select("Colour queries by", "q", q_choices, q_default)
with view.extra[1]:
    k_label = state.select("Colour keys by", "k", k_choices, k_default)
with view.extra[2]:
    method = state.select("Method", "method", list(METHODS), "pca", shown=METHODS.get)
with st.spinner("Computing UMAP; the first time takes up to a minute" if method == "umap" else "Projecting"):
    points = results.project(view.run, view.contrasts, view.layer, view.head, q_label, k_label, method)

panel.figures(
    [
        ("Points shown", f"{points.shown:,}", f"of {points.total:,} (seed 0)"),
        (
            "Prompts",
            points.split or "all",
            "the subspace is built on the train split" if points.split == "test" else "split",
        ),
        ("Rank", f"{points.rank}", f"of {view.run.d_head} dimensions"),
        (
            "Variance in three axes",
            panel.percent(held(points.explained)),
            "of the points drawn" if points.explained else "UMAP has no axes of variance",
        ),
    ]
)
with st.container(border=True):
    plot = state.segments("Plot", "plot", list(PLOTS), "2d", shown=PLOTS.get, label_visibility="collapsed")
    drawn = points.table, charts.axes(method, points.explained), f"{q_label} / {k_label}"
    if plot == "3d":
        space.space(*drawn, panel.dark(), key="space")
    else:
        panel.chart(partial(charts.point_pairs, *drawn), "points", key=f"points-{method}")
    line(
        f"Showing {points.shown:,} of {points.total:,} queries and keys (seed 0) "
        f"of the {split_name(points.split)} split"
        + (
            ", without projecting."
            if method == "raw"
            else ", queries on U and keys on V of the subspace, then both together."
        )
        + f" {HINTS[plot]}"
    )
panel.csv(view, points.table, "points")
notes.show(view)
panel.reproduce(
    panel.command("covariance", view, view.one, out="covariance.npz"),
    panel.python(
        view,
        "from qkstore.analysis import project",
        f"points = project(run, contrasts, {view.layer}, {view.head}, {q_label!r}, {k_label!r}, {method!r})",
        "print(points.table)",
        one=False,
    ),
    view,
    f"charts.point_pairs(points.table, charts.axes({method!r}, points.explained), {f'{q_label} / {k_label}'!r})",
)
