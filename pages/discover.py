"""What the heads of a run match on, before anybody says what to look for: every pair of labels, every head."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import panel, shell, state
from dashboard.discover import listing, search
from dashboard.text import line
from qkstore.analysis import discovery

shell.enter()
LEVELS = (0.01, 0.05, 0.1, 0.2)
EACH = {"all": "Every match", "best": "Best of each head", "beyond": "Beyond known types"}

panel.title("Discover", "What do the heads match on? Every pair of labels that can match is tried on every head.")
store = shell.store()
runs, errors = store.scan()
if not runs:
    shell.empty_store(store, errors)
st.session_state[state.NOTES] = st.container()
run_place, level_place, each_place = st.columns([2.6, 1.6, 2.6], vertical_alignment="bottom")
with run_place:
    name = state.of_runs(store, [r.name for r in runs], changed=state.forget)
run = next(r for r in runs if r.name == name)
state.tell_task(run)
with level_place:
    level = state.select("False discoveries", "fdr", LEVELS, discovery.LEVEL, shown=panel.percent)
with each_place:
    each = state.segments("Shown", "each", list(EACH), "all", shown=EACH.get)

found = search.search(run)
known = discovery.types(found, level)
table = discovery.table(found, level, each == "best")
if each == "beyond":
    table = table.filter(table["type"] == "") if len(table) else table
kinds = len(set(table["name"])) if len(table) else 0
panel.figures(
    [
        ("Found", f"{len(found.found(level)):,}", f"of {found.n:,} tests"),
        ("Heads", f"{len(found.found(level, best=True)):,}", f"of {found.n_heads:,} match on something"),
        ("Features", f"{kinds:,}", f"of {found.tried.pairs} tried"),
        ("ΔC beyond its null", f"{found.n_delta:,}", "of these tests; it alone is no find"),
    ]
)
if len(known):
    st.subheader("Known types", anchor=False)
    listing.known(known)
if len(table):
    st.subheader("Found", anchor=False)
    listing.listing(run, table)
    listing.saving(run, found, sorted(set(table["name"])), level)
else:
    st.info(
        "No head was found to match on a pair of labels of this run."
        if found.n
        else "This run has no two labels that can match; what is left out, and why, stands below."
    )
line(discovery.statement(found, level))
listing.left_out(found)
if len(table):
    panel.download(table, "found.csv")
where, best = str(store.where), ", best=True" if each == "best" else ""
panel.reproduce(
    shlex.join(["python", "-m", "qkstore", "discover", "--store", where, "--run", run.name, "--fdr", f"{level:g}"])
    + (" --best" if best else ""),
    "import qkstore\nfrom qkstore.analysis import discovery\n\n"
    f"store = qkstore.open({where!r})\nrun = store.run({run.name!r})\nfound = discovery.kept(store, run)\n"
    f"print(discovery.table(found, {level:g}{best}), discovery.statement(found, {level:g}))\n",
)
