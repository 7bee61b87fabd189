"""What one page made and chose while it ran: charts, tables, arrays, and the choices that decide what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import altair as alt
import numpy as np
import polars as pl
import streamlit as st

Draw = Callable[..., alt.TopLevelMixin]  # called with dark=False or True
KEY = "made"


@dataclass
class Made:
    """By the names that the page gave; a part of a page that runs again replaces what it made before.

    choices: as the address has them, those too that are not in it.
    """

    title: str = ""
    question: str = ""
    figures: dict[str, Draw] = field(default_factory=dict)
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    arrays: dict[str, Callable[[], dict[str, np.ndarray]]] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)


def begin() -> None:
    """A page begins: nothing of the one before is its own."""
    st.session_state[KEY] = Made()


def now() -> Made:
    """What the page at work has made so far."""
    return st.session_state.setdefault(KEY, Made())
