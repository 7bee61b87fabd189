"""A session that leaves while work is done for it, as one does that makes another choice."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from until import becomes

from dashboard import job
from dashboard.job import Job


def leaves(at: tuple[int, int] | None = None) -> Callable[[Job, float], bool]:
    """In place of Job.ended: the session stops as soon as it was told that the work is there, or how far it is."""
    ended, told = Job.ended, []

    def left(job: Job, within_s: float = 0.0) -> bool:
        if told:
            st.stop()
        over = ended(job, within_s)
        if not over and job.at and job.at == (at or job.at):
            told.append(job.at)
        return over

    return left


def nobody() -> bool:
    """Whether all work that sessions left ends; the next page would join it otherwise."""
    return becomes(lambda: not len(job._jobs()))
