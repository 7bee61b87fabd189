"""A layer's attention rule: how it makes logits of q and k, and which keys a query sees."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ingest.model.attention import with_sinks
from qkstore import run


@dataclass(frozen=True)
class Layer(run.Layer):
    """A layer as the store describes it, with the numbers of its heads and their width."""

    n_heads: int
    n_kv_heads: int
    d_head: int

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

    def weights(self, q: Tensor, k: Tensor, seen: Tensor, sinks: Tensor | None) -> Tensor:
        """Attention (B, H, Q, T) in float64 of q (B, H, Q, d) over k (B, KV, T, d), as the layer makes it.

        It is NaN for a row that sees nothing.
        """
        return with_sinks(self.logits(q, k).masked_fill(~seen, -torch.inf), sinks).softmax(-1)[..., : k.shape[2]]

    def rule(self) -> str:
        """`visible` in words."""
        causal = "key position ≤ query position" if self.causal else "all keys of the prompt"
        return causal if self.window is None else f"{causal}, nearer than {self.window}"

    def facts(self) -> dict:
        """What the store's `layer` table holds of it."""
        return {field.name: getattr(self, field.name) for field in fields(run.Layer)}
