"""What takes long of a head, computed once for all sessions with a count and a Cancel button, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard import job

MOST = 256  # results of heads, some kB each


def known(key: tuple) -> Any | None:
    """The result under a key, where it was computed since the server began."""
    return _found().get(key)


def cancelled(title: str) -> bool:
    """Whether a person has just pressed Cancel beneath this title."""
    return bool(st.session_state.get(f"cancel-{title}"))


def counted(key: tuple, work: Callable[[job.Progress], Any], title: str, told: str) -> Any:
    """The result under a key, computed if need be, with `told` of {done} and {of}; raises what `work` raises."""
    if (result := known(key)) is None:
        result = job.done(key, work, title, told, "Cancelled.")
        found = _found()
        found[key] = result
        for old in list(found)[:-MOST]:
            found.pop(old, None)
    return result


@st.cache_resource(max_entries=1)
def _found() -> dict:
    return {}
