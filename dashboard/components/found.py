"""The components of a head, found once for all sessions, with a count and a way to end the wait."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import streamlit as st

from dashboard import job, results
from dashboard.state import View
from qkstore.analysis.decomposition import HeadComponents, Scored, Study, components, kept_study
from qkstore.text import head_name

MOST = 6  # heads; of one with 10,000 queries 20 MB
STEPS = 4  # three of a study, and the scores


@dataclass(frozen=True)
class Found:
    """A head's study, the components themselves, and their scores of the judged queries and of the keys they chose."""

    study: Study
    of: HeadComponents
    scored: Scored


def found(view: View) -> Found:
    """All of the view's head. Raises ContrastError where it has nothing to choose."""
    key, kept = ("components", results.identity(view.run), view.layer, view.head), _kept()
    if (there := kept.get(key)) is None:
        there = job.done(
            key,
            partial(_work, view),
            f"Finding the components of {head_name(view.layer, view.head)} of {view.run.name}",
            "Found, named and swapped components: {done} of {of} steps",
            "Cancelled. Choose another head, or reload this page.",
        )
        results.remember(kept, MOST, key, there)
    return there


def _work(view: View, progress: job.Progress) -> Found:
    at = view.run, view.layer, view.head
    of = components(*at)
    study = kept_study(view.store, *at, progress=lambda done, _: progress(done, STEPS), of=of)
    progress(STEPS - 1, STEPS)
    return Found(study, of, Scored.of_head(of))


@st.cache_resource(max_entries=1)
def _kept() -> dict:
    return {}
