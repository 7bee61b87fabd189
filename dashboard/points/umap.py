"""UMAP on the page: PCA stands there at once, how far UMAP is beside it, and UMAP when it is ready."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import streamlit as st

from dashboard.points.process import Job, Jobs
from dashboard.text import line, plain
from qkstore.analysis.points import Points, Sample

POLL_S = 1.0
WHO, CANCELLED = "umap-who", "umap-cancelled"  # of the session: its name among those who wait; what it gave up


@st.cache_resource(max_entries=1)
def _jobs() -> Jobs:
    return Jobs()


def points(key: tuple, sample: Callable[[], Sample]) -> Points | None:
    """The points of a UMAP by what it is of; None while it is at work, was cancelled, or failed, which is said here."""
    job = _jobs().get(key)
    if job and job.points:
        return job.points
    if st.session_state.get(CANCELLED) == key:
        _offer("UMAP was cancelled; PCA is shown.", key)
    elif job and job.failed:
        _offer(f"UMAP failed: {job.failed}. PCA is shown.", key)
    else:
        who = st.session_state.setdefault(WHO, secrets.token_hex(8))
        _progress(_jobs().ask(key, who, lambda: Job(sample())), who, key)
    return None


def _offer(said: str, key: tuple) -> None:
    """Say why there is no UMAP, beside a button that computes it again."""
    with st.container(horizontal=True, vertical_alignment="center"):
        line(said)
        st.button("Compute UMAP", on_click=_again, args=(key,), key="umap-again")


def _again(key: tuple) -> None:
    st.session_state.pop(CANCELLED, None)
    _jobs().forget(key)


@st.fragment(run_every=POLL_S)
def _progress(job: Job, who: str, key: tuple) -> None:
    """How far it is, and a button that ends it for this session; the page is shown anew when it has ended."""
    if job.ended.is_set() or st.session_state.get(CANCELLED) == key:
        st.rerun()
    job.wait(who)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(job.share, plain(f"{job.said}. PCA is shown until it is ready."), width=520)
        st.button("Cancel", on_click=_cancel, args=(job, who, key), key="umap-cancel")


def _cancel(job: Job, who: str, key: tuple) -> None:
    job.leave(who)
    st.session_state[CANCELLED] = key
