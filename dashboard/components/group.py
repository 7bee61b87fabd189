"""A group of components: chosen, swapped beside all others and random dimensions, named, and saved as a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.components.found import Found
from dashboard.head.counted import counted
from dashboard.job import Progress
from dashboard.share import made
from dashboard.state import View
from dashboard.text import line, plain
from qkstore import charts
from qkstore.analysis import build_split
from qkstore.analysis.decomposition import ComponentSwaps, swaps
from qkstore.analysis.decomposition.claim import called
from qkstore.analysis.decomposition.group import common, contrast
from qkstore.analysis.swaps import table
from qkstore.contrast import check
from qkstore.contrast.name import MOST_NAME
from qkstore.errors import QKStoreError
from qkstore.store.catalog import full_name
from qkstore.text import split_name, visible

GROUP, SAVED = "group", "saved-group"
OTHERS = "the other components"
ORTHOGONAL = (
    "Here a swap goes through the group's oblique projector, which no change of the head's basis moves. A saved group "
    "carries the orthonormal span of the same directions, for the other pages: of all components of a head the two "
    "move attention alike, of a part of them they can differ, so look at its swap on Interventions too."
)


def panel_of(view: View, found: Found, row: dict) -> None:
    """The choice of a group, what its swap does, and a button that saves it."""
    st.subheader("Group", anchor=False)
    group = _choose(found, row)
    if group:
        _swapped(view, found, group)
        _save(view, found, group)
    else:
        line("Choose one component or more.")
    if said := st.session_state.pop(SAVED, None):
        st.success(plain(f"Saved {said}: every page takes it as a contrast now."))
    if view.named and view.contrast.own and view.contrast.own.run == view.run.digest:
        at = {"run": view.run.name, "contrast": view.name, "layer": view.contrast.own.layer}
        shell.link("interventions", f"Swap {view.name} on Interventions", **at, head=view.contrast.own.head)


def _choose(found: Found, row: dict) -> list[int]:
    """The components of the group, kept in the address; by default those called as the chosen one is."""
    rows = {other["component"]: other for other in found.study.rows}
    alike = [j for j, other in rows.items() if _called(other) == _called(row)]
    asked = st.query_params.get(GROUP)
    parts = alike if asked is None else [int(p) for p in asked.split(",") if p.isdecimal() and len(p) < 5]
    key = f"url-{GROUP}"
    st.session_state[key] = [j for j in dict.fromkeys(parts) if j in rows]
    chosen = st.multiselect(
        "Components of the group",
        list(rows),
        key=key,
        format_func=lambda j: visible(f"{j}: {called(rows[j])}"),
        on_change=lambda: state.put(**{GROUP: _written(st.session_state[key])}),
    )
    made.now().choices[GROUP] = _written(chosen)
    return sorted(chosen)


def _called(row: dict) -> str | None:
    """What names a component; None of those that nothing names."""
    return row["label"] if row["named"] and not row["mixed"] else None


def _written(group: Sequence[int]) -> str:
    return ",".join(map(str, group))


def _swapped(view: View, found: Found, group: list[int]) -> None:
    """The bars of the group, of the other components, of all, of all else, and of random dimensions."""
    key = ("group", results.identity(view.run), view.layer, view.head, tuple(group))
    try:
        moved = counted(key, partial(_swap, found, group), "Swapping the group", "Swapped {done} of {of}")
    except QKStoreError as error:
        st.info(shell.told(error))
        return
    rows = [c.to_dict() for c in moved.paired]
    panel.chart(partial(charts.swap_bars, rows), "group")
    line(
        f"Mean attention before (pale) and after the swap with 95 % intervals, over the same {moved.n:,} queries of "
        f'the {split_name(moved.split)} split. "all" swaps every component, "all others" every direction but them. '
        f"{ORTHOGONAL}"
    )
    panel.csv(view, table(rows), "group")


def _swap(found: Found, group: list[int], _: Progress) -> ComponentSwaps:
    rest = [j for j in range(len(found.of)) if j not in group]
    return swaps(found.of, {f"group {_written(group)}": group} | ({OTHERS: rest} if rest else {}))


def _save(view: View, found: Found, group: list[int]) -> None:
    """A name and a button. What cannot be saved is one line, and nothing is written."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the group", max_chars=MOST_NAME, key="group-name", placeholder="my-feature")
        saving = st.button("Save as a contrast", type="primary")
    agreement = common([row for row in found.study.rows if row["component"] in group])
    line(
        f"Its pairs: positive where {agreement}."
        if agreement
        else "Its pairs: the keys that this head chose, listed by row for a few hundred queries of each split, since "
        "no one label names all of the group."
    )
    if not saving:
        return
    try:
        draft = contrast(found.of, group, name.strip(), agreement)
        checked = check.told(view.run, draft, build_split(view.run))
        saved = view.store.catalog.save(draft, checked)
    except QKStoreError as error:
        st.error(shell.told(error))
        return
    state.put(contrast=full_name(saved))
    st.session_state[SAVED] = f"{saved.name}, version {saved.version}"
    st.rerun()
