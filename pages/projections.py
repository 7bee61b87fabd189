"""Queries and keys as points in a feature's subspace: do queries lie with the keys they look for?"""

from __future__ import annotations

from functools import partial
from typing import Literal

import streamlit as st

from dashboard import notes, panel, results, shell, state
from dashboard.points import chosen, heads, scatter, umap
from dashboard.state import View
from dashboard.text import line
from qkstore import charts, contrast
from qkstore.analysis import build_split, judge_split
from qkstore.analysis.head import Split
from qkstore.analysis.points import Method, Points, cloud, held
from qkstore.text import split_name

shell.enter()

Plot = Literal["2d", "3d", "heads"]
METHODS: dict[Method, str] = {"pca": "PCA", "umap": "UMAP", "raw": "Raw PCA"}
PLOTS: dict[Plot, str] = {"2d": "2-D", "3d": "3-D", "heads": "All heads of the layer"}
MOST = 30_000  # points of one head
HINTS: dict[Plot, str] = {
    "2d": "A drag chooses points in both plots; arrow keys move, plus, minus and the wheel zoom, 0 resets.",
    "3d": "A drag or arrow keys turn, the wheel zooms, a double click resets; a rectangle or lasso chooses points.",
    "heads": "Each head has axes of its own, PC1 to the right and PC2 up. Press a head to open it.",
}


def one_head(view: View, asked: tuple, method: Method, split: Split) -> tuple[Points, Method]:
    """The points of a head, and what made them: PCA where UMAP is not ready."""
    whole = (view.run, view.contrasts, view.layer, view.head, *asked)
    if method == "umap":
        key = (results.identity(view.run), tuple(c.key for c in view.contrasts), view.layer, view.head, *asked, split)
        if found := umap.points(key, lambda: cloud(*whole, split).sample("umap", most=MOST)):
            return found, method
        method = "pca"
    return results.project(*whole, method, split, most=MOST), method


def figures(view: View, points: Points) -> None:
    judged = "the subspace is built on the train split" if points.split == "test" else "split"
    variance = "of the points drawn" if points.explained else "UMAP has no axes of variance"
    panel.figures(
        [
            ("Points shown", f"{points.shown:,}", f"of {points.total:,} (seed 0)"),
            ("Prompts", points.split or "all", judged),
            ("Rank", f"{points.rank}", f"of {view.run.d_head} dimensions"),
            ("Variance in three axes", panel.percent(held(points.explained)), variance),
        ]
    )


def caption(points: Points, method: Method, plot: Plot, where: str = "") -> None:
    projected = "without projecting" if method == "raw" else "queries on U and keys on V of the subspace, then together"
    line(
        f"Showing {points.shown:,} of {points.total:,} queries and keys (seed 0) of the {split_name(points.split)} "
        f"split{where}, {projected} by {'UMAP' if method == 'umap' else 'PCA'}. {HINTS[plot]}"
    )


@st.fragment
def picture(view: View, points: Points, asked: tuple, method: Method, split: Split, plot: Plot) -> None:
    """The points, and below them what was chosen of them; a choice runs nothing but this."""
    key = (view.run, view.contrasts, view.layer, view.head, *asked, method, split)
    with st.container(border=True):
        at = scatter.scatter(results.sent(*key, panel.dark(), points), plot, key="points", tells=True)
        caption(points, method, plot)
    chosen.show(view, scatter.ordered(points.table), at, points.split)


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
with st.container(horizontal=True):
    plot = state.segments("Plot", "plot", list(PLOTS), "2d", shown=PLOTS.get, label_visibility="collapsed")
    splits: dict[Split, str] = {"judge": f"{split_name(judge_split(view.run))} prompts"}
    if build_split(view.run) != judge_split(view.run):
        splits["build"] = f"{split_name(build_split(view.run))} prompts"
    split = state.segments("Prompts", "split", list(splits), "judge", shown=splits.get, label_visibility="collapsed")

labels = q_label, k_label
if plot == "heads":
    method = "pca" if method == "umap" else method
    every = heads.show(view, *labels, method, split, panel.dark())
    points = every[view.head]
    caption(points, method, plot, f" in each of the {len(every)} heads of layer {view.layer}")
    use, call = "layer_points", f"layer_points(run, contrasts, {view.layer}, {q_label!r}, {k_label!r}"
    call += f", {method!r}, {split!r})[{view.head}]"
else:
    with st.spinner("Projecting"):
        points, method = one_head(view, labels, method, split)
    figures(view, points)
    picture(view, points, labels, method, split, plot)
    use, call = "project", f"project(run, contrasts, {view.layer}, {view.head}, {q_label!r}, {k_label!r}"
    call += f", {method!r}, {split!r}, most={MOST})"
legend = " / ".join(labels)
drawn = points.table, charts.axes(method, points.explained), legend
panel.figure(partial(charts.point_pairs, *drawn, groups=points.groups), "points")
panel.csv(view, points.table, "points")
notes.show(view)
panel.reproduce(
    panel.command("covariance", view, view.one, out="covariance.npz"),
    panel.python(view, f"from qkstore.analysis import {use}", f"points = {call}", "print(points.table)", one=False),
    view,
    f"charts.point_pairs(points.table, charts.axes({method!r}, points.explained), {legend!r}, groups=points.groups)",
)
