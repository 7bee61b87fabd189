"""The choice of a prompt, kept in the URL."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

import streamlit as st

from dashboard import state
from dashboard.state import View
from qkstore.errors import RunError

MOST_DIGITS = 18  # of a prompt's number in the address; Python does not read thousands
SHOWN = 130  # characters of a prompt in a list


def choose(view: View, listed: Sequence[dict], split: str | None) -> dict:
    """A prompt of the split, or any other by its number in the URL."""
    rows = {row["prompt_id"]: row for row in listed}
    if not rows:
        raise RunError(f"run {view.run.name!r} has no {split or ''} prompt with a stored query")
    asked = st.query_params.get("prompt", "")
    if asked.isdecimal() and len(asked) <= MOST_DIGITS and int(asked) < view.run.n_prompts:
        rows.setdefault(int(asked), view.run.prompt(int(asked)))
    label = f"Prompt ({split or 'all'} split; the first {len(listed):,})"
    chosen = state.select(
        label,
        "prompt",
        list(rows),
        next(iter(rows)),
        changed=lambda: state.put(**{"from": None}),
        shown=lambda i: f"{i}: {_start(rows[i]['text'])}",
    )
    return rows[chosen]


def _start(text: str) -> str:
    """The start of a prompt, which may be of any length."""
    return shorten(text[: 4 * SHOWN], SHOWN, placeholder=" …")
