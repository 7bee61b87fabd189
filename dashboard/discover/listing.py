"""The ranked list of what was found: a click on a row goes to its head under its contrast."""

from __future__ import annotations

import polars as pl
import streamlit as st

from dashboard import panel, shell, state
from dashboard.discover import search
from dashboard.text import line
from qkstore.analysis.discovery import Discovery
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.text import head_name

GO = "discover-go"  # of the session: the row that was clicked
SAVED = "discover-saved"  # of the session: the run and the name that it saved last
ROWS, LINKED = 20, 5
P = (
    "The largest of four: of ΔC beyond its null, of logits that prefer what matches, of that beyond random weights, "
    "and of the swap beyond random subspaces. Smaller ones than 1e-12 are told as that."
)
ACCURACY = (
    "The share of judged queries whose largest logit is on a key that matches. For labels that come together in each "
    "prompt the keys are those of the next prompt, where they do not."
)


def listing(run: Run, table: pl.DataFrame) -> None:
    """The table, and links to its first rows, which the keyboard reaches too."""
    if (row := st.session_state.pop(GO, None)) is not None and row < len(table):
        st.switch_page(shell.page("head"), query_params=_choices(run, table.row(row, named=True)))

    def pick() -> None:
        for row in st.session_state["discover-list"].selection.rows:
            st.session_state[GO] = row

    number = st.column_config.NumberColumn
    st.dataframe(
        _shown(table),
        hide_index=True,
        placeholder=panel.MISSING,
        height=panel.height(table, ROWS),
        on_select=pick,
        selection_mode="single-row",
        key="discover-list",
        column_config={
            "feature": st.column_config.TextColumn("What the head matches on", width=320),
            "layer": "Layer",
            "head": "Head",
            "swap": number("Swap", format="percent", help="attention that the target gains beyond random subspaces"),
            "interval": st.column_config.TextColumn("95 % interval", help="Of the swap, bootstrap over queries."),
            "p": number("p", format="%.1e", help=P),
            "q": number("q", format="%.1e", help="p among all tests (Benjamini–Hochberg)"),
            "accuracy": number("Accuracy", format="percent", help=ACCURACY),
            "chance": number("Chance", format="percent"),
            "n": number("Queries", format="localized"),
        },
    )
    line("Click a row to see its head under its contrast. The first ones:")
    for row in table.head(LINKED).to_dicts():
        told = f"{head_name(row['layer'], row['head'])}: {row['feature']}"
        shell.link("head", told, **_choices(run, row))


def known(table: pl.DataFrame) -> None:
    """The head types that are known: how many heads are of each, and the strongest of them."""
    number = st.column_config.NumberColumn
    strong = "Whose swap moves 5 % of the attention or more; of the first token, those that give it half or more."
    st.dataframe(
        table,
        hide_index=True,
        placeholder=panel.MISSING,
        column_config={
            "type": "Head type",
            "heads": number("Heads found", format="localized"),
            "strong": number("Strong", format="localized", help=strong),
            "strongest": st.column_config.TextColumn("The strongest, and what their swaps move", width="large"),
        },
    )


def _choices(run: Run, row: dict) -> dict[str, str]:
    """What the address of the head's page holds."""
    chosen = {"run": run.name, "contrast": row["name"], "layer": row["layer"], "head": row["head"]}
    return {name: str(value) for name, value in chosen.items()}


def _shown(table: pl.DataFrame) -> pl.DataFrame:
    ends = table.select("swap_low", "swap_high").iter_rows()
    texts = [None if low is None else f"{100 * low:.1f}–{100 * high:.1f} %" for low, high in ends]
    interval = pl.Series("interval", texts, dtype=pl.String)
    return table.select("layer", "head", "feature", "swap", interval, "p", "q", "accuracy", "chance", "n")


def saving(run: Run, found: Discovery, names: list[str], level: float) -> None:
    """A choice among the contrasts found, the button that saves it for all, and then a link to its heads."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = state.select("Contrast that was found", "found", names, names[0], width=420)
        if st.button("Save it as a contrast"):
            try:
                search.save(run, found, name, level)
                st.session_state[SAVED] = run.name, name
            except QKStoreError as error:
                st.error(shell.told(error))
    if st.session_state.get(SAVED) == (run.name, name):
        shell.link("heads", f"All heads under {name}", run=run.name, contrast=name)


def left_out(found: Discovery) -> None:
    """What was not tried, and why."""
    with st.expander(f"{len(found.tried.refused):,} labels or pairs left out"):
        rows = [{"what": what, "why": why} for what, why in found.tried.refused]
        table = pl.DataFrame(rows, schema={"what": pl.String, "why": pl.String})
        titles = {"what": "Label or pair", "why": st.column_config.TextColumn("Why", width="large")}
        st.dataframe(table, hide_index=True, column_config=titles)
