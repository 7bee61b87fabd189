"""The components of a head as figures, a chart and a table; choosing a row is choosing its component."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl
import streamlit as st

from dashboard import panel, state
from dashboard.state import View
from qkstore import charts
from qkstore.analysis.decomposition import Study
from qkstore.analysis.decomposition.claim import called
from qkstore.analysis.swaps import gained
from qkstore.text import estimate, head_name, number, percent, split_name, visible

CHOSEN = "component"  # in the address
SHARE = (
    "Share of the logit by which queries prefer what they chose to their other keys, without the part of the mean "
    "query. All directions together have 100 %."
)


def figures(study: Study) -> None:
    """How many, how sure, how many without a name, and what swapping all of them does."""
    of, unnamed = study.number, len(study.unnamed)
    low, high = of["interval"]
    tried = f"{len(study.tried):,} labels tried" if study.tried else "no label to try"
    moved = study.condition("all")
    by_chance = moved and study.condition(f"random {moved['rank']}")
    panel.figures(
        [
            (
                f"Components of {head_name(study.layer, study.head)}",
                f"{of['value']} [{low}, {high}]",
                f"95 % of halvings; {of['n']:,} queries of the {split_name(study.built_on)} split; "
                f"chance reaches {number(of['chance'], 2)}",
            ),
            ("Unnamed", f"{unnamed}", f"of {len(study.rows)}; {tried}, on {study.n_named:,} queries"),
            (
                "Target gains, all swapped",
                percent(moved["delta_p"], 1) if moved else panel.MISSING,
                f"of attention {points(moved['ci']['delta_p'])}, {moved['n']:,} queries of the "
                f"{split_name(study.judged_on)} split; {moved['rank']} random dimensions: {gained(by_chance)}"
                if moved and by_chance
                else study.not_swapped,
            ),
            (
                "Clear of chance",
                f"{sum(one.clear for one in study.claims.values())}",
                f"of {len(study.rows)}; {of['clear']} directions are above re-paired queries, as attention picks keys "
                "that fit in any head",
            ),
        ]
    )


def counted(view: View, of: dict) -> None:
    """The number and its chart, before there are names and swaps."""
    low, high = of["interval"]
    told = f"{of['n']:,} queries; chance reaches {number(of['chance'], 2)}. Names and swaps follow."
    panel.figures([(f"Components of {head_name(view.layer, view.head)}", f"{of['value']} [{low}, {high}]", told)])
    panel.chart(partial(charts.elbow, of["held"], of["value"], of["chance"]), "elbow")


def elbow(study: Study) -> None:
    """The chart of the number."""
    of = study.number
    panel.chart(partial(charts.elbow, of["held"], of["value"], of["chance"]), "elbow")


def table(study: Study) -> pl.DataFrame:
    """A row a component, unnamed ones first, as shown and as CSV."""
    return pl.DataFrame(
        [
            {
                "component": row["component"],
                "name": visible(row["name"]),
                "claim": study.claims[row["component"]].short,
                "rho": row["rho"],
                "rho_interval": _interval(row["rho_ci"]),
                "share": row["share"],
                "gap": row["gap"],
                "gap_interval": _interval(row["gap_ci"]),
                "moved": row["moved"],
                "moved_interval": _percents(row["moved_ci"]) if row["moved_ci"] else None,
                "explained": row["explained"],
                "label": row["label"],
            }
            for row in study.rows
        ]
    )


def choose(study: Study) -> dict:
    """The component of the address, or the first row, which is an unnamed one where there is any."""
    rows = {row["component"]: row for row in study.rows}
    first = next(iter(rows))
    others = {str(i): first for i in range(max(rows) + 1, 1000)}  # another head had more
    shown = lambda j: f"{j}: {called(rows[j])}"  # noqa: E731
    return rows[state.select("Component", CHOSEN, list(rows), first, shown=shown, also=others, changed=_forget)]


def _forget() -> None:
    state.put(q=None, k=None)


def _interval(ends: Sequence[float] | None) -> str | None:
    """[0.94, 0.96], as the column beside it tells them."""
    return estimate(None, ends, 2).partition(" ")[2] if ends else None


def points(ends: Sequence[float]) -> str:
    """An interval of shares, where the sign of percent stands with the value: [2.6, 4.5]."""
    low, high = (number(100 * end, 1) for end in ends)
    return f"[{low}, {high}]"


def _percents(interval: Sequence[float]) -> str:
    """An interval of shares, as the column beside it tells them."""
    low, high = (number(100 * end, 2) for end in interval)
    return f"{low} to {high} %"


def listed(view: View, study: Study, chosen: int) -> None:
    """The table, with the chosen component's row marked."""
    rows = table(study)
    key = f"components-{view.layer}-{view.head}-{chosen}"

    def pick() -> None:
        for i in st.session_state[key].selection.rows:
            state.put(**{CHOSEN: rows["component"][i], "q": None, "k": None})

    number_column, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        rows,
        hide_index=True,
        height=panel.height(rows, 12),
        placeholder=panel.MISSING,
        key=key,
        on_select=pick,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [rows["component"].to_list().index(chosen)]}},
        column_order=[
            "component",
            "name",
            "claim",
            "rho",
            "rho_interval",
            "gap",
            "gap_interval",
            "moved",
            "moved_interval",
            "share",
            "explained",
        ],
        column_config={
            "component": number_column("No."),
            "name": text("Name", width="medium"),
            "claim": text("Claim", help="Whether it is told from what random weights give, which labels name, too."),
            "rho": number_column("ρ", format="%.2f", help="Correlation of the two sides' scores on the judged split."),
            "rho_interval": text("95 %", help="Of ρ: a jackknife over folds of prompts."),
            "share": number_column("Of the gap", format="percent", help=SHARE),
            "moved": number_column("Moves", format="percent", help="Attention that its swap moves beyond random."),
            "moved_interval": text("95 %", help="Of what its swap moves beyond random."),
            "gap": number_column("Logits", format="%+.2f", help="Logit gap that its swap turns beyond random."),
            "gap_interval": text("95 %", help="Of the logits; a claim asks for all of it above the rule's limit."),
            "explained": number_column(
                "Explained", format="percent", help="Share of its variance that a label explains."
            ),
        },
    )
    panel.csv(view, rows, "components")
