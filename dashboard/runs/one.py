"""One run: where it comes from, what it lacks, how large it is, its labels, and what is kept of it."""

from __future__ import annotations

import json

import polars as pl
import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.text import line, plain
from qkstore.run import Run
from qkstore.run.incoming.space import told
from qkstore.store import Store
from qkstore.store.inventory import Entry
from qkstore.store.overview import answers
from qkstore.text import visible

PLANNED = ("prompts", "batch_size", "device", "memory")  # of a run's plan, that are shown
PAGES = ("heads", "discover", "components", "contrasts", "projections", "interventions", "attributions")


def show(store: Store, run: Run, listed: Entry) -> None:
    st.subheader(plain(run.name), anchor=False)
    kept = store.catalog.runs.kept(run.name)
    n_results = sum(kept.results.values())
    panel.figures(
        [
            ("Size", told(listed.n_bytes), f"{listed.n_queries:,} queries, {listed.n_keys:,} keys"),
            ("Prompts", f"{run.n_prompts:,}", answers(run) or "answers not stored"),
            ("Heads", f"{len(run.layers) * run.n_heads:,}", f"in {len(run.layers)} of {run.n_layers} layers"),
            ("Kept results", f"{n_results:,}", f"{told(kept.n_bytes)}; notes on it: {kept.notes:,}"),
        ]
    )
    line(f"Gaps: {'; '.join(listed.gaps)}." if listed.gaps else "It has no gaps.")
    with st.container(horizontal=True):
        for page in PAGES:
            shell.link(page, page.capitalize(), run=run.name)
    _acts(store, run)
    main, detail = panel.panels()
    with main:
        line("Where it comes from")
        panel.facts([(what, visible(value), visible(note)) for what, value, note in provenance(store, run)])
        _fits(store, run)
    with detail:
        _sizes(run, listed)
        _kept(store, run.name)
    _labels(run)


def _acts(store: Store, run: Run) -> None:
    """The ways to the pages on which it is renamed and deleted."""
    may = store.catalog.person.may("admin")
    help = None if may else "for the role admin"
    with st.container(horizontal=True):
        for act, label in (("rename", "Rename this run…"), ("delete", "Delete this run…")):
            st.button(
                label,
                key=f"act-{act}",
                type="tertiary",
                disabled=not may,
                help=help,
                on_click=state.put,
                kwargs={"run": run.name, "act": act},
            )


def provenance(store: Store, run: Run) -> list[tuple[str, str, str]]:
    """(what, value, a note) of how a run was made, as its manifest says."""
    rows = [
        ("Made", f"{run.created:%Y-%m-%d %H:%M} UTC", f"as {run.run}" if run.run != run.name else ""),
        ("Added by", store.catalog.runs.added().get(run.name, ""), ""),
        ("Digest", run.digest, ""),
        ("Model", run.model, run.revision or ""),
        ("Weights", f"SHA-256 {run.weights_hash[:16]}…" if run.weights_hash else "", ""),
        ("Architecture", run.architecture, ", ".join(filter(None, (run.dtype, run.quantisation)))),
        ("Vectors", run.manifest.rounding, ""),
        ("Shards", f"{run.n_shards:,}" if run.shards else "", "files of vectors beside the run's own"),
        ("Task", run.task, f"seed {run.seed}" if run.seed is not None else ""),
        ("Template", run.prompt_template or "", ""),
        ("Chat template", f"{len(run.chat_template):,} characters" if run.chat_template else "", ""),
        ("Tokens stored", run.positions or "", f"queries: {', '.join(run.query_roles or ())}"),
        *((f"Plan: {name}", value, "") for name, value in _planned(run)),
        ("Code", run.code_version or "", ""),
        ("Libraries", run.libraries or "", ""),
    ]
    return [row for row in rows if row[1]]


def _planned(run: Run) -> list[tuple[str, str]]:
    plan = json.loads(run.plan)
    return [(n, _short(str(plan[n]))) for n in PLANNED if n in plan] if isinstance(plan, dict) else []


def _short(text: str) -> str:
    """A digest by its beginning, as that of the weights."""
    return f"SHA-256 {text[:16]}…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text[:64]


def _fits(store: Store, run: Run) -> None:
    features, misfits = store.asked(run)
    line(f"Contrasts that fit: {', '.join(features) or 'none'}.")
    if misfits:
        with st.expander(f"Saved, and not for this run: {len(misfits)}"):
            for name, reason in misfits.items():
                line(f"{name}: {reason}")


def _sizes(run: Run, listed: Entry) -> None:
    with shell.optional():
        found = results.sizes(run)
        rest = listed.n_bytes - sum(size for *_, size in found)
        table = pl.DataFrame(
            [*((name, rows, size) for name, rows, size in found if rows), ("of no table", None, max(rest, 0))],
            schema={"table": pl.String, "rows": pl.Int64, "size": pl.Int64},
            orient="row",
        )
        line("Size by table, about")
        st.dataframe(
            table,
            hide_index=True,
            height=panel.height(table, 12),
            column_config={
                "table": "Table",
                "rows": st.column_config.NumberColumn("Rows", format="localized"),
                "size": st.column_config.NumberColumn("Size", format="bytes"),
            },
        )


def _kept(store: Store, name: str) -> None:
    found = store.catalog.runs.results(name)
    if not found:
        line("No results are kept of it.")
        return
    line(f"Results kept of it, the newest {len(found)}")
    rows = [
        (visible(r["kind"]), visible(r["contrast"]), r["created"], visible(r["author"] or ""), r["n_bytes"])
        for r in found
    ]
    schema = {"kind": pl.String, "contrast": pl.String, "created": pl.Datetime, "by": pl.String, "size": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    titles = {"kind": "Kind", "contrast": "Contrast", "by": "By"}
    st.dataframe(
        table,
        hide_index=True,
        height=panel.height(table, 6),
        column_config=titles
        | {
            "created": st.column_config.DatetimeColumn("Created", format="YYYY-MM-DD HH:mm"),
            "size": st.column_config.NumberColumn("Size", format="bytes"),
        },
    )


def _value(value: object) -> str:
    """A value of a label; of a fraction as many digits as tell it from others."""
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))


def _labels(run: Run) -> None:
    with shell.optional():
        rows = [
            (one.name, one.of, one.kind, one.n_values, ", ".join(f"{_value(v)} ({n:,})" for v, n in one.values))
            for one in results.label_values(run)
        ]
        table = pl.DataFrame(rows, schema=["label", "of", "type", "values", "most frequent"], orient="row")
        st.subheader("Labels", anchor=False)
        st.dataframe(
            table,
            hide_index=True,
            height=panel.height(table, 16),
            column_config={
                "label": "Label",
                "of": "Of",
                "type": "Type",
                "values": st.column_config.NumberColumn("Values", format="localized"),
                "most frequent": st.column_config.TextColumn("Most frequent, with their rows", width="large"),
            },
        )
