"""Capture: q and k of a model's attention layers exactly as the softmax sees them, and each query's log-sum-exp.

An attention function and its mask function are registered with transformers under one name. The function reads q and
k, which arrive after RoPE and QK-norm and before the keys of a group are repeated, and hands everything on to the
kernel the model had chosen. Without the mask function transformers would pass no mask, and padding would be seen.
"""

from __future__ import annotations

import inspect
import sys
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ingest.model.batch import Batch
from ingest.model.layer import Layer
from qkstore.errors import ModelError

NAME = "qkstore"
ROUTED = (
    "Llama, Qwen, Mistral, Gemma, Phi, OLMo, GPT-2, GPT-NeoX, gpt-oss, Granite, Cohere, GLM, DeepSeek-V3, "
    "BERT and most newer ones do"
)
LOGITS_BYTES = 2**28  # logits are made for so many bytes of queries at once
HIDDEN = torch.finfo(torch.float32).min  # what an additive mask gives a key that is not seen
TOLERANCE = {
    torch.float64: 1e-5,
    torch.float32: 1e-4,
    torch.bfloat16: 3e-2,
}  # of a layer's output, relative to its values


@dataclass(frozen=True)
class Captured:
    """What a capture gives of all prompts together.

    q: (layers, heads, n, d_head), k: (layers, kv_heads, m, d_head) in the model's dtype; logsumexp: (layers, heads, n).
    Rows run through the prompts in the order given, and in each through its positions in the order given.
    """

    q: Tensor
    k: Tensor
    logsumexp: Tensor


class Capture:
    """Reads chosen layers of a model: `capture(ids, queries, keys) -> Captured`.

    Making one runs a tiny forward pass, which finds out how each layer works, and checks that softmax over q·k with
    those facts gives the layer's own output. Raises ModelError where it does not, where a layer does not route
    through transformers' attention interface, and where the chosen layers differ in shape.
    """

    def __init__(self, net, layers: list[int] | None = None):
        self.net, self.kernel = net, net.config._attn_implementation
        if self.kernel not in ("sdpa", "eager"):
            raise ModelError(
                f"attention by {self.kernel!r} cannot be read; "
                "load the model with attn_implementation 'sdpa' or 'eager'"
            )
        self.accepts = inspect.signature(net.forward).parameters
        probe = self._probe()
        self.numbers = [
            layer.layer for layer in probe
        ]  # of the layer of each attention call, in the order of the calls
        self.every = {layer.layer: layer for layer in probe}  # the chosen layers and all others
        self.layers = self._choose(self.every, layers)
        self._by_number = {layer.layer: layer for layer in self.layers}

    def __call__(
        self, ids: list[list[int]], queries: list[list[int]], keys: list[list[int]], padding: str = "right"
    ) -> Captured:
        """Captured vectors of prompts (token ids) at the positions wanted of each; `padding` is 'right' or 'left'."""
        batch = self.batch(ids, queries, keys, padding)
        read = _Read(self.kernel, batch, self.numbers, self._by_number)
        self.run(batch, read)
        return Captured(*(torch.stack([read.found[layer.layer][i] for layer in self.layers]).cpu() for i in range(3)))

    def batch(
        self, ids: list[list[int]], queries: list[list[int]], keys: list[list[int]], padding: str = "right"
    ) -> Batch:
        """The prompts side by side on the model's device."""
        pad = self.net.config.get_text_config().pad_token_id or 0
        return Batch.of(ids, queries, keys, pad, padding == "left", self.net.device)

    def _probe(self) -> list[Layer]:
        vocabulary = self.net.config.get_text_config().vocab_size
        ids = [[t % vocabulary for t in row] for row in ([11, 12, 13, 14, 15, 16], [17, 18, 19])]
        probe = _Probe(self.kernel, Batch.of(ids, [[], []], [[], []], 0, False, self.net.device))
        self.run(probe.batch, probe)
        if not probe.layers:
            name = type(self.net).__name__
            raise ModelError(
                f"{name} does not route through transformers' attention interface, so q and k cannot be read ({ROUTED})"
            )
        return probe.layers

    def run(self, batch: Batch, read, **more):
        """One pass over a batch, in which `read.attend` answers the attention calls.

        Returns the model's output, or None where it was not needed.
        """
        given = {"input_ids": batch.ids, "attention_mask": batch.real.long()} | more
        if "use_cache" in self.accepts:
            given["use_cache"] = False
        if bool((batch.place < 0).any()):
            given |= self._positions(batch)
        token = _reading.set(read)
        self.net.set_attn_implementation(NAME)
        try:
            with torch.inference_mode():
                return self.net(**given)
        except _Done:
            return None
        finally:
            self.net.set_attn_implementation(self.kernel)
            _reading.reset(token)

    def _positions(self, batch: Batch) -> dict[str, Tensor]:
        """Right padding leaves every token where a model's own numbering expects it, left padding does not."""
        if hasattr(getattr(self.net, "embeddings", None), "create_position_ids_from_input_ids"):
            return {}  # RoBERTa and its kin number what is not padding, from another first number
        if "position_ids" not in self.accepts:
            raise ModelError(
                f"{type(self.net).__name__} takes no position ids, so left padding would shift its positions; "
                "pad on the right"
            )
        return {"position_ids": batch.place.clamp(min=0)}

    def _choose(self, found: dict[int, Layer], wanted: list[int] | None) -> list[Layer]:
        total = getattr(self.net.config.get_text_config(), "num_hidden_layers", None) or len(found)
        wanted = list(range(total)) if wanted is None else sorted(set(wanted))
        beyond = [n for n in wanted if not 0 <= n < total]
        if beyond:
            raise ModelError(f"there is no layer {beyond[0]}; the model has layers 0-{total - 1}")
        missing = [n for n in wanted if n not in found]
        if missing:
            raise ModelError(
                f"layer {missing[0]} has no attention that can be read; choose with --layers {ranges(found)}"
            )
        shapes: dict[tuple, list[int]] = {}
        for n in wanted:
            shapes.setdefault((found[n].d_head, found[n].n_heads, found[n].n_kv_heads), []).append(n)
        if len(shapes) > 1:
            each = "; ".join(
                f"--layers {ranges(ns)} (head_dim {d}, {h} heads, {kv} KV heads)" for (d, h, kv), ns in shapes.items()
            )
            raise ModelError(f"one run holds layers of one shape, these differ: choose {each}")
        return [found[n] for n in wanted]


def ranges(numbers) -> str:
    """0,1,2,5 as '0-2,5'."""
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in parts)


# Not an error: the last layer wanted has been read, and the rest of the pass is not needed.
class _Done(Exception):
    pass


class _Read:
    """One pass: what is wanted of each attention call, found by layer number."""

    def __init__(self, kernel: str, batch: Batch, numbers: list[int], layers: dict[int, Layer]):
        self.kernel, self.batch, self.numbers, self.layers = kernel, batch, numbers, layers
        self.calls, self.found = 0, {}
        self._rule: dict[tuple, Tensor] = {}

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        number, self.calls = self.numbers[self.calls], self.calls + 1
        if number in self.layers:
            (qb, qc), (kb, kc) = self.batch.queries, self.batch.keys
            lse = self.logsumexp(self.layers[number], module, query, key, mask, options)
            self.found[number] = (query[qb, :, qc].transpose(0, 1), key[kb, :, kc].transpose(0, 1), lse)
            if len(self.found) == len(self.layers):
                raise _Done
        return kernel_of(self.kernel, module)(module, query, key, value, mask, **options)

    def logsumexp(self, layer: Layer, module, query: Tensor, key: Tensor, mask: Tensor | None, options: dict) -> Tensor:
        """(heads, n): log of the sum of exp(logit) over the keys each stored query sees, sinks included."""
        columns, (sb, sc) = self.batch.columns, self.batch.slots
        seen = self.seen(layer, module, mask, options)  # (B, Q, T)
        q = query.gather(2, columns[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3]))  # (B, H, Q, d)
        step = max(1, LOGITS_BYTES // (8 * q[0, :, :, 0].numel() * key.shape[2]))
        parts = []
        for i in range(0, len(q), step):
            logits = layer.logits(q[i : i + step], key[i : i + step]).masked_fill(~seen[i : i + step, None], -torch.inf)
            parts.append(torch.logsumexp(with_sinks(logits, options.get("s_aux")), dim=-1))
        return torch.cat(parts)[sb, :, sc].transpose(0, 1)

    def seen(self, layer: Layer, module, mask: Tensor | None, options: dict) -> Tensor:
        """Which columns each stored query sees, by the layer's rule.

        Raises ModelError unless the real mask says the same.
        """
        batch, key = self.batch, (layer.causal, layer.window)
        if key not in self._rule:
            query_place = batch.place.gather(1, batch.columns)
            self._rule[key] = layer.visible(query_place[:, :, None], batch.place[:, None, :]) & batch.real[:, None, :]
        rule, (sb, sc) = self._rule[key], batch.slots
        actual = mask_rows(self.kernel, module, batch, mask, options)[sb, :, sc]  # (n, 1 or H, T)
        if not torch.equal(actual, rule[sb, sc][:, None].expand_as(actual)):
            raise ModelError(
                f"layer {layer.layer} masks keys by a rule other than {layer.rule()} "
                "(chunks, blocks or a bias of positions), which a run cannot describe; "
                "choose other layers with --layers"
            )
        return rule


class _Probe:
    """A first pass over all layers: their facts, each checked against the layer's own output."""

    def __init__(self, kernel: str, batch: Batch):
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
            query.shape[1],
            key.shape[1],
            query.shape[3],
            scaling=_float(options.get("scaling"), query.shape[3] ** -0.5),
            softcap=_float(options.get("softcap"), None),
            window=options.get("sliding_window"),
            causal=not bool(seen[0, 0, 0, 1]),
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


_reading: ContextVar = ContextVar("reading")


def _attention(module, query, key, value, attention_mask=None, **options):
    return _reading.get().attend(module, query, key, value, attention_mask, options)


def _mask(*args, **options):
    mask = ALL_MASK_ATTENTION_FUNCTIONS[_reading.get().kernel](*args, **options)
    if mask is not None and mask.dtype == torch.float64:
        # Eager kernels take the softmax in float32, where float64's least number is -inf: a padded row that sees
        # nothing would be NaN, and through its value (0 · NaN) every row of the next layer.
        mask = mask.clamp(min=HIDDEN)
    return mask


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)


def kernel_of(name: str, module):
    """The kernel the model had chosen; the eager one is the function of that name beside the module's class."""
    if name != "eager":
        return ALL_ATTENTION_FUNCTIONS[name]
    for kind in type(module).__mro__:
        found = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise ModelError(f"{type(module).__name__} has no eager attention of its own to hand on to")


def mask_rows(kernel: str, module, batch: Batch, mask: Tensor | None, options: dict) -> Tensor:
    """(B, 1 or H, Q, T) bool: the columns that the model's real mask lets each of `batch.columns` see."""
    (B, Q), T = batch.columns.shape, batch.ids.shape[1]
    if mask is None:  # sdpa is then causal by a flag; the eager kernels see everything
        causal = options.get("is_causal")
        causal = kernel == "sdpa" and T > 1 and (getattr(module, "is_causal", True) if causal is None else causal)
        keys = torch.arange(T, device=batch.ids.device)
        seen = (
            (keys <= batch.columns[:, :, None]) if causal else torch.ones(B, Q, T, dtype=torch.bool, device=keys.device)
        )
        return seen[:, None]
    if mask.dtype != torch.bool:  # an additive mask; anything but 0 and "not at all" would be a bias
        hidden = mask <= HIDDEN / 2
        if bool(((mask != 0) & ~hidden).any()):
            raise ModelError(
                f"{type(module).__name__} adds a bias to its logits, so softmax over stored q and k would not "
                "be its attention"
            )
        mask = ~hidden
    mask = mask.expand(B, -1, -1, -1)[..., :T]
    return mask.gather(2, batch.columns[:, None, :, None].expand(-1, mask.shape[1], -1, T))


def with_sinks(logits: Tensor, sinks: Tensor | None) -> Tensor:
    """Logits (B, H, Q, T), with one more column where the layer has sinks.

    A sink is a learned logit of each of the H heads that belongs to no key.
    """
    if sinks is None:
        return logits
    return torch.cat([logits, sinks.to(logits.dtype).reshape(1, -1, 1, 1).expand(*logits.shape[:3], 1)], dim=-1)


def _float(value, default: float | None) -> float | None:
    return default if value is None else float(value)
