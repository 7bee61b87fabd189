"""What the check found about a contrast, carried to the pages that use it: one small line, with a link to the rest."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import results, shell
from dashboard.text import line
from qkstore.analysis import build_split
from qkstore.contrast import Contrast
from qkstore.run import Run
from qkstore.store.catalog import full_name

MOST_MEMBERS = 6  # of a span that are checked


def tell(place, run: Run, contrasts: Sequence[Contrast]) -> None:
    """Write the first warning about a contrast, or about a member of a span, into a place; nothing where none warns."""
    split = build_split(run)
    found = [(c, text) for c in contrasts[:MOST_MEMBERS] for text in results.warned(run, c, split)]
    if not found:
        return
    contrast, text = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    with place, st.container(horizontal=True, vertical_alignment="center", gap="small"):
        line(f"Check of {contrast.name}: {text}{more}.")
        shell.link("contrasts", "What it means", run=run.name, contrast=full_name(contrast))
