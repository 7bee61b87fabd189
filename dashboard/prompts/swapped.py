"""Swaps prompt by prompt: how they spread, the prompts most and least moved, and one of them before and after."""

from __future__ import annotations

from functools import partial

import polars as pl
import streamlit as st

from dashboard import panel, shell, state
from dashboard.prompts.window import shaded, window
from dashboard.state import View
from dashboard.text import Mark, line
from qkstore import charts
from qkstore.analysis import moved
from qkstore.analysis.moved import SORTS, Moved, Sort
from qkstore.text import percent, visible

CHARTED, LISTED = 12, 200
QUERY = "query"  # the row of the query that is shown, in the address
FIGURES = {
    "original_before": "Original before",
    "target_before": "Target before",
    "original_after": "Original after",
    "target_after": "Target after",
    "delta_p": "Target gains",
    "random_delta_p": "Random",
}


def show(view: View, found: Moved) -> None:
    """The panel of single prompts, for one of the swaps."""
    st.subheader("Prompt by prompt", anchor=False)
    names = list(found.bases)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        condition = state.segments("Swap of", "of", names, names[0]) if len(names) > 1 else names[0]
        by: Sort = state.segments("Prompts", "sort", list(SORTS), "most", shown=SORTS.get)
    panel.chart(partial(charts.gain_curves, found, condition), "gains")
    line(_said(found, condition))
    rows = found.of(condition, by).head(LISTED)
    if rows.is_empty():
        line(f"Of no query does the target lose attention by swapping {condition}.")
        return
    chosen = _choose(found.of(condition), rows)
    _listed(rows, chosen, f"{condition}-{by}-{found.side}")
    panel.csv(view, found.table, "prompts")
    _one(view, found, condition, chosen)


def _said(found: Moved, condition: str) -> str:
    rows, drawn = found.of(condition), found.at_random[condition]
    gains, typical = rows["delta_p"], rows["random_delta_p"].median()
    more = float((gains > rows["random_delta_p"]).mean())
    middle, least, most = (percent(v, 1) for v in (gains.median(), gains.min(), gains.max()))
    return (
        f"Each of the {found.n:,} queries by itself: the target gains {middle} in the middle one, from {least} to "
        f"{most}; in {len(drawn)} random subspaces of the same rank {percent(typical, 1)} in the middle one. "
        f"{percent(more)} of the targets gain more than they do at random."
    )


def _choose(every: pl.DataFrame, rows: pl.DataFrame) -> int:
    """The query that is shown, kept in the URL: one of those listed, the first by default, or any that was swapped."""
    asked = every.filter(pl.col("query_row").cast(pl.String) == st.query_params.get(QUERY, ""))
    listed = pl.concat([rows, asked]).unique("query_row", keep="first", maintain_order=True)
    told = {r["query_row"]: f"{r['prompt_id']}: {r['original']} → {r['target']}" for r in listed.to_dicts()}
    first = next(iter(told))
    return state.select("Prompt", QUERY, list(told), first, shown=told.__getitem__, changed=_forget_window)


def _forget_window() -> None:
    state.put(**{"from": None})


def _pick(query: int) -> None:
    state.put(**{QUERY: query, "from": None})


def _listed(rows: pl.DataFrame, chosen: int, of: str) -> None:
    """The first prompts as a chart, and more of them as a table; a click on either chooses one."""
    key, table = f"moved-{of}-{chosen}", f"table-{of}-{chosen}"

    def picked() -> None:
        for point in st.session_state[key].selection.get("pick", []):
            _pick(point["query_row"])

    def ticked() -> None:
        for i in st.session_state[table].selection.rows:
            _pick(rows["query_row"][i])

    drawn = charts.before_and_after(rows.head(CHARTED), chosen)
    panel.chart(drawn, "prompts", key=key, on_select=picked, selection_mode="pick")
    line(f"The first {min(CHARTED, len(rows))}: hollow before, filled after. The table has {len(rows):,}.")
    st.dataframe(
        rows.select("prompt_id", "original", "target", *FIGURES, "flipped"),
        hide_index=True,
        height=panel.height(rows, 6),
        placeholder=panel.MISSING,
        key=table,
        on_select=ticked,
        selection_mode="single-row",
        column_config={"prompt_id": "Prompt", "original": "Original", "target": "Target", "flipped": "Flipped"}
        | {name: st.column_config.NumberColumn(title, format="percent") for name, title in FIGURES.items()},
    )


def _one(view: View, found: Moved, condition: str, query: int) -> None:
    """One prompt: the attention on its keys before and after, as bars and in its text."""
    one = moved.prompt(view.run, found, condition, query)
    keys = {t["key"]: i for i, t in enumerate(one.tokens) if t["key"]}
    best = max(range(len(one.tokens)), key=lambda i: one.tokens[i]["after"])
    st.subheader(f"Prompt {one.prompt_id}, before and after", anchor=False)
    shown = window(
        [max(t["before"], t["after"]) for t in one.tokens],
        {"Target": keys["target"], "Original": keys["original"], "Most attended": best},
    )
    panel.chart(partial(charts.key_bars, [one.tokens[i] for i in shown]), "one prompt")
    row = one.row
    line(
        f"Query {visible(one.query['text'])!r} at {one.query['pos']}: the original key {row['original']!r} at "
        f"{row['original_pos']} goes from {percent(row['original_before'], 1)} to {percent(row['original_after'], 1)}, "
        f"the target {row['target']!r} at {row['target_pos']} from {percent(row['target_before'], 1)} to "
        f"{percent(row['target_after'], 1)}; in random subspaces it gains {percent(row['random_delta_p'], 1)}."
    )
    marks: dict[int, Mark] = {row["original_pos"]: "negative", row["target_pos"]: "positive", one.query["pos"]: "query"}
    with st.container(key="panels-prompt"):
        for place, when in zip(st.columns(2, border=True), ("before", "after")):
            with place:
                line(f"{when.capitalize()}: shaded by attention; query red, original orange, target blue")
                shaded(view.run, one.prompt_id, {t["pos"]: t[when] for t in one.tokens}, marks, shown)
    shell.link(
        "attributions",
        "The logits of this prompt by feature",
        **state.carried()
        | {"run": view.run.name, "contrast": view.name, "layer": view.layer, "head": view.head}
        | {"prompt": one.prompt_id},
    )
