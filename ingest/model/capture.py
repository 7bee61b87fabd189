"""Capture: q and k of a model's attention layers exactly as the softmax sees them, and each query's log-sum-exp."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor

from ingest.model.attention import KERNELS, LOGITS_BYTES, Kernel, kernel_of, mask_rows, routed, with_sinks
from ingest.model.batch import Batch, Padding
from ingest.model.layer import Layer
from ingest.model.probe import Probe
from qkstore.errors import ModelError

ROUTED = (
    "Llama, Qwen, Mistral, Gemma, Phi, OLMo, GPT-2, GPT-NeoX, gpt-oss, Granite, Cohere, GLM, DeepSeek-V3, "
    "BERT and most newer ones do"
)


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
        if self.kernel not in KERNELS:
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
        self, ids: list[list[int]], queries: list[list[int]], keys: list[list[int]], padding: Padding = "right"
    ) -> Captured:
        """The vectors of prompts (token ids) at the positions wanted of each; `padding` is the side it is put on."""
        batch = self.batch(ids, queries, keys, padding)
        read = _Read(self.kernel, batch, self.numbers, self._by_number)
        self.run(batch, read)
        return Captured(*(torch.stack([read.vectors[layer.layer][i] for layer in self.layers]).cpu() for i in range(3)))

    def batch(
        self, ids: list[list[int]], queries: list[list[int]], keys: list[list[int]], padding: Padding = "right"
    ) -> Batch:
        """The prompts side by side on the model's device."""
        pad = self.net.config.get_text_config().pad_token_id or 0
        return Batch.of(ids, queries, keys, pad, padding, self.net.device)

    def _probe(self) -> list[Layer]:
        vocabulary = self.net.config.get_text_config().vocab_size
        ids = [[t % vocabulary for t in row] for row in ([11, 12, 13, 14, 15, 16], [17, 18, 19])]
        probe = Probe(self.kernel, Batch.of(ids, [[], []], [[], []], 0, "right", self.net.device))
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
        with routed(self.net, self.kernel, read), torch.inference_mode():
            try:
                return self.net(**given)
            except _Done:
                return None

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

    def _choose(self, there: dict[int, Layer], wanted: list[int] | None) -> list[Layer]:
        total = getattr(self.net.config.get_text_config(), "num_hidden_layers", None) or len(there)
        wanted = list(range(total)) if wanted is None else sorted(set(wanted))
        beyond = [n for n in wanted if not 0 <= n < total]
        if beyond:
            raise ModelError(f"there is no layer {beyond[0]}; the model has layers 0-{total - 1}")
        missing = [n for n in wanted if n not in there]
        if missing:
            raise ModelError(
                f"layer {missing[0]} has no attention that can be read; choose with --layers {ranges(there)}"
            )
        shapes: dict[tuple, list[int]] = {}
        for n in wanted:
            shapes.setdefault((there[n].d_head, there[n].n_heads, there[n].n_kv_heads), []).append(n)
        if len(shapes) > 1:
            each = "; ".join(
                f"--layers {ranges(ns)} (head_dim {d}, {h} heads, {kv} KV heads)" for (d, h, kv), ns in shapes.items()
            )
            raise ModelError(f"one run holds layers of one shape, these differ: choose {each}")
        return [there[n] for n in wanted]


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
    """Reads the wanted vectors of one pass: `vectors` is {layer number: (q, k, logsumexp)}, each as in Captured."""

    def __init__(self, kernel: Kernel, batch: Batch, numbers: list[int], layers: dict[int, Layer]):
        self.kernel, self.batch, self.numbers, self.layers = kernel, batch, numbers, layers
        self.calls, self.vectors = 0, {}
        self._rule: dict[tuple, Tensor] = {}

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        number, self.calls = self.numbers[self.calls], self.calls + 1
        if number in self.layers:
            (qb, qc), (kb, kc) = self.batch.queries, self.batch.keys
            lse = self.logsumexp(self.layers[number], module, query, key, mask, options)
            self.vectors[number] = (query[qb, :, qc].transpose(0, 1), key[kb, :, kc].transpose(0, 1), lse)
            if len(self.vectors) == len(self.layers):
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
