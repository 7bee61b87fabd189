"""The nearest heads, each of which leads to it; computed when a person asks, as that reads every head of the run."""

from __future__ import annotations

import functools

import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.head.counted import cancelled, counted, known
from dashboard.job import Progress
from dashboard.state import View
from dashboard.text import line, plain
from qkstore.analysis.pairs import Near, Nearest, nearest
from qkstore.errors import QKStoreError
from qkstore.text import head_name

SHOWN = 6
TITLE = "Comparing heads"
ASKED = "nearest-asked"  # the head whose neighbours a person waits for


def neighbours(view: View) -> None:
    """The nearest heads, or a button that finds them."""
    others = len(view.run.layers) * view.run.n_heads - 1
    if not others:
        line("This run has no other head.")
        return
    key = ("nearest", results.identity(view.run), *(c.key for c in view.contrasts), view.layer, view.head)
    if cancelled(TITLE):
        _ask(None)
    if known(key) is None and st.session_state.get(ASKED) != key:
        line("By the angle between what two heads' subspaces of the contrast hold of the same tokens.")
        st.button(f"Compare with {others:,} other heads", on_click=_ask, args=(key,))
        return
    try:
        found = counted(key, functools.partial(_nearest, view), TITLE, "Compared {done} of {of} heads")
    except QKStoreError as error:
        st.info(shell.told(error))
        return
    _show(view, found)


def _ask(key: tuple | None) -> None:
    st.session_state[ASKED] = key


def _nearest(view: View, progress: Progress) -> Nearest:
    return nearest(view.run, view.contrasts, view.layer, view.head, progress=progress)


def _show(view: View, found: Nearest) -> None:
    for near in found.heads[:SHOWN]:
        named = f"{head_name(near.layer, near.head)} · {near.angle:.1f}°, random {near.random:.1f}°{_told(near)}"
        # no link: one to the page that is shown changes it and leaves the address
        st.button(
            plain(named),
            key=f"near-{near.layer}-{near.head}",
            type="tertiary",
            on_click=_go,
            args=(near.layer, near.head),
        )
    line(found.sentence[0].upper() + found.sentence[1:] + ".")
    panel.csv(view, found.table, "nearest")


def _go(layer: int, head: int) -> None:
    state.put(layer=layer, head=head)


def _told(near: Near) -> str:
    return ("" if near.nearer else ", no nearer than random") + (", the same keys" if near.same_keys else "")
