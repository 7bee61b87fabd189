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
CANCELLED = "Cancelled. Choose another head, or reload this page."


@dataclass(frozen=True)
class Found:
    """A head's study, the components themselves, and their scores of the judged queries and of the keys they chose."""

    study: Study
    of: HeadComponents
    scored: Scored


def number(view: View) -> dict | None:
    """How many components the view's head has, as soon as that is known: value, interval, held, chance and n.

    None where all of them are found already. Names and swaps are at work meanwhile. Raises what `found` does.
    """
    key = _key(view)
    if key in _kept():
        return None
    job.done(
        key,
        partial(_work, view, _kept(), _counted()),
        f"Counting the components of {_told(view)}",
        "Counting components",
        CANCELLED,
        enough=lambda: _counted().get(key),
    )
    return _counted().get(key)


def found(view: View) -> Found:
    """All of the view's head. Raises ContrastError where it has nothing to choose."""
    key = _key(view)
    if (there := _kept().get(key)) is None:
        there = job.done(
            key,
            partial(_work, view, _kept(), _counted()),
            f"Finding the components of {_told(view)}",
            "Found, named and swapped components: {done} of {of} steps",
            CANCELLED,
        )
    return there


def _key(view: View) -> tuple:
    return "components", results.identity(view.run), view.layer, view.head


def _told(view: View) -> str:
    return f"{head_name(view.layer, view.head)} of {view.run.name}"


def _work(view: View, kept: dict, counted: dict, progress: job.Progress) -> Found:
    """All of it; remembered here, since whoever saw the number may not have begun to wait for the rest."""
    at, key = (view.run, view.layer, view.head), _key(view)
    of = components(*at)
    told = of.found.number
    results.remember(
        counted,
        MOST,
        key,
        {
            "value": told.value,
            "interval": told.interval,
            "held": told.held.tolist(),
            "chance": told.chance,
            "n": told.n,
        },
    )
    study = kept_study(view.store, *at, progress=lambda done, _: progress(done, STEPS), of=of)
    progress(STEPS - 1, STEPS)
    return results.remember(kept, MOST, key, Found(study, of, Scored.of_head(of)))


@st.cache_resource(max_entries=1)
def _kept() -> dict:
    return {}


@st.cache_resource(max_entries=1)
def _counted() -> dict:
    return {}
