"""What every label explains of one component: of the query, of the key that it chose, and where the two agree."""

from __future__ import annotations

import polars as pl
import streamlit as st

from dashboard import panel
from dashboard.state import View
from dashboard.text import line
from qkstore.analysis.decomposition import Study
from qkstore.text import split_name, visible

SHOWN = 10  # rows; more scroll
SIDES = {"query": "query", "key": "key", "agreement": "both agree"}


def table(row: dict) -> pl.DataFrame:
    """A row a label of a component's row, most explained first, as shown and as CSV."""
    return pl.DataFrame([{**of, "label": visible(of["label"]), "side": SIDES[of["side"]]} for of in row["labels"]])


def listed(view: View, study: Study, row: dict) -> None:
    """The table of a component, and what its figures mean; nothing where there is no label to try."""
    if not row["labels"]:
        return
    rows, component = table(row), row["component"]
    st.subheader("What each label explains", anchor=False)
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        rows,
        hide_index=True,
        height=panel.height(rows, SHOWN),
        key=f"labels-{view.layer}-{view.head}-{component}",
        column_order=["label", "side", "explained", "p"],
        column_config={
            "label": text("Label", width="medium", help="q: a column of queries, k: of keys."),
            "side": text("Whose", help="Of the query, of the key that it chose, or whether both have the same value."),
            "explained": number("Explains", format="percent", help="Share of variance of its scores, beyond chance."),
            "p": number("p", format="%.2f", help="Over all labels and components of this head together."),
        },
    )
    panel.csv(view, rows, f"labels of component {component}")
    line(
        "Share of the variance of the component's scores that goes with a label, beyond chance: a label that says "
        "nothing is at 0 % on average, some a little below it, and one that says all at 100 %. Both agree: the same of "
        "a query's score and the scores of keys of other prompts that have its value. p: the share of "
        f"{study.deals} deals of the labels to other prompts in which any label explains any component as well, at "
        f"least 1 in {study.deals + 1}. {study.n_named:,} queries of the {split_name(study.judged_on)} split."
    )
    if study.untried:
        _left_out(study.untried)


def _left_out(untried: dict[str, str]) -> None:
    """What was not tried, and why."""
    with st.expander(f"{len(untried):,} labels left out"):
        left = pl.DataFrame([{"label": visible(label), "why": visible(why)} for label, why in untried.items()])
        titles = {"label": "Label", "why": st.column_config.TextColumn("Why", width="medium")}
        st.dataframe(left, hide_index=True, height=panel.height(left, SHOWN), column_config=titles)
