"""A discovery of a run, kept by the server: how much there is to try, the wait for it, and contrasts of its names."""

from __future__ import annotations

import streamlit as st

from dashboard import job, results, shell
from dashboard.text import line, plain
from qkstore.analysis import discovery
from qkstore.analysis.discovery import Discovery
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.store import Store

MOST = 32  # discoveries that a server holds, some hundred kB each
AT_ONCE = 1000  # tests, which take a second or two; more begin with a button


@st.cache_resource(max_entries=1)
def _found() -> dict:
    return {}


def search(run: Run) -> Discovery:
    """What the heads of a run match on; the first time with a bar that counts, and a button that ends it.

    Where there is much to try and nothing is kept, a button begins; the page ends until then.
    """
    key, store, pool = results.identity(run), shell.store(), job.pool()
    if (known := _found().get(key)) is not None:
        return known
    heads, tried = len(run.layers) * run.n_heads, discovery.tried(run)
    begun = f"discover-{run.name}"
    if len(tried.matches) * heads > AT_ONCE and not (st.session_state.get(begun) or _kept(store, run)):
        line(
            f"{tried.told} on {heads:,} heads. It takes minutes on a large run, and is kept for all who use the store."
        )
        st.button("Look for what its heads match on", type="primary", on_click=_begin, args=(begun,))
        st.stop()

    def work(progress: job.Progress) -> Discovery:
        found = discovery.kept(store, run, progress=lambda _, done, of: progress(done, of), pool=pool)
        return results.remember(_found(), MOST, key, found)

    return job.done(
        ("discover", key),
        work,
        f"Looking for what the heads of {run.name} match on",
        "Tried {done} of {of}: all heads first, then swaps in those that pass",
        "Cancelled. What was finished is kept; reload this page to go on.",
    )


def _kept(store: Store, run: Run) -> bool:
    return store.catalog.made(discovery.key(run)) is not None


def _begin(key: str) -> None:
    st.session_state[key] = True


@st.cache_data(show_spinner=False, max_entries=results.MOST_ENTRIES, hash_funcs={Run: results.identity})
def _unsaved(run: Run, name: str) -> Contrast | None:
    return discovery.contrast(run, name)


def named(store: Store, run: Run, name: str) -> tuple[Contrast, ...]:
    """The contrasts of a name in the address: saved, built in, or one that discovery finds and nobody has saved.

    Raises ContrastError for any other.
    """
    try:
        return store.feature(run, name)
    except ContrastError:
        if found := _unsaved(run, name):
            return (found,)
        raise


def save(run: Run, found: Discovery, name: str, level: float) -> None:
    """Save the contrast of a name that was found, and say so."""
    saved = discovery.save(shell.store(), run, found, name, level)
    st.toast(plain(f"Saved {saved.name}, version {saved.version}."))
