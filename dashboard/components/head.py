"""Which head is shown: that of the filters, or, where no contrast fits the run, one chosen here."""

from __future__ import annotations

from dataclasses import replace

from dashboard import state
from dashboard.state import View


def view() -> View:
    """The row of filters. No contrast is needed: components are found without."""
    found = state.view(without=True)
    if found.layer is not None:
        return found
    layers = list(found.run.layers)
    with found.extra[0]:
        layer = state.select("Layer", "layer", layers, layers[-1], changed=state.forget_head)
    with found.extra[1]:
        head = state.select("Head", "head", list(range(found.run.n_heads)), 0, changed=state.forget_head)
    return replace(found, layer=layer, head=head, extra=[])
