"""Which heads carry a contrast: a map of all heads, the chosen one beside it, and the ranked table."""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import notes, panel, results, shell, state
from dashboard.text import line
from qkstore import charts
from qkstore.analysis import heads
from qkstore.text import split_name

shell.enter()

panel.title(
    "Heads", "Which heads carry a feature? A cell is a head: click one to see it, then follow it to the other pages."
)
view = state.view()
scores = results.heads(view.run, view.contrast)
top = heads.summary(scores)
chosen = next(s for s in scores if (s.layer, s.head) == (view.layer, view.head))

panel.figures(
    [
        ("Heads selected", f"{top.n_selected:,}", f"of {top.n:,}"),
        (
            "Best head" if top.n_selected else "Best by chance",
            f"L{top.best.layer} H{top.best.head}",
            panel.measured(top) + ("" if top.n_selected else "; no head is selected"),
        ),
        ("Rank of the best", f"{top.best.rank}", f"of {view.run.d_head} dimensions"),
        ("Queries judged", f"{top.best.n_queries:,}", f"{top.best.judged_on or 'all'} prompts"),
    ]
)


def pick() -> None:
    """A click on a cell is a choice of layer and head."""
    for cell in st.session_state[map_key].selection.get("pick", []):
        state.put(layer=cell["layer"], head=cell["head"])


main, detail = panel.panels()
with main:
    by = state.segments(
        "Colour by",
        "by",
        list(heads.MEASURES),
        "accuracy",
        shown=lambda m: heads.MEASURES[m][0],
        label_visibility="collapsed",
    )
    table = heads.table(scores, by)
    map_key = f"map-{view.layer}-{view.head}-{by}"  # a new choice is a new chart: its own selection starts empty
    panel.chart(
        partial(charts.head_map, table, by, (view.layer, view.head)),
        "map",
        on_select=pick,
        selection_mode="pick",
        key=map_key,
    )
    line(f"{heads.MEASURES[by][0]}: {heads.MEASURES[by][1]}.")
    line(
        f"ΔC, its null and rank are built on the {split_name(chosen.built_on)} split; "
        f"accuracy and attention are judged on the {split_name(chosen.judged_on)} split."
    )
    if view.spans:
        line(f"{view.name} is the span of several contrasts; the scores are those of {view.contrast.name}.")
with detail:
    st.subheader(f"Layer {view.layer}, head {view.head}", anchor=False)
    low, high = chosen.accuracy_ci or (None, None)
    least, most = chosen.selectivity_ci or (None, None)
    panel.facts(
        [
            (
                "Accuracy",
                panel.percent(chosen.accuracy),
                f"95 % interval {panel.percent(low)}–{panel.percent(high)}, chance {panel.percent(chosen.chance)}, "
                f"n = {chosen.n_queries:,}",
            ),
            (
                "Attention",
                panel.percent(chosen.attention_positive),
                "on positive keys"
                + (
                    ""
                    if chosen.attention_negative is None
                    else f", {panel.percent(chosen.attention_negative)} on negative ones"
                ),
            ),
            (
                "Selectivity",
                panel.number(chosen.selectivity),
                "no ratio without attention on negative keys"
                if chosen.selectivity is None
                else f"95 % interval {panel.number(least)}–{panel.number(most)}",
            ),
            ("Selected", heads.selected(scores).get((chosen.layer, chosen.head), "no"), chosen.choice.sentence),
            (
                "‖ΔC‖",
                panel.number(chosen.delta_norm, ".3g"),
                f"of centred queries {panel.number(chosen.centred, '.3g')}, its null "
                f"{panel.number(chosen.delta_null, '.3g')}, p = {panel.number(chosen.p_value, '.2g')}",
            ),
            ("Rank", f"{chosen.rank}", f"of {view.run.d_head}"),
        ]
    )
    with shell.optional():
        fitted = results.covariance(view.run, view.contrast, view.layer, view.head)
        line("Singular values of ΔC; blue ones hold 99 % of ‖ΔC‖²")
        spectrum = partial(charts.singular_values, fitted.subspace.S, fitted.subspace.rank, height=150)
        panel.chart(spectrum, "singular values")
    with st.container(horizontal=True):
        for page in shell.GROUPS["Explain"]:
            shell.link(
                page,
                page.capitalize(),
                **state.carried()
                | {"run": view.run.name, "contrast": view.name, "layer": view.layer, "head": view.head},
            )

st.subheader("Ranked", anchor=False)
line(heads.statement(scores))
line(results.origin(view.run, view.contrast))
share = st.column_config.ProgressColumn
st.dataframe(
    table.head(200),
    hide_index=True,
    placeholder=panel.MISSING,
    height=panel.height(table),
    column_config={
        "layer": "Layer",
        "head": "Head",
        "selected": "Selected",
        "accuracy": share("Accuracy", format="percent", min_value=0, max_value=1),
        "accuracy_low": st.column_config.NumberColumn("95 % from", format="percent"),
        "accuracy_high": st.column_config.NumberColumn("to", format="percent"),
        "chance": st.column_config.NumberColumn("Chance", format="percent"),
        "selectivity": st.column_config.NumberColumn("Selectivity", format="%.2f"),
        "selectivity_low": st.column_config.NumberColumn("95 % from", format="%.2f"),
        "selectivity_high": st.column_config.NumberColumn("to", format="%.2f"),
        "attention_positive": st.column_config.NumberColumn("Attention +", format="percent"),
        "attention_negative": st.column_config.NumberColumn("Attention −", format="percent"),
        "delta_norm": st.column_config.NumberColumn("‖ΔC‖", format="%.3g"),
        "delta_null": st.column_config.NumberColumn("Null, centred", format="%.3g"),
        "strength": st.column_config.NumberColumn("‖ΔC‖ ÷ null", format="%.2f"),
        "p_value": st.column_config.NumberColumn("p", format="%.2g"),
        "rank": "Rank",
        "n_queries": st.column_config.NumberColumn("Queries", format="localized"),
    },
)
panel.csv(view, table, "heads")
notes.show(view)
panel.reproduce(
    panel.command("heads", view, view.one, head=False),
    panel.python(
        view,
        "from qkstore.analysis.heads import heads, table",
        "scores = heads(run, contrast)",
        f"print(table(scores, {by!r}))",
    ),
    view,
    f"charts.head_map(table(scores, {by!r}), {by!r}, ({view.layer}, {view.head}))",
)
