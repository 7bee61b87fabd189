"""What is in the store, and where to go from here."""

from __future__ import annotations

import streamlit as st

from dashboard import panel, shell, state
from dashboard.text import line
from qkstore.store.overview import overview

shell.enter()

panel.title("Overview", "Queries and keys of transformer heads, and the contrasts that tell what they carry.")
store = shell.store()
contents = overview(store)
for error in contents.damaged:
    st.warning(shell.told(error))
if contents.runs.is_empty():
    shell.empty_store(store)

panel.figures(
    [
        ("Runs", f"{len(contents.runs):,}", ", ".join(contents.models)),
        ("Prompts", f"{contents.n_prompts:,}", "in all runs"),
        ("Heads", f"{contents.n_heads:,}", f"{contents.n_vectors:,} vectors"),
        ("Saved contrasts", f"{contents.n_saved:,}", "beside the built-in ones"),
    ]
)
st.subheader("Runs", anchor=False)
st.dataframe(
    contents.runs,
    hide_index=True,
    column_config={
        "run": "Run",
        "model": "Model",
        "task": "Task",
        "prompts": st.column_config.NumberColumn("Prompts", format="localized"),
        "answers": st.column_config.TextColumn("The model", help="on its own task, test prompts"),
        "query": "Query token",
        "layers": "Layers",
        "heads": "Heads",
        "d_head": st.column_config.NumberColumn("d_head", format="%d"),
        "splits": "Splits",
        "contrasts": st.column_config.TextColumn("Contrasts", width="small"),
        "created": st.column_config.DatetimeColumn("Created", format="YYYY-MM-DD HH:mm"),
    },
)

left, right = st.columns([3, 2], border=True)
with left:
    st.subheader("Start with a run", anchor=False)
    for run in contents.starts:
        shell.link("heads", f"{run}: which heads carry a feature?", run=run)
    if contents.n_toys:
        shell.link("toy", f"{contents.n_toys} toy runs: does the method find the ranks that were put in?")
with right:
    st.subheader("What next", anchor=False)
    line(
        "Heads shows which heads carry a contrast. Click one, then look at its subspace, its points, "
        "what a swap does, and where its logits come from."
    )
    shell.link("components", "See what every head matches on, without labels", **state.carried() | {"heads": "all"})
    shell.link("contrasts", "Write a contrast of your own", **state.carried())
    shell.link("interventions", "Swap a feature and see attention move", **state.carried())
panel.reproduce(
    f"python -m qkstore runs --store {store.where}",
    (
        f"import qkstore\n\nstore = qkstore.open({str(store.where)!r})\nfor run in store.runs():\n"
        "    print(run, list(store.features(run)))\n"
    ),
)
