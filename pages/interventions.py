"""Swaps: two keys exchange their coordinates in a feature's subspace; does attention follow?"""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import notes, panel, results, shell, state
from dashboard.prompts import swapped
from dashboard.text import line, plain
from qkstore import charts
from qkstore.analysis import live
from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.choice import LEAST_QUERIES
from qkstore.analysis.swaps import Side
from qkstore.text import number, percent, split_name

shell.enter()

GAPS = analysis_swaps.GAPS | {
    "gap_low": "Moves, low",
    "gap_high": "Moves, high",
    "beyond": "Beyond random",
    "beyond_low": "Beyond, low",
    "beyond_high": "Beyond, high",
}
MEASURES = {"attention": "Attention", "gap": "Logit gap"}
SIDES: dict[Side, str] = {"keys": "Keys", "queries": "Queries"}
SAID: dict[Side, str] = {
    "keys": " Closed form from the stored vectors: it equals a re-run of the model with the edit.",
    "queries": " The query takes on the coordinates of another that looks for what the target is. "
    "A changed query changes every logit, so attention is among the stored keys of the prompt.",
}

panel.title(
    "Interventions",
    "Two keys swap their coordinates in a feature's subspace, or a query takes on another's. Does attention follow?",
)
view = state.view(extra=[2.1, 2.6])
with view.extra[0]:
    other = state.partnered(view)
with view.extra[1]:
    side = state.segments("Swap", "side", list(SIDES), "keys", shown=SIDES.get)
features = {name: view.named[name] for name in (view.name, other) if name}
with st.spinner("Swapping"):
    swaps = (results.query_swaps if side == "queries" else results.intervene)(view.run, features, view.layer, view.head)
rows = [c.to_dict() for c in swaps.conditions]
(alone, at_random), *together = analysis_swaps.headline(rows)


def gain(title: str, moved: dict, baseline: dict) -> tuple[str, str, str]:
    """The card of one swap: what the target gains, its interval, and what random subspaces of its rank give."""
    low, high = (number(100 * end, 1) for end in moved["ci"]["delta_p"])
    said = f"of attention [{low}, {high}]; random subspaces of rank {baseline['rank']}: "
    return title, percent(moved["delta_p"], 1), said + analysis_swaps.gained(baseline)


panel.figures(
    [
        gain(f"Target gains, {alone['name']}", alone, at_random),
        *(gain(f"Together with {other}", *pair) for pair in together),
        (
            "Logit gap moves",
            panel.number(alone["gap_gain"], "+.2f"),
            f"swapping {alone['name']}; random {panel.number(at_random['gap_gain'], '+.2f')}; "
            f"flip rate {percent(alone['flip_rate'])}, random {percent(at_random['flip_rate'])}",
        ),
        (
            "Queries",
            f"{swaps.n:,}",
            f"{swaps.split or 'all'} prompts"
            + ("" if swaps.n >= LEAST_QUERIES else f"; below {LEAST_QUERIES}, no claim"),
        ),
    ]
)
with st.container(border=True):
    shown = state.segments(
        "Show", "show", list(MEASURES), "attention", shown=MEASURES.get, label_visibility="collapsed"
    )
    bars = charts.gap_bars if shown == "gap" else charts.swap_bars
    panel.chart(partial(bars, rows), "swaps", key=f"swaps-{shown}")
    for row in rows:
        if row["beyond"]:
            line(f"{analysis_swaps.sentence(row)}.")
    line(
        f"Mean {MEASURES[shown].lower()} before (pale) and after the swap with 95 % intervals, "
        f"over the same {swaps.n:,} queries of the {split_name(swaps.split)} split in every condition"
        + (f"; {swaps.hidden:,} more are left out, {analysis_swaps.left_out(side)}." if swaps.hidden else ".")
        + SAID[side]
        + (f" They hold {percent(swaps.stored)} of it." if side == "queries" else "")
    )
found = results.moved(view.run, features, view.layer, view.head, side)
with st.container(border=True), shell.optional():
    swapped.show(view, found)
head = f"{view.layer}:{view.head}"
answered = live.results(view.store, view.run, features, head)
with st.container(border=True):
    st.subheader("In the running model", anchor=False)
    if answered:
        titles = [result.title for result in answered]
        shown = answered[st.selectbox("Result", range(len(answered)), format_func=titles.__getitem__)]
        panel.chart(partial(charts.live_bars, shown, head), "live")
        line(live.statement(shown, head))
        panel.csv(view, live.table(shown, head), "live")
    elif live.possible(view.run):
        line(
            "No live results of this head yet: the heads of its layer edited together, and the model's answers. "
            "This makes them:"
        )
        command = live.command(view.store, view.run, list(features), view.layer)
        st.code(shell.public(command), language="shell", wrap_lines=True)
    else:
        line("This run is of no language model, so there is none to edit; the swaps above need none.")
with st.container(border=True), shell.optional():
    st.subheader(f"Keys, little by little: {plain(view.name)}", anchor=False)
    response = results.doses(view.run, view.contrasts, view.layer, view.head)
    panel.chart(partial(charts.dose_curves, response.table), "doses")
    line(
        "Mean attention on the target as the two keys exchange a part of their coordinates (1: all of it, "
        f"beyond: more), in the whole subspace of rank {response.rank}, and in its first coordinates one at a time; "
        f"{response.n:,} queries. Random: {response.bases} subspaces of the same rank. Bands are 95 % intervals."
    )
    panel.csv(view, response.table, "doses")
table = analysis_swaps.table(rows)
st.dataframe(
    table,
    hide_index=True,
    placeholder=panel.MISSING,
    column_order=["name", "rank", *analysis_swaps.TITLES, "gain_low", "gain_high", *GAPS],
    column_config={
        "name": "Condition",
        "rank": "Rank",
        **{
            n: st.column_config.NumberColumn(t, format="percent")
            for n, t in (analysis_swaps.TITLES | {"gain_low": "Gain, low", "gain_high": "Gain, high"}).items()
        },
        **{n: st.column_config.NumberColumn(t, format="%+.2f") for n, t in GAPS.items()},
    },
)
panel.csv(view, table, "swaps")
call = "intervene_queries" if side == "queries" else "intervene"
notes.show(view)
panel.reproduce(
    panel.command("intervene", view, **{"and": other, "side": side if side == "queries" else None}),
    panel.python(
        view,
        f"from qkstore.analysis.moved import moved\nfrom qkstore.analysis.swaps import {call}",
        f"swaps = {call}(run, features, {view.layer}, {view.head})",
        "for condition in swaps.conditions:",
        "    print(condition)",
        f"each = moved(run, features, {view.layer}, {view.head}, {side!r})",
        "print(each.table)",
        features=features,
    ),
    view,
    f"charts.{bars.__name__}(swaps.to_dict()['conditions'])",
)
