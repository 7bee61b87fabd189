"""Depth: which of a model's layers is at work when attention is called.

The number of a call is no layer's number: a hybrid model has attention at some depths only, and some layers call twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class Depth:
    """The layers of a model, and, while it is watched, the one at work.

    A stack is a list of modules as long as the config has layers. A model that has none (ALBERT runs one block over and
    over) is numbered by its modules' own `layer_idx` where that ascends, else by the calls.
    """

    def __init__(self, net):
        total = getattr(net.config.get_text_config(), "num_hidden_layers", None)
        self._places: dict[nn.Module, list[int]] = {}
        for stack in _outermost(net, total):
            for place, layer in enumerate(stack):
                self._places.setdefault(layer, []).append(place)
        self._left: dict[nn.Module, list[int]] = {}
        self._now: int | None = None
        self._numbers: list[int] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """For the length of one pass."""
        self._left = {layer: list(places) for layer, places in self._places.items()}
        self._now, self._numbers = None, []
        handles = [layer.register_forward_pre_hook(self._enter) for layer in self._places]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def now(self) -> int | None:
        """The layer at work, None before the first."""
        return self._now

    def call(self, module) -> int:
        """The number of the layer that calls `module`'s attention now; to be asked once a call."""
        number = self._now if self._places else self._by_call(module)
        self._numbers.append(number if number is not None else len(self._numbers))
        return self._numbers[-1]

    def _enter(self, layer, _) -> None:
        # a layer that is there at several depths is entered once for each, in their order
        left = self._left[layer]
        self._now = left.pop(0) if len(left) > 1 else left[0]

    def _by_call(self, module) -> int:
        own, n = getattr(module, "layer_idx", None), len(self._numbers)
        return own if isinstance(own, int) and own not in self._numbers and own >= n else n


def _outermost(net, total: int | None) -> list[nn.ModuleList]:
    """The lists of `total` modules that stand in no other such list."""
    stacks = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.ModuleList) and len(m) == total]
    return [m for name, m in stacks if not any(name.startswith(f"{other}.") for other, _ in stacks)]
