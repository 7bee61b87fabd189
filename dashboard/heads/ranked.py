"""The ranked table of a page of heads, a few rows at a time; choosing a row is choosing its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import streamlit as st

from dashboard import panel, state
from dashboard.heads import map as maps
from dashboard.state import View
from dashboard.text import line
from qkstore.analysis.heads import MEASURES, HeadScore
from qkstore.text import percent

ROWS = 15  # on one page of the table, which so needs no scroll bar of its own


def ranked(view: View, shown: pl.DataFrame, columns: Mapping[str, object], order: str) -> None:
    """`shown`: a row a head (layer, head, …) in the order that `order` tells; the page with the chosen head first."""
    at = next(i for i, cell in enumerate(shown.select("layer", "head").rows()) if cell == (view.layer, view.head))
    pages = -(-len(shown) // ROWS)
    page = _page(at // ROWS + 1, pages)
    first = (page - 1) * ROWS
    part = shown[first : first + ROWS]
    key = f"ranked-{page}-{view.layer}-{view.head}-{order}"

    def pick() -> None:
        for row in st.session_state[key].selection.rows:
            maps.choose(*part.select("layer", "head").row(row))

    selected = {"selection": {"rows": [at - first]}} if first <= at < first + ROWS else None
    st.dataframe(
        part,
        hide_index=True,
        placeholder=panel.MISSING,
        height=panel.height(part, ROWS),
        column_config={"layer": "Layer", "head": "Head", **columns},
        on_select=pick,
        selection_mode="single-row",
        selection_default=selected,
        key=key,
    )
    place = f"{at + 1:,} of {len(shown):,}"
    line(f"Layer {view.layer}, head {view.head} is {place} {order}. Rows {first + 1:,} to {first + len(part):,}.")
    if pages > 1:
        _turn(page, pages)


def _page(default: int, pages: int) -> int:
    """The page of the address, or the one with the chosen head."""
    asked = st.query_params.get("sheet", "")
    return int(asked) if asked.isdecimal() and len(asked) < 6 and 1 <= int(asked) <= pages else default


def _turn(page: int, pages: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, to in (("First", 1), ("Previous", page - 1), ("Next", page + 1), ("Last", pages)):
            there = 1 <= to <= pages and to != page
            st.button(label, disabled=not there, on_click=state.put, kwargs={"sheet": to}, key=f"page-{label}")
        line(f"Page {page:,} of {pages:,}")


def scores_of_all(view: View, table: pl.DataFrame, scores: Sequence[HeadScore], by: str) -> None:
    """The table of all scores, best first by a measure: one column an interval, and nothing that all rows share."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    chance = table["chance"][0] if table["chance"].n_unique() == 1 else None
    shown = table.select(
        "layer",
        "head",
        "selected",
        "accuracy",
        _interval(table, "accuracy", 100, " %"),
        *([] if table["chance"].n_unique() == 1 else ["chance"]),
        "selectivity",
        _interval(table, "selectivity", 1, ""),
        "attention_positive",
        "attention_negative",
        "strength",
        "p_value",
        "rank",
        *([] if table["n_queries"].n_unique() == 1 else ["n_queries"]),
    )
    least = (
        scores[0].deals and f" {1 / (scores[0].deals + 1):.2g} is the least that {scores[0].deals:,} deals can give."
    )
    told = {name: what for name, (_, what) in MEASURES.items()}
    columns = {
        "selected": "Selected",
        "accuracy": st.column_config.ProgressColumn(
            "Accuracy" if chance is None else f"Accuracy (chance {percent(chance)})",
            format="percent",
            min_value=0,
            max_value=1,
            help=told["accuracy"],
        ),
        "accuracy_interval": text("95 % interval", help="Of the accuracy (Wilson), of one head."),
        "chance": number("Chance", format="percent"),
        "selectivity": number("Selectivity", format="%.2f", help=told["selectivity"]),
        "selectivity_interval": text("95 % interval", help="Of the selectivity (bootstrap over queries), of one head."),
        "attention_positive": number("Att. +", format="percent", help=told["attention_positive"]),
        "attention_negative": number("Att. −", format="percent", help=told["attention_negative"]),
        "strength": number("‖ΔC‖ ÷ null", format="%.2f", help=told["strength"]),
        "p_value": number("p", format="%.2g", help=f"{told['p_value']}.{least}"),
        "rank": number("Rank", help=told["rank"]),
        "n_queries": number("Queries", format="localized"),
    }
    ranked(view, shown, columns, f"by {MEASURES[by][0].lower() if by != 'p_value' else 'p'}")


def _interval(table: pl.DataFrame, by: str, times: int, unit: str) -> pl.Series:
    ends = table.select(f"{by}_low", f"{by}_high").iter_rows()
    digits = 1 if unit else 2
    texts = [None if low is None else f"{times * low:.{digits}f}–{times * high:.{digits}f}{unit}" for low, high in ends]
    return pl.Series(f"{by}_interval", texts, dtype=pl.String)
