"""The runs of the store: all of them, the ingests at work, and one run with where it comes from and what it lacks."""

from __future__ import annotations

import streamlit as st

from dashboard import notes, panel, shell, state
from dashboard.runs import acts, ingests, listing, one

shell.enter()

store = shell.store()
runs, errors = store.scan()
act = acts.ACTS.get(st.query_params.get("act", ""))
asked = next((r.name for r in runs if r.name == st.query_params.get("run")), None)
panel.title("Runs", "What is in the store: each run with where it comes from, its size, and what it lacks.")
if act and asked:
    act(store, asked)
    st.stop()
listed, unread = listing.entries(runs)
for error in (*errors, *unread):
    st.warning(shell.told(error))
ingests.show(store)
if not listed:
    shell.empty_store(store)
st.session_state[state.NOTES] = st.container()
chosen = listing.show(store, listed)
run = next(r for r in runs if r.name == chosen)
one.show(store, run, next(entry for entry in listed if entry.name == chosen))
notes.show(state.View(store, run, {}, "", None, None, []))
panel.reproduce(
    f"python -m qkstore runs --store {store.where}",
    (
        "import qkstore\nfrom qkstore.store.inventory import entry, labels, sizes\n\n"
        f"run = qkstore.open({str(store.where)!r}).run({run.name!r})\n"
        "print(entry(run), sizes(run), labels(run), run.manifest)\n"
    ),
)
