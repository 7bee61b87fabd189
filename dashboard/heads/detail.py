"""The chosen head beside the map: its scores with their intervals, chance and n, its spectrum, and where to go on."""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.state import View
from dashboard.text import line
from qkstore import charts
from qkstore.analysis import heads
from qkstore.analysis.heads import Comparison, HeadScore


def detail(view: View, scores: list[HeadScore], comparison: Comparison | None) -> None:
    """All of one head under the view's contrast; of a comparison also what it is under the second."""
    chosen = next(s for s in scores if (s.layer, s.head) == (view.layer, view.head))
    st.subheader(f"Layer {view.layer}, head {view.head}", anchor=False)
    panel.facts([*_differences(view, comparison), *_facts(view, chosen, scores)])
    with shell.optional():
        fitted = results.covariance(view.run, view.contrast, view.layer, view.head)
        line("Singular values of ΔC; blue ones hold 99 % of ‖ΔC‖²")
        spectrum = partial(charts.singular_values, fitted.subspace.S, fitted.subspace.rank, height=150)
        panel.chart(spectrum, "singular values")
    at = {"run": view.run.name, "contrast": view.name, "layer": view.layer, "head": view.head}
    with st.container(horizontal=True):
        for page in shell.GROUPS["Explain"]:
            shell.link(page, page.capitalize(), **state.carried() | at)


def _differences(view: View, comparison: Comparison | None) -> list[tuple[str, str, str]]:
    rows = comparison.table.iter_rows(named=True) if comparison else ()
    row = next((row for row in rows if (row["layer"], row["head"]) == (view.layer, view.head)), None)
    if comparison is None or row is None or row["difference"] is None:
        return []
    interval = "no interval"
    if row["low"] is not None:
        low, high = (comparison.points(row[end]) for end in ("low", "high"))
        interval = f"95 % interval {low} to {high}, {'' if row['clear'] else 'not '}clear of 0 among all heads"
    sides = zip(comparison.labels, (row["first"], row["second"]), strict=True)
    told = ", ".join(f"{comparison.value(value)} for {label}" for label, value in sides)
    return [("Difference", f"{comparison.points(row['difference'])}{comparison.unit}", f"{told}; {interval}")]


def _facts(view: View, chosen: HeadScore, scores: list[HeadScore]) -> list[tuple[str, str, str]]:
    positive, negative = chosen.attention_positive, chosen.attention_negative
    on_negative = "" if negative is None else f", {panel.percent(negative)} on negative ones"
    accuracy = (
        heads.missing(chosen, "accuracy")
        if chosen.accuracy is None
        else f"{_interval(chosen, 'accuracy')}, chance {panel.percent(chosen.chance)}, n = {chosen.n_queries:,}"
    )
    null = "" if chosen.delta_null is None else f"its null {panel.number(chosen.delta_null, '.3g')}, "
    norms = f"of centred queries {panel.number(chosen.centred, '.3g')}, {null}{chosen.p_told}"
    return [
        ("Accuracy", panel.percent(chosen.accuracy), accuracy),
        ("Attention", panel.percent(positive), "on positive keys" + on_negative),
        (
            "Selectivity",
            panel.number(chosen.selectivity),
            heads.missing(chosen, "selectivity") or f"{_interval(chosen, 'selectivity')}; 1 is as much on either",
        ),
        ("Selected", heads.selected(scores).get((chosen.layer, chosen.head), "no"), chosen.choice.sentence),
        ("‖ΔC‖", panel.number(chosen.delta_norm, ".3g"), norms),
        ("Rank", f"{chosen.rank}", f"of {view.run.d_head}"),
    ]


def _interval(chosen: HeadScore, by: str) -> str:
    low, high = chosen.interval(by) or (None, None)
    if by == "accuracy":
        return f"95 % interval {panel.percent(low, 1)}–{panel.percent(high, 1)}"
    return f"95 % interval {panel.number(low)}–{panel.number(high)}"
