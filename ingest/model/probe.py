"""The probe: a first pass over all layers, which reads the facts of each and checks them against its own output."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ingest.model.attention import Kernel, check_options, kernel_of, mask_rows, with_sinks
from ingest.model.batch import Batch
from ingest.model.depth import Depth
from ingest.model.layer import Layer
from qkstore.errors import ModelError

TOLERANCE = 1e-5  # of a layer's output, relative to its values, beside the rounding of its logits
ROUNDING = 16 * torch.finfo(torch.float32).eps  # of an attention weight, relative and for a logit of size 1


class Probe:
    """Reads the attention calls of one pass; `layers` are then their facts, in the order of the calls.

    Raises ModelError at the first layer whose output is not softmax(logits of q and k) times the values.
    """

    def __init__(self, kernel: Kernel, batch: Batch, depth: Depth):
        self.kernel, self.batch, self.depth, self.layers = kernel, batch, depth, []

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        n, T = self.depth.call(module), query.shape[2]
        if n in {layer.layer for layer in self.layers}:
            raise ModelError(
                f"layer {n} ({type(module).__name__}) calls its attention more than once, so that no single softmax "
                "is its attention; such a model cannot be read"
            )
        check_options(module, options)
        kernel = kernel_of(self.kernel, module)
        output, weights = kernel(module, query, key, value, mask, **options)
        if key.shape[2] != T or key.shape[0] != query.shape[0]:
            raise ModelError(
                f"layer {n} of {type(module).__name__} attends to another sequence; only self-attention can be read"
            )
        every = replace(self.batch.on(query.device), columns=torch.arange(T, device=query.device).expand(len(query), T))
        seen = mask_rows(self.kernel, module, every, mask, options)  # (B, 1 or H, T, T)
        layer = Layer(
            n,
            scaling=_float(options.get("scaling"), query.shape[3] ** -0.5),
            softcap=_float(options.get("softcap"), None),
            window=options.get("sliding_window"),
            causal=not bool(seen[0, 0, 0, 1]),
            n_heads=query.shape[1],
            n_kv_heads=key.shape[1],
            d_head=query.shape[3],
        )
        self._check(layer, module, kernel, query, key, value, mask, seen, options)
        self.layers.append(layer)
        return output, weights

    def _check(self, layer: Layer, module, kernel, query, key, value, mask, seen, options) -> None:
        # In bfloat16 a logit of 80 is off by a quarter: sums are made of the same numbers in float32, where it is not.
        wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        q, k, v = query.to(wide), key.to(wide), value.to(wide)
        additive = mask is not None and mask.dtype != torch.bool
        output = kernel(module, q, k, v, mask.to(wide) if additive else mask, **options)[0]
        logits = layer.logits(q, k)
        weights = with_sinks(logits.masked_fill(~seen, -torch.inf), options.get("s_aux")).softmax(-1)[..., : k.shape[2]]
        groups = q.shape[1] // v.shape[1]
        expected = weights @ v.to(weights.dtype).repeat_interleave(groups, 1)  # (B, H, T, d_value)
        if not bool(output.isfinite().all()):
            raise ModelError(
                f"layer {layer.layer} gives NaN or Inf for a text of six tokens; look at the model's weights, "
                "or try --dtype float32"
            )
        gap = (
            (expected.transpose(1, 2) - output.reshape(expected.transpose(1, 2).shape))[
                self.batch.on(query.device).real
            ]
            .abs()
            .max()
        )
        largest = logits.masked_fill(~seen, 0).abs().max()
        agrees = gap <= (TOLERANCE + ROUNDING * (1 + largest)) * v.abs().max()  # NaN does not
        if options.get("position_bias") is not None or not agrees:
            raise ModelError(
                f"layer {layer.layer} ({type(module).__name__}) adds to its logits what q and k do not hold "
                "(a bias of positions, for example), so softmax over the stored vectors would not be its attention"
            )


def _float(value, default: float | None) -> float | None:
    return default if value is None else float(value)
