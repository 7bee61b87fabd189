"""A layer's attention rule: how it makes logits of q and k, and which keys a query sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """How one layer makes logits of q and k, and which keys a query sees."""

    layer: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    scaling: float
    softcap: float | None
    window: int | None
    causal: bool

    def visible(self, query_pos: Tensor, key_pos: Tensor) -> Tensor:
        """Whether a query sees a key, by their places among the prompt's own tokens; the shapes broadcast."""
        seen = (key_pos <= query_pos) if self.causal else torch.ones_like(key_pos <= query_pos)
        return seen if self.window is None else seen & ((query_pos - key_pos).abs() < self.window)

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """Logits (B, H, Q, T) before the mask, of q (B, H, Q, d) and k (B, KV, T, d).

        Head h reads KV head h // (H / KV).
        """
        (B, H, Q, d), (KV, T) = q.shape, k.shape[1:3]
        # float64: a swap takes the mass of all other keys from what two keys leave of the log-sum-exp,
        # and that is often very little
        logits = q.double().reshape(B, KV, H // KV * Q, d) @ k.double().transpose(2, 3) * self.scaling
        logits = logits.reshape(B, H, Q, T)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def rule(self) -> str:
        """`visible` in words."""
        causal = "key position ≤ query position" if self.causal else "all keys of the prompt"
        return causal if self.window is None else f"{causal}, nearer than {self.window}"

    def facts(self) -> dict:
        """What the store's `layer` table holds of it."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name in ("layer", "scaling", "softcap", "window", "causal")
        }
