"""The versions of a saved contrast: who saved each and when, what changed, how it did on a run; and those put away."""

from __future__ import annotations

import streamlit as st

from dashboard import shell, state
from dashboard.contrasts import editor
from dashboard.state import View
from dashboard.text import line, plain
from qkstore.contrast.difference import Difference, difference, told
from qkstore.store.catalog import Version, full_name
from qkstore.text import visible


def show(view: View) -> None:
    """Every version, newest first, each beside the one before it; and a button that puts the contrast away."""
    name = view.contrast.name
    history = view.store.catalog.history(name)
    if not history:
        return
    with st.expander(f"Versions of {plain(name)}: {len(history)}"):
        for version, before in reversed(list(zip(history, [None, *history]))):
            _version(view, version, before)
        _put_away(view, name)


def _version(view: View, version: Version, before: Version | None) -> None:
    contrast = version.contrast
    said = told(before.contrast, contrast) if before else f"forked from {version.forked}" if version.forked else "new"
    line(f"Version {contrast.version}, {version.created:%Y-%m-%d %H:%M}, by {contrast.author or 'somebody'}: {said}")
    if version.checked:
        line(checked(version.checked))
    if before:
        for change in difference(before.contrast, contrast):
            st.code(_changed(change), language="diff", wrap_lines=True)
    else:
        st.code(editor.sql(contrast), language="sql", wrap_lines=True)
    if contrast.version != view.contrast.version:
        shell.link("contrasts", f"Open version {contrast.version}", run=view.run.name, contrast=full_name(contrast))


def checked(found: dict) -> str:
    """How a contrast did on a run when it was saved, in one line."""
    counts, findings = found["counts"], "; ".join(found["findings"]) or "nothing found"
    return (
        f"Checked on run {found['run']} ({found['content'][:8]}), {found['split'] or 'all'} prompts: "
        f"{counts['n_pos']:,} positive and {counts['n_neg']:,} negative pairs; {findings}"
    )


def _changed(change: Difference) -> str:
    return f"{change.field}\n" + "\n".join(visible(text) for text in change.lines)


def _put_away(view: View, name: str) -> None:
    catalog = view.store.catalog
    if name in catalog.archived():
        line("It is archived: in no list, and found by its address.")
        if st.button("Restore", key="restore-contrast"):
            state.changed(lambda: catalog.restore(name))
    elif catalog.person.may("editor") and st.button("Archive this contrast", key="archive-contrast"):
        state.changed(lambda: catalog.archive(name), contrast=None)


def others(view: View) -> None:
    """The saved contrasts that do not fit the run, each with what the run lacks; nothing where all do."""
    misfits = view.store.misfits(view.run)
    if misfits:
        with st.expander(f"Saved, and not for this run: {len(misfits)}"):
            for name, reason in misfits.items():
                line(f"{name}: {reason}")


def archived(view: View) -> None:
    """The names that were put away, each a link to its newest version; nothing where there are none."""
    names = view.store.catalog.archived()
    if names:
        with st.expander(f"Archived: {len(names)}"):
            for name in names:
                newest = full_name(view.store.catalog.contrast(name))
                shell.link("contrasts", newest, run=view.run.name, contrast=newest)
