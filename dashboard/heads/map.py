"""A map of heads on a page: a click or the keyboard on a cell is the choice of its layer and head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import altair as alt
import streamlit as st

from dashboard import panel, state
from dashboard.state import View

_keys = st.components.v2.component("head_keys", js=(Path(__file__).parent / "keys.js").read_text(encoding="utf-8"))
MARKS = (
    "A strong edge marks heads that are clear of chance, a diamond those selected, a stroke those without a value. "
    "Arrow keys move over the cells of a map that has the focus, Enter chooses."
)
Choose = Callable[[int, int], None]
SVG = {"embedOptions": {"renderer": "svg"}}  # also of many cells: a canvas has none that could take the focus


def key(view: View, what: str, by: str) -> str:
    """The key of the map `what`: a new choice is a new chart, whose own selection starts empty."""
    return f"{what.replace(' ', '-')}-{view.layer}-{view.head}-{by}"


def choose(layer: int, head: int) -> None:
    """One entry of the browser's history; the table goes to the page that has the head."""
    state.put(layer=layer, head=head, sheet=None)


def draw(
    view: View, chart: Callable[..., alt.LayerChart], what: str, by: str, chosen: bool = True, choose: Choose = choose
) -> None:
    """A map, drawn by chart(dark=…) and called `what` among the charts of the page.

    chosen: whether its heads are the view's, to be chosen. choose: called with the layer and head of a click.
    """
    name = key(view, what, by)

    def drawn(dark: bool) -> alt.LayerChart:
        return chart(dark=dark).properties(usermeta=SVG)

    def pick() -> None:
        for cell in st.session_state[name].selection.get("pick", []):
            choose(cell["layer"], cell["head"])

    if chosen:
        panel.chart(drawn, what, on_select=pick, selection_mode="pick", key=name)
    else:
        panel.chart(drawn, what, key=name)


def keyboard(view: View, maps: Sequence[str], choose: Choose = choose) -> None:
    """Let the keyboard reach the cells of the maps, given by their keys: Tab, arrows, Enter."""

    def pick() -> None:
        if cell := st.session_state["heads-keys"].get("pick"):
            choose(int(cell["layer"]), int(cell["head"]))

    where = {"layer": view.layer, "head": view.head, "layers": list(view.run.layers), "heads": view.run.n_heads}
    _keys(data={"maps": list(maps), **where}, key="heads-keys", on_pick_change=pick)
