"""The contrasts that a page can be asked about, each with its version, and what is to be said of the one shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import streamlit as st

from dashboard.discover import search
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog import full_name
from qkstore.text import head_name


def versioned(store: Store, run: Run) -> tuple[dict[str, tuple[Contrast, ...]], dict[str, str]]:
    """{name: contrasts} of all that a run can be asked, saved ones as 'mine@2', so that a link names what it shows.

    With those that the address names besides: an older version, or one that was archived. And {name: what the run
    lacks} of the saved ones that do not fit it.
    """
    features, misfits = store.asked(run)
    named = {full_name(c[0]) if len(c) == 1 else name: c for name, c in features.items()}
    for asked in (st.query_params.get(name) for name in ("contrast", "and")):
        if asked and asked not in named and asked not in newest(named):
            with suppress(ContrastError):
                named[asked] = search.named(store, run, asked)
    return named, misfits


def newest(named: Mapping[str, tuple[Contrast, ...]]) -> dict[str, str]:
    """{mine: mine@2} of the saved contrasts: an address without a version means the newest one."""
    saved = sorted((c[0].name, c[0].version, full) for full, c in named.items() if len(c) == 1 and c[0].version)
    return {name: full for name, _, full in saved}


def told(named: Mapping[str, tuple[Contrast, ...]], shown: str) -> list[str]:
    """That a page shows an older version of a contrast than there is, or one by a name that it had before."""
    contrast, said = named[shown][0], []
    full = full_name(contrast)
    if contrast.version and contrast.name != shown.rpartition("@")[0] and contrast.name != shown:
        said.append(f"{shown} is called {full} now.")
    if contrast.version and (latest := newest(named).get(contrast.name, full)) != full:
        said.append(f"This is {full}; {latest} is newer, and among the contrasts to choose.")
    return said


def carried(contrast: Contrast) -> str:
    """Of which head the subspace is that a contrast carries, and what goes by it; '' where it carries none."""
    if not (own := contrast.own):
        return ""
    at = head_name(own.layer, own.head)
    return (
        f"{full_name(contrast)} carries a subspace of {at}, which projections, swaps and attributions there go by. "
        f"Scores, ΔC and ranks of all heads, those of {at} too, are of its pairs."
    )
