"""One layer as the store describes it: how it makes logits, and which keys its queries see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layer:
    """How layer number `layer` turns q·k into a logit, and which keys its queries see.

    The logit is scaling · q·k, or with a softcap c it is c · tanh(scaling · q·k / c). A query sees the keys of its own
    prompt: those at its position or before where `causal`, all otherwise; of these, with a `window`, those less than so
    many positions away.
    """

    layer: int
    scaling: float
    softcap: float | None
    window: int | None
    causal: bool

    def visible(self, query_pos: Any, key_pos: Any) -> Any:
        """Whether a query at a position attends over a key at another position of the same prompt.

        Positions are whole numbers in arrays of numpy or tensors of torch, of shapes that broadcast; so is the answer.
        """
        before = query_pos - key_pos
        seen = (before >= 0) | (not self.causal)
        return seen if self.window is None else seen & (abs(before) < self.window)
