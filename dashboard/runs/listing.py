"""The list of the runs of a store: found by words, a row is clicked to see the run."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import streamlit as st

from dashboard import panel, results, state
from dashboard.runs import find
from dashboard.text import line
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.inventory import Entry, entry
from qkstore.text import visible

MOST_ENTRIES = 4000  # 1 kB each


@st.cache_resource(max_entries=1)
def _entries() -> dict:
    return {}


def entries(runs: Sequence[Run]) -> tuple[list[Entry], list[QKStoreError]]:
    """What the list shows of each run, looked up once a file, and the errors of files that cannot be read."""
    found, errors = [], []
    for run in runs:
        key = results.identity(run)
        try:
            known = _entries().get(key)
            found.append(known or results.remember(_entries(), MOST_ENTRIES, key, entry(run)))
        except QKStoreError as error:
            errors.append(error)
    return found, errors


def show(store: Store, listed: Sequence[Entry]) -> str:
    """The table of the runs that are looked for; a row that is clicked is the run that is shown. Returns its name."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        asked = find.field("Find", "words of a run's name, model, task or gaps")
    with right:
        chosen = state.of_runs(store, [one.name for one in listed], lambda: state.put(act=None))
    rows = [one for one in listed if one.has(asked)]
    table, key = _table(rows, store.catalog.runs.added()), f"runs-{asked}-{chosen}"

    def pick() -> None:
        for i in st.session_state[key].selection.rows:
            state.put(run=rows[i].name, act=None)

    if not rows:
        line(f"None of the {len(listed):,} runs holds all of these words.")
        return chosen
    line(f"{len(rows):,} of {len(listed):,} runs. Click at the left of a row to see the run below.")
    st.dataframe(
        table,
        hide_index=True,
        height=panel.height(table),
        on_select=pick,
        selection_mode="single-row",
        key=key,
        column_config={
            "run": st.column_config.TextColumn("Run", width="medium"),
            "model": st.column_config.TextColumn("Model", width="small"),
            "task": st.column_config.TextColumn("Task", width="small"),
            "prompts": st.column_config.NumberColumn("Prompts", format="localized", width="small"),
            "heads": st.column_config.TextColumn("Heads", width="small", help="stored layers × heads of a layer"),
            "rows": st.column_config.NumberColumn("Rows", format="compact", width="small", help="queries and keys"),
            "size": st.column_config.NumberColumn("Size", format="bytes", width="small"),
            "created": st.column_config.DatetimeColumn("Created", format="YYYY-MM-DD", width="small"),
            "by": st.column_config.TextColumn("By", width="small"),
            "gaps": st.column_config.TextColumn("Gaps", width="medium"),
        },
    )
    panel.download(table, "runs.csv", "csv-runs")
    return chosen


def _table(rows: Sequence[Entry], added: dict[str, str]) -> pl.DataFrame:
    schema = {
        "run": pl.String,
        "model": pl.String,
        "task": pl.String,
        "prompts": pl.Int64,
        "heads": pl.String,
        "rows": pl.Int64,
        "size": pl.Int64,
        "created": pl.Datetime,
        "by": pl.String,
        "gaps": pl.String,
    }
    cells = [
        (
            one.name,
            visible(one.model),
            visible(one.task),
            one.n_prompts,
            f"{one.layers} × {one.n_heads}",
            one.n_queries + one.n_keys,
            one.n_bytes,
            one.created,
            visible(added.get(one.name, "")),
            "; ".join(one.gaps),
        )
        for one in rows
    ]
    table = pl.DataFrame(cells, schema=schema, orient="row")
    return table if added else table.drop("by")  # a directory does not know who
