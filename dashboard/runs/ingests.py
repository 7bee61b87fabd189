"""The ingests at work, looked at again every few seconds while there is one, and those that stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from dashboard import shell, state
from dashboard.text import line, lines, plain
from qkstore.store import Store
from qkstore.store.work import Ingest, at_work, discard
from qkstore.text import visible

AGAIN_S = 2.0


def show(store: Store) -> None:
    """Nothing where no ingest is at work or stopped."""
    found = at_work(store)
    if not found:
        return
    st.subheader("Ingests", anchor=False)
    if store.bucket:
        line("Those of the machine that this dashboard runs on: an ingest sends its run when it is whole.")
    if any(one.alive for one in found):
        st.fragment(_looked, run_every=AGAIN_S)(store, [one.run for one in found if one.alive])
    for one in found:
        if not one.alive:
            _stopped(store, one)


def _looked(store: Store, before: Sequence[str]) -> None:
    """Those at work. Where one has ended since, the whole page is shown anew: its run may be there."""
    working = [one for one in at_work(store) if one.alive]
    if [one.run for one in working] != list(before):
        st.rerun()
    for one in working:
        _working(one)


def _working(one: Ingest) -> None:
    with st.container(border=True):
        said = f"{one.stage}: {one.done:,} of {one.total:,}" if one.stage else "begun"
        st.progress(one.share, f"{plain(one.run)}, {plain(said)}")
        line(", ".join(filter(None, (one.now, f"process {one.pid} on {one.host}" if one.pid else "", _since(one)))))
        if one.log:
            with st.expander("Log, the last lines"):
                lines("\n".join(one.log), "note")


def _since(one: Ingest) -> str:
    if not one.begun:
        return ""
    begun = datetime.fromtimestamp(min(max(one.begun, 0), 4e9), UTC)
    return f"begun {begun:%Y-%m-%d %H:%M} UTC"


def _stopped(store: Store, one: Ingest) -> None:
    with st.container(border=True):
        st.warning(shell.told(one.where[0].upper() + one.where[1:] + (":" if one.command else ".")))
        if one.command:
            st.code(shell.public(visible(one.command)), language="bash", wrap_lines=True)
        if one.log:
            lines("\n".join(one.log[-3:]), "note")
        may = store.catalog.person.may("editor")
        if may and st.button(f"Discard what {plain(one.run)} has kept", key=f"discard-{one.run}", type="tertiary"):
            state.changed(lambda: discard(store, one.run), f"Discarded what the ingest of {one.run} had kept.")
