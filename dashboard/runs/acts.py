"""Renaming and deleting a run, each on a page of its own: what will happen is said before it does."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard import state
from dashboard.text import line, plain
from qkstore.store import Store
from qkstore.store.inventory import lost

MOST = 100  # characters of a run's name


def rename(store: Store, name: str) -> None:
    """A field for the new name."""
    st.subheader(f"Rename {plain(name)}", anchor=False)
    line(
        "The notes on it and the results that are kept of it follow. Links to its old name say where it went; "
        "commands and scripts that name it must be changed."
    )
    with st.form("rename", border=False):
        new = st.text_input("New name", value=name, max_chars=MOST, key=f"rename-{name}")
        asked = st.form_submit_button("Rename", type="primary")
    _keep(name)
    if asked:
        _done(lambda: store.rename(name, new.strip()), f"{name} is {new.strip()} now.", new.strip())


def delete(store: Store, name: str) -> None:
    """What will be lost, and a field for the run's name: nothing is deleted by a click alone."""
    st.subheader(f"Delete {plain(name)}?", anchor=False)
    said = lost(store, name)
    st.warning(
        plain(f"This cannot be undone. Lost will be {said}. The history keeps that it was deleted, and by whom.")
    )
    with st.form("delete", border=False):
        typed = st.text_input(f"Type {plain(name)} to delete it", max_chars=MOST, key=f"delete-{name}")
        asked = st.form_submit_button("Delete this run for good")
    _keep(name)
    if asked and typed.strip() != name:
        st.error(plain(f"{typed.strip()[:MOST]!r} is not {name!r}; nothing was deleted."))
    elif asked:
        _done(lambda: store.remove(name), f"Deleted {name}.", None)


def _keep(name: str) -> None:
    """The way back."""
    st.button("Keep it as it is", type="tertiary", on_click=state.put, kwargs={"run": name, "act": None})


def _done(act: Callable[[], object], said: str, run: str | None) -> None:
    def change() -> None:
        act()
        state.put(act=None, run=run)

    state.changed(change, said)


ACTS = {"rename": rename, "delete": delete}
