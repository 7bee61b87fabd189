"""Contrasts: what there is, read back; an editor that previews and saves; and the versions of one."""

from __future__ import annotations

import streamlit as st

from dashboard import notes, panel, shell, state
from dashboard.contrasts import editor, preview, versions
from qkstore.analysis import build_split
from qkstore.store.catalog import full_name

shell.enter()

panel.title(
    "Contrasts", "Which query–key pairs share a feature, and which do not: a rule in SQL over queries q and keys k."
)
view = state.view(head=False, extra=[3], without=True)
split = build_split(view.run)

if view.named:
    base = view.contrast
    editor.summary(view, base, split)
else:
    base = None
    st.info("No built-in contrast fits this run's labels. Write one below; it can use any column listed under Columns.")

main, detail = panel.panels()
with main:
    draft = editor.form(view, base)
with detail:
    preview.preview(view, base or editor.BLANK, draft, split)

archived = [full_name(contrast) for contrast in view.store.catalog.archived()]
if base and base.version:
    versions.show(view, archived)
listed = editor.listing(view)
st.subheader("All contrasts of this run", anchor=False)
st.dataframe(
    listed,
    hide_index=True,
    column_config={
        "name": "Name",
        "version": "Version",
        "author": "Author",
        "sentence": st.column_config.TextColumn("Reads", width="large"),
        "weighting": "Weighting",
        "centring": "Centring",
    },
)
versions.others(view)
versions.archived(archived)
notes.show(view)
if view.named:
    panel.csv(view, listed, "contrasts")
    panel.reproduce(
        f"python -m qkstore contrasts --store {view.store.where} --run {view.run.name}",
        panel.python(
            view,
            "from qkstore.contrast import pairs",
            f"chosen = pairs(run, contrast, {split!r})",
            "print(contrast.sentence(chosen.counts))",
        ),
        view,
    )
