"""A window on the keys of a long prompt, kept in the URL, and the prompt's tokens about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from dashboard import panel, results, state
from dashboard.text import Mark, tokens
from qkstore import charts
from qkstore.run import Run

SIZE = 24  # bars whose texts can be read side by side on a narrow screen
WHOLE = 240  # tokens up to which a prompt is shown whole
FROM = "from"  # the window's first key, in the address


def window(weights: Sequence[float], places: Mapping[str, int]) -> range:
    """Which of a prompt's keys are shown: all of a few, else a stretch of them, chosen by buttons and a map.

    weights: the attention on each key, which the map shows. places: {title of a button: key that it goes to}; the
    first one is where a prompt opens.
    """
    n = len(weights)
    if n <= SIZE:
        return range(n)
    starts = list(range(0, n, SIZE))
    first = next(iter(places.values())) // SIZE * SIZE
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        start = state.select(
            "Keys", FROM, starts, first, shown=lambda i: f"{i + 1:,} to {min(i + SIZE, n):,} of {n:,}", width=220
        )
    steps = {"Earlier": start - SIZE, "Later": start + SIZE}
    for title, to in {**steps, **{t: at // SIZE * SIZE for t, at in places.items()}}.items():
        row.button(title, on_click=state.put, kwargs={FROM: to}, disabled=to not in starts or to == start)
    key = f"stretches-{start}"  # a new window is a new chart: its own selection starts empty

    def pick() -> None:
        for bar in st.session_state[key].selection.get("pick", []):
            state.put(**{FROM: bar["start"]})

    drawn = partial(charts.stretches, weights, SIZE, start)
    panel.chart(drawn, "attention along the prompt", key=key, on_select=pick, selection_mode="pick")
    return range(start, min(start + SIZE, n))


def shaded(run: Run, prompt_id: int, shades: Mapping[int, float], marks: Mapping[int, Mark], shown: range) -> None:
    """The tokens of a prompt, shaded: all of a short one, else those about the keys shown and the marked ones.

    shades: {position of a key: attention}, in the order of keys; marks: {position: mark}.
    """
    positions, texts = results.texts(run, prompt_id)
    at = {pos: i for i, pos in enumerate(positions)}
    near = [at[pos] for pos in list(shades)[shown.start : shown.stop]]
    marked = {at[pos]: mark for pos, mark in marks.items()}
    st.html(tokens(texts, {at[pos]: shade for pos, shade in shades.items()}, marked, WHOLE, near))
