"""The probe: a first pass over all layers, which reads the facts of each and checks them against its own output."""

from __future__ import annotations

import torch
from torch import Tensor

from ingest.model.attention import Kernel, kernel_of, mask_rows, with_sinks
from ingest.model.batch import Batch
from ingest.model.layer import Layer
from qkstore.errors import ModelError

TOLERANCE = {
    torch.float64: 1e-5,
    torch.float32: 1e-4,
    torch.bfloat16: 3e-2,
}  # of a layer's output, relative to its values


class Probe:
    """Reads the attention calls of one pass; `layers` are then their facts, in the order of the calls.

    Raises ModelError at the first layer whose output is not softmax(logits of q and k) times the values.
    """

    def __init__(self, kernel: Kernel, batch: Batch):
        self.kernel, self.batch, self.layers = kernel, batch, []

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        n, T = len(self.layers), query.shape[2]
        output, weights = kernel_of(self.kernel, module)(module, query, key, value, mask, **options)
        if key.shape[2] != T or key.shape[0] != query.shape[0]:
            raise ModelError(
                f"layer {n} of {type(module).__name__} attends to another sequence; only self-attention can be read"
            )
        every = Batch(
            self.batch.ids,
            self.batch.real,
            self.batch.place,
            (),
            (),
            (),
            torch.arange(T, device=query.device).expand(len(query), T),
        )
        seen = mask_rows(self.kernel, module, every, mask, options)  # (B, 1 or H, T, T)
        layer = Layer(
            self._number(module, n),
            scaling=_float(options.get("scaling"), query.shape[3] ** -0.5),
            softcap=_float(options.get("softcap"), None),
            window=options.get("sliding_window"),
            causal=not bool(seen[0, 0, 0, 1]),
            n_heads=query.shape[1],
            n_kv_heads=key.shape[1],
            d_head=query.shape[3],
        )
        self._check(layer, module, query, key, value, seen, output, options)
        self.layers.append(layer)
        return output, weights

    def _number(self, module, n: int) -> int:
        """The module's own layer number if it has one that no call before had, else the number of the call."""
        own = getattr(module, "layer_idx", None)
        return own if isinstance(own, int) and own not in {layer.layer for layer in self.layers} and own >= n else n

    def _check(self, layer: Layer, module, query, key, value, seen, output, options) -> None:
        logits = layer.logits(query, key).masked_fill(~seen, -torch.inf)
        weights = with_sinks(logits, options.get("s_aux")).softmax(-1)[..., : key.shape[2]]
        groups = query.shape[1] // value.shape[1]
        expected = weights @ value.to(weights.dtype).repeat_interleave(groups, 1)  # (B, H, T, d_value)
        if not bool(output.isfinite().all()):
            raise ModelError(
                f"layer {layer.layer} gives NaN or Inf for a text of six tokens; look at the model's weights, "
                "or try --dtype float32"
            )
        gap = (expected.transpose(1, 2) - output.reshape(expected.transpose(1, 2).shape))[self.batch.real].abs().max()
        agrees = gap <= TOLERANCE.get(query.dtype, 3e-2) * value.abs().max()  # NaN does not
        if options.get("position_bias") is not None or not agrees:
            raise ModelError(
                f"layer {layer.layer} ({type(module).__name__}) adds to its logits what q and k do not hold "
                "(a bias of positions, for example), so softmax over the stored vectors would not be its attention"
            )


def _float(value, default: float | None) -> float | None:
    return default if value is None else float(value)
