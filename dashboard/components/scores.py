"""Pictures of scores: a histogram of one component's by a label, and two components' against each other."""

from __future__ import annotations

import re
from functools import partial

import streamlit as st

from dashboard import panel, state
from dashboard.components.found import Found
from dashboard.state import View
from dashboard.text import line
from qkstore import charts, contrast
from qkstore.analysis.decomposition.points import points
from qkstore.text import split_name

SECOND = "against"  # the other component, in the address


def pictures(view: View, found: Found, row: dict) -> None:
    """The histogram and the scatter, in the colours of the chosen labels."""
    component, study = row["component"], found.study
    numbers = [other["component"] for other in study.rows]
    st.subheader("Scores", anchor=False)
    first, second, third = st.columns(3)
    with first:
        q_label = _label(view, row, "q")
    with second:
        k_label = _label(view, row, "k")
    others = [j for j in numbers if j != component] or [component]
    also = {str(j): others[0] for j in range(1000) if j not in others}
    with third:
        other = state.select("Against component", SECOND, others, others[0], also=also)
    drawn = points(found.scored, component, other, q_label, k_label)
    title = f"Score of component {component}"
    panel.chart(partial(charts.score_histogram, drawn, title), "histogram")
    panel.chart(partial(charts.score_scatter, drawn, (title, f"Score of component {other}")), "scatter")
    line(
        f"Each query of the {split_name(study.judged_on)} split and the key it attends to most, {len(drawn):,} points, "
        "drawn by seed 0 where there are more: triangles are queries, circles keys, whose score is above "
        "the mean of the keys at hand."
    )
    panel.csv(view, drawn.drop("z"), "scores")


def _label(view: View, row: dict, side: str) -> str:
    """The label that a side is coloured by: the one that explains most of it, if none is chosen."""
    choices = contrast.label_choices(view.run)[0 if side == "q" else 1]
    best = [
        row["label"],
        *((row[kind] or {}).get("label") for kind in ("agreement", "query" if side == "q" else "key")),
    ]
    names = [found[1] for text in best if text and (found := re.search(rf"\b{side}\.(\w+)", text))]
    default = next(iter(names), choices[0])
    options = list(dict.fromkeys([*choices, *names]))
    return state.select(f"Colour {'queries' if side == 'q' else 'keys'} by", side, options, default)
