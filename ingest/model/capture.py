"""Capture: q and k of a model's attention layers exactly as the softmax sees them, and each query's log-sum-exp."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ingest.model.attention import LOGITS_BYTES, kernel_of, mask_rows, with_sinks
from ingest.model.batch import Batch, Padding
from ingest.model.forward import Done, Forward
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
    logits: (prompts, vocabulary) of the next token at one place of each prompt, where they were asked for.
    """

    q: Tensor
    k: Tensor
    logsumexp: Tensor
    logits: Tensor | None = None


class Capture:
    """Reads chosen layers of a model: `capture(ids, queries, keys) -> Captured`.

    Making one runs a tiny forward pass, which finds out how each layer works, and checks that softmax over q·k with
    those facts gives the layer's own output. Raises ModelError where it does not, where a layer does not route
    through transformers' attention interface, and where the chosen layers differ in shape.
    """

    def __init__(self, net, layers: list[int] | None = None):
        self.forward = Forward(net)
        probe = self._probe(net)
        self.every = {layer.layer: layer for layer in probe}  # the chosen layers and all others
        self.layers = self._choose(net, self.every, layers)
        self._by_number = {layer.layer: layer for layer in self.layers}

    def __call__(
        self,
        ids: list[list[int]],
        queries: list[list[int]],
        keys: list[list[int]],
        padding: Padding = "right",
        ends: list[int] | None = None,
    ) -> Captured:
        """The vectors of prompts (token ids) at the positions wanted of each; `padding` is the side it is put on.

        ends: a position of each prompt whose logits of the next token are wanted too, of a model with its LM head. The
        pass then goes on to the end, which without it stops at the last layer wanted.
        """
        batch = self.forward.batch(ids, queries, keys, padding)
        read = _Read(self.forward, batch, self._by_number, whole=ends is not None)
        logits = None
        if ends is None:
            self.forward.run(batch, read)
        else:
            shift = (~batch.real).sum(dim=1) if padding == "left" else 0
            logits = self.forward.logits(batch, read, torch.tensor(ends, device=batch.ids.device) + shift).cpu()
        vectors = (_stacked([read.vectors[layer.layer][i] for layer in self.layers]) for i in range(3))
        return Captured(*vectors, logits)

    def _probe(self, net) -> list[Layer]:
        forward = self.forward
        ids = [[t % forward.vocabulary() for t in row] for row in ([11, 12, 13, 14, 15, 16], [17, 18, 19])]
        batch = Batch.of(ids, [[], []], [[], []], 0, "right", forward.device)
        probe = Probe(forward.kernel, batch, forward.depth)
        forward.run(batch, probe)
        if not probe.layers:
            raise ModelError(
                f"{type(net).__name__} does not route through transformers' attention interface, "
                f"so q and k cannot be read ({ROUTED})"
            )
        forward.check_native(ids)
        return probe.layers

    def _choose(self, net, there: dict[int, Layer], wanted: list[int] | None) -> list[Layer]:
        total = getattr(net.config.get_text_config(), "num_hidden_layers", None) or len(there)
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


def _stacked(parts: list[Tensor]) -> Tensor:
    """(layers, …) on the CPU, in one transfer where all layers lie on one device."""
    if len({part.device for part in parts}) > 1:
        parts = [part.cpu() for part in parts]
    return torch.stack(parts).cpu()


def ranges(numbers) -> str:
    """0,1,2,5 as '0-2,5'."""
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in parts)


class _Read:
    """Reads the wanted vectors of one pass: `vectors` is {layer number: (q, k, logsumexp)}, each as in Captured.

    whole: the pass goes on after the last layer wanted.
    """

    def __init__(self, forward: Forward, batch: Batch, layers: dict[int, Layer], whole: bool = False):
        self.whole = whole
        self.kernel, self.depth, self.batch, self.layers = forward.kernel, forward.depth, batch, layers
        self.vectors, self.refused = {}, []
        self._rule: dict[tuple, Tensor] = {}

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        number = self.depth.call(module)
        if number in self.layers:
            self._take(self.layers[number], module, query, key, mask, options)
            if len(self.vectors) + len(self.refused) == len(self.layers):
                self._end()
        return kernel_of(self.kernel, module)(module, query, key, value, mask, **options)

    def _take(self, layer: Layer, module, query: Tensor, key: Tensor, mask: Tensor | None, options: dict) -> None:
        batch = self.batch.on(query.device)
        (qb, qc), (kb, kc) = batch.queries, batch.keys
        seen = self.seen(batch, layer, module, mask, options)  # (B, Q, T); None where the rule does not say it
        if seen is None:
            self.refused.append(layer)
        else:
            lse = self.logsumexp(batch, layer, query, key, seen, options)
            self.vectors[layer.layer] = (query[qb, :, qc].transpose(0, 1), key[kb, :, kc].transpose(0, 1), lse)

    def _end(self) -> None:
        if self.refused:
            first, some = self.refused[0], "s" * (len(self.refused) > 1)
            act = f"choose --layers {ranges(self.vectors)}" if self.vectors else "so can no other that was chosen"
            raise ModelError(
                f"layer{some} {ranges(layer.layer for layer in self.refused)} mask{'s' * (not some)} keys by a rule "
                f"other than {first.rule()} (chunks, blocks or a bias of positions), which a run cannot describe; {act}"
            )
        if not self.whole:
            raise Done

    def logsumexp(self, batch: Batch, layer: Layer, query: Tensor, key: Tensor, seen: Tensor, options: dict) -> Tensor:
        """(heads, n): log of the sum of exp(logit) over the keys each stored query sees, sinks included."""
        columns, (sb, sc) = batch.columns, batch.slots
        q = query.gather(2, columns[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3]))  # (B, H, Q, d)
        step = max(1, LOGITS_BYTES // (8 * q[0, :, :, 0].numel() * key.shape[2]))
        parts = []
        for i in range(0, len(q), step):
            logits = layer.logits(q[i : i + step], key[i : i + step]).masked_fill(~seen[i : i + step, None], -torch.inf)
            parts.append(torch.logsumexp(with_sinks(logits, options.get("s_aux")), dim=-1))
        return torch.cat(parts)[sb, :, sc].transpose(0, 1)

    def seen(self, batch: Batch, layer: Layer, module, mask: Tensor | None, options: dict) -> Tensor | None:
        """Which columns each stored query sees, by the layer's rule; None unless the real mask says the same."""
        key = layer.causal, layer.window, batch.ids.device
        if key not in self._rule:
            query_place = batch.place.gather(1, batch.columns)
            self._rule[key] = layer.visible(query_place[:, :, None], batch.place[:, None, :]) & batch.real[:, None, :]
        rule, (sb, sc) = self._rule[key], batch.slots
        actual = mask_rows(self.kernel, module, batch, mask, options)[sb, :, sc]  # (n, 1 or H, T)
        return rule if torch.equal(actual, rule[sb, sc][:, None].expand_as(actual)) else None
