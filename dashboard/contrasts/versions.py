"""The versions of a saved contrast: who saved each and when, what changed, how it did on a run; and those put away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import streamlit as st

from dashboard import state
from dashboard.contrasts import draft as drafts
from dashboard.contrasts import editor
from dashboard.state import View
from dashboard.text import line, plain
from qkstore.contrast.difference import Difference, difference
from qkstore.contrast.name import MOST_NAME
from qkstore.store.catalog import Version, full_name
from qkstore.text import visible

MOST = 20  # versions that are shown with their differences
OPENED = "archived-opened"  # the key of the choice among those that were put away


def show(view: View, archived: Collection[str]) -> None:
    """The newest versions, each beside the one before it, once they are asked for; and a way to archive it."""
    name = view.contrast.name
    history = view.store.catalog.history(name)
    if not history:
        return
    with st.container(border=True):
        if st.toggle(f"Versions of {plain(name)}: {len(history)}", key=f"versions-{name}"):
            pairs = list(zip(history, [None, *history]))[-MOST:]
            for version, before in reversed(pairs):
                _version(view, version, before)
            if len(history) > MOST:
                line(f"The newest {MOST} are shown; `qkstore contrasts --history` lists all.")
            if before := view.store.catalog.names(name):
                line(f"Called {', '.join(before)} before; links to that go on.")
            if view.store.catalog.person.may("editor"):
                _rename(view, name)
        _put_away(view, name, name in {full.rpartition("@")[0] for full in archived})


def _version(view: View, version: Version, before: Version | None) -> None:
    contrast = version.contrast
    said = version.since(before) or "new"
    line(f"Version {contrast.version}, {version.created:%Y-%m-%d %H:%M}, by {version.who}: {said}")
    if version.told:
        line(version.told[0].upper() + version.told[1:])
    for change in difference(before.contrast, contrast) if before else ():
        st.code(_changed(change), language="diff", wrap_lines=True)
    if not before:
        st.code("\n".join(map(visible, editor.sql(contrast).splitlines())), language="sql", wrap_lines=True)
    if contrast.version != view.contrast.version:
        _open(f"Open version {contrast.version}", full_name(contrast))


def _open(label: str, full: str) -> None:
    """A way to another contrast on this page. A link to the page that one is on would leave the address as it was."""
    there = {"contrast": full, state.DRAFT: None}
    st.button(plain(label), key=f"open-{full}", type="tertiary", on_click=state.put, kwargs=there)


def _changed(change: Difference) -> str:
    return f"{change.field}\n" + "\n".join(visible(text) for text in change.lines)


def _rename(view: View, name: str) -> None:
    """A field for another name. What was refused stays in it."""
    with st.form(f"rename-{name}", border=False):
        field, act = st.columns([3, 1], vertical_alignment="bottom")
        new = field.text_input("Another name, for all versions", max_chars=MOST_NAME, key=f"rename-to-{name}")
        asked = act.form_submit_button("Rename")
    if asked:
        state.changed(lambda: _renamed(view, name, new.strip()), f"{name} is called {new.strip()} now.")


def _renamed(view: View, name: str, new: str) -> None:
    view.store.catalog.rename(name, new)
    drafts.renamed(name, new)
    state.put(contrast=full_name(view.contrast.replace(name=new)))


def _put_away(view: View, name: str, away: bool) -> None:
    """Archive or restore, for who may. The keys name the contrast: a click is on the one that was shown."""
    catalog = view.store.catalog
    may = catalog.person.may("editor")
    if away:
        line("It is archived: in no list, and found by its address.")
    if away and may and st.button("Restore", key=f"restore-{name}"):
        state.changed(lambda: catalog.restore(name), f"Restored {name}.")
    if not away and may and st.button("Archive this contrast", key=f"archive-{name}"):
        state.changed(lambda: catalog.archive(name), f"Archived {name}; its address goes on.")


def others(view: View) -> None:
    """The saved contrasts that do not fit the run, each with what the run lacks; nothing where all do."""
    if view.misfits:
        with st.expander(f"Saved, and not for this run: {len(view.misfits)}"):
            for name, reason in view.misfits.items():
                line(f"{name}: {reason}")


def archived(names: Sequence[str]) -> None:
    """The newest versions of those that were put away, to open one; nothing where there are none."""
    if names:
        st.session_state[OPENED] = None
        st.selectbox(
            f"Archived: {len(names)}",
            names,
            index=None,
            format_func=visible,
            placeholder="Open one",
            key=OPENED,
            on_change=lambda: state.put(**{"contrast": st.session_state[OPENED], state.DRAFT: None}),
        )
