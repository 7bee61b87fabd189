"""The nulls of a map of heads, which come after its scores: how many are there, a wait for the rest, and its end."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from dashboard import job, results
from dashboard.text import line, plain
from qkstore.analysis.heads import HeadScore
from qkstore.contrast import Contrast
from qkstore.run import Run
from qkstore.store.catalog import full_name

ANEW_S = 8.0  # after which the page is shown anew with the nulls that came meanwhile


def wait(run: Run, asked: Contrast, scores: Sequence[HeadScore], place) -> None:
    """Show in a place how many heads have their null, and show the page anew as more come; called at a page's end.

    Until then the page can be used as it is: another choice ends the wait, and comes back to it. A button ends it for
    good, and another one goes on.
    """
    left, key = results.pending(run, asked), f"no-nulls-{run.name}-{asked.key}"
    if not left:
        return
    if st.session_state.get(key):
        _ended(scores, left, key, place)
        return
    name, work = results.scoring(run, asked)
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, _told(asked, len(scores) - left, len(scores)))
        st.button("Cancel", key=f"cancel-{key}", on_click=_put, args=(key, True))
    until = time.monotonic() + ANEW_S
    with job.waiting(name, work) as at_work:
        while not at_work.ended(job.LOOK_S) and (time.monotonic() < until or results.pending(run, asked) == left):
            done, of = at_work.at or (0, len(scores))
            bar.progress(min(done / max(of, 1), 1.0), _told(asked, done, of))
    if at_work.ended():
        at_work.result()
    if results.pending(run, asked) < left:
        st.rerun()


def _told(asked: Contrast, done: int, of: int) -> str:
    return f"Null of ‖ΔC‖ under {plain(full_name(asked))}: {done:,} of {of:,} heads"


def _ended(scores: Sequence[HeadScore], left: int, key: str, place) -> None:
    with place.container(horizontal=True, vertical_alignment="center"):
        line(f"{len(scores) - left:,} of {len(scores):,} heads have a null of ‖ΔC‖; the others were not computed.")
        st.button("Compute the rest", key=f"go-{key}", on_click=_put, args=(key, False))


def _put(key: str, value: bool) -> None:
    st.session_state[key] = value
