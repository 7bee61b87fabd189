"""Edits inside the forward pass: in one query head, two keys swap what a projector takes of them.

The layer's own kernel computes its output as ever. For an edited head attention is computed once with its keys as they
are and once as edited, and the difference times the values is added to that head's output. Editing the shared key
instead would, under grouped queries, change every head of the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from ingest.model.attention import LOGITS_BYTES, Kernel, kernel_of, mask_rows
from ingest.model.batch import Batch, Padding
from ingest.model.capture import Capture
from ingest.model.forward import same
from ingest.model.layer import Layer
from qkstore.errors import ModelError, PromptError, near

Rows = Literal["last", "all"]
ROWS: tuple[Rows, ...] = get_args(Rows)
Head = tuple[int, int]  # layer, query head
Edits = Mapping[Head, np.ndarray]  # {head: P (d_head, d_head)}, k̃ = k + P (k' − k); of a subspace V Vᵀ
Read = dict[int, tuple[list[int], Tensor]]  # {layer: heads that are edited there, and their projectors}


@dataclass(frozen=True)
class Case:
    """A prompt's token ids, and the positions of the query and of the two keys that swap.

    Raises PromptError where they cannot swap.
    """

    ids: list[int]
    query: int
    original: int
    target: int

    def __post_init__(self):
        beyond = [p for p in (self.query, self.original, self.target) if not 0 <= p < len(self.ids)]
        if beyond:
            raise PromptError(f"there is no position {beyond[0]} in a prompt of {len(self.ids)} tokens")
        if self.original == self.target:
            raise PromptError(f"original and target are both at position {self.target}; a swap takes two keys")


@dataclass(frozen=True)
class Pass:
    """What a pass showed of each prompt's query row.

    attention: {layer: (n, heads, 2)} on the original and the target key. logits: (n, vocabulary) of the next token,
    None for a model without an LM head.
    """

    attention: dict[int, Tensor]
    logits: Tensor | None

    def first(self, n: int) -> Pass:
        """The same of the first n prompts."""
        return Pass(
            {layer: values[:n] for layer, values in self.attention.items()},
            None if self.logits is None else self.logits[:n],
        )


class Editor:
    """Runs a model with edits: `editor(cases, edits) -> Pass`, attention of layers from `first` on.

    rows: 'last' edits the query's row alone, 'all' every row that sees both keys. Edits of several layers take effect
    one after the other: a later layer swaps the keys that it then has, P (k' − k) of the edited pass. Raises ModelError
    as Capture does.
    """

    def __init__(self, net, first: int = 0, rows: Rows = "last"):
        if rows not in ROWS:
            raise ModelError(f"no rows {rows!r}; {near(rows, ROWS)}")
        capture = Capture(net, [first])
        self.forward, self.layers = capture.forward, capture.every
        self.first, self.rows = first, rows

    def __call__(
        self,
        cases: Sequence[Case],
        edits: Edits | None = None,
        padding: Padding = "right",
        kernel: Kernel | None = None,
    ) -> Pass:
        """One pass.

        padding: 'right' or 'left'. kernel: another than the model's own ('eager'), for a pass that ought to be equal.
        """
        batch = self.batch(cases, padding)
        editing = _Editing(self, batch, self.read(edits or {}), kernel)
        output = self.forward.run(batch, editing, **self.few(batch)[0])
        return Pass(editing.attention, self.logits(output, batch))

    def batch(self, cases: Sequence[Case], padding: Padding = "right") -> Batch:
        """The cases side by side, with their queries and keys."""
        places = [[c.query] for c in cases], [[c.original, c.target] for c in cases]
        return self.forward.batch([c.ids for c in cases], *places, padding)

    def few(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """What has a model give the queries' logits alone, where it can, and where each query's are among them."""
        wanted, at = batch.columns[:, 0].unique(return_inverse=True)
        there = "logits_to_keep" in self.forward.accepts
        return ({"logits_to_keep": wanted}, at) if there else ({}, batch.columns[:, 0])

    def logits(self, output, batch: Batch) -> Tensor | None:
        """(n, vocabulary) of the token after each query; None without an LM head."""
        logits = getattr(output, "logits", None)
        at = self.few(batch)[1]
        return None if logits is None else logits[torch.arange(len(at), device=logits.device), at.to(logits.device)]

    @property
    def goes_on(self) -> bool:
        """Whether the queries' tokens may be run alone, behind what was computed of the others."""
        plain = all(layer.causal and layer.window is None for layer in self.layers.values())
        takes = {"past_key_values", "position_ids", "use_cache"} <= set(self.forward.accepts)
        return self.rows == "last" and plain and takes and not self.forward.sides.ruled

    def passes(self, cases: Sequence[Case], each: Sequence[Edits]) -> Iterator[Pass]:
        """A pass for each of several sets of edits, of the same cases.

        Where only the queries' rows are edited, what stands before them is run once, if the model can go on from it.
        """
        behind = Behind.of(self, cases) if len(each) > 1 else None
        for edits in each:
            yield self(cases, edits) if behind is None else behind(edits)

    def read(self, edits: Edits) -> Read:
        """{layer: the heads that are edited there, and their projectors}."""
        return {number: self._of(number, edits) for number in {layer for layer, _ in edits}}

    def _of(self, number: int, edits: Edits) -> tuple[list[int], Tensor]:
        """The heads that are edited in a layer, and their projectors (E, d_head, d_head)."""
        if number not in self.layers:
            raise ModelError(f"there is no layer {number}; {near(str(number), map(str, self.layers))}")
        layer, heads = self.layers[number], sorted(head for n, head in edits if n == number)
        for head in heads:
            if not 0 <= head < layer.n_heads:
                raise ModelError(f"layer {number} has no head {head}; its heads are 0 to {layer.n_heads - 1}")
            if edits[number, head].shape != (layer.d_head, layer.d_head):
                size = " × ".join(map(str, edits[number, head].shape))
                raise ModelError(f"layer {number} head {head}: a projector of {size}, its keys have {layer.d_head}")
        projectors = np.stack([edits[number, head] for head in heads])
        return heads, torch.from_numpy(projectors).double().to(self.forward.device)


class Behind:
    """What stands before the queries' tokens of a few prompts, run once: `behind(edits) -> Pass` runs these alone.

    In a model that reads from left to right an edit of the query's row changes nothing before it, in any layer.
    """

    def __init__(self, editor: Editor, batch: Batch, cache: DynamicCache):
        self.editor, self.cache = editor, cache
        self.kept = [(layer.keys, layer.values) for layer in cache.layers]
        column, T = batch.columns, batch.ids.shape[1]
        before = batch.real & (torch.arange(T, device=column.device) < column)  # the query's own token comes once more
        end = torch.full_like(column, T)
        self.batch = replace(
            batch,
            ids=torch.cat([batch.ids, batch.ids.gather(1, column)], dim=1),
            real=torch.cat([before, torch.ones_like(before[:, :1])], dim=1),
            place=torch.cat([batch.place, batch.place.gather(1, column)], dim=1),
            columns=end,
        )

    @classmethod
    def of(cls, editor: Editor, cases: Sequence[Case]) -> Behind | None:
        """None where the model cannot go on from what it computed, or computes another thing when it does."""
        if not editor.goes_on:
            return None
        batch = editor.batch(cases)
        editing = _Editing(editor, batch, {}, None)
        output = editor.forward.run(batch, editing, use_cache=True, **editor.few(batch)[0])
        cache = getattr(output, "past_key_values", None)
        if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return None
        made, whole = cls(editor, batch, cache), Pass(editing.attention, editor.logits(output, batch))
        return made if made._equals(whole) else None

    def __call__(self, edits: Edits) -> Pass:
        editing = _Editing(self.editor, self.batch, self.editor.read(edits), None, alone=True)
        for layer, (keys, values) in zip(self.cache.layers, self.kept, strict=True):
            layer.keys, layer.values = keys, values
        given = {"input_ids": self.batch.ids[:, -1:], "position_ids": self.batch.place[:, -1:]}
        output = self.editor.forward.run(self.batch, editing, past_key_values=self.cache, use_cache=True, **given)
        logits = getattr(output, "logits", None)
        return Pass(editing.attention, None if logits is None else logits[:, -1])

    def _equals(self, whole: Pass) -> bool:
        """Whether the tokens alone, unedited, have the attention and the logits that they have in a whole pass."""
        alone, dtype = self({}), self.editor.forward.net.dtype
        pairs = [(alone.attention[n], whole.attention[n]) for n in whole.attention]
        pairs += [] if whole.logits is None or alone.logits is None else [(alone.logits, whole.logits)]
        return all(same(one, other, dtype) for one, other in pairs)


class _Editing:
    """One pass: answers every attention call with the model's own kernel, and edits those that are to be edited."""

    def __init__(self, editor: Editor, batch: Batch, edits: Read, kernel: Kernel | None, alone: bool = False):
        """alone: the pass runs the queries' tokens alone, and all others are behind them in a cache."""
        self.kernel, self.depth = kernel or editor.forward.kernel, editor.forward.depth
        self.layers, self.first, self.every, self.alone = editor.layers, editor.first, editor.rows == "all", alone
        self.edits, self.attention, self.home = edits, {}, batch
        self._look(batch)

    def _look(self, batch: Batch) -> None:
        """Where the rows and keys are, on the device of the layers that come next."""
        self.batch = batch
        self.keys = batch.keys[1].reshape(-1, 2)  # (B, 2), the columns of original and target
        every = torch.arange(batch.ids.shape[1], device=batch.ids.device).expand(len(batch.ids), -1)
        self.rows = replace(batch, columns=every) if self.every else batch
        # where these rows are among the ones that the pass runs
        self.query_at = torch.zeros_like(batch.columns) if self.alone else batch.columns
        self.rows_at = every if self.every else self.query_at
        self.slot = batch.columns[:, 0] if self.every else torch.zeros_like(batch.columns[:, 0])  # among the rows

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        number = self.depth.call(module)
        output, weights = kernel_of(self.kernel, module)(module, query, key, value, mask, **options)
        if number < self.first:
            return output, weights
        if query.device != self.batch.ids.device:
            self._look(self.home.on(query.device))
        layer, sinks = self.layers[number], options.get("s_aux")
        seen = mask_rows(self.kernel, module, self.batch, mask, options)
        attention = self._pair(layer.weights(_rows(query, self.query_at), key, seen, sinks)[:, :, 0])
        if number in self.edits:
            heads, P = self.edits[number]
            seen = mask_rows(self.kernel, module, self.rows, mask, options)
            change, attention[:, heads] = self._change(layer, heads, P, query, key, value, seen, sinks)
            output = self._add(output, heads, change)
        self.attention[number] = attention
        return output, weights

    def _change(
        self, layer: Layer, heads: list[int], P: Tensor, query, key, value, seen, sinks
    ) -> tuple[Tensor, Tensor]:
        """What the edit adds to the heads' output, and the query row's attention after it.

        Shapes (B, E, Q, d_value) and (B, E, 2).
        """
        group = [head // (layer.n_heads // layer.n_kv_heads) for head in heads]
        q, k, v = _rows(query, self.rows_at)[:, heads], key[:, group], value[:, group]
        seen = seen if seen.shape[1] == 1 else seen[:, heads]
        sinks = None if sinks is None else sinks[heads]
        swapped = self._swap(k.double(), P)
        step = max(1, LOGITS_BYTES // (8 * q[0, :, :, 0].numel() * k.shape[2]))
        changes, attention = [], []
        for i in range(0, len(q), step):
            part = slice(i, i + step)
            both = (
                seen[part].gather(3, self.keys[part, None, None].expand(-1, *seen.shape[1:3], -1)).all(-1, keepdim=True)
            )
            before = layer.weights(q[part], k[part], seen[part], sinks)
            after = torch.where(both, layer.weights(q[part], swapped[part], seen[part], sinks), before)
            changes.append(torch.where(both, after - before, 0.0) @ v[part].double())
            rows = self.slot[part, None, None, None].expand(-1, len(heads), 1, after.shape[3])
            attention.append(self._pair(after.gather(2, rows)[:, :, 0], part))
        return torch.cat(changes), torch.cat(attention)

    def _swap(self, k: Tensor, P: Tensor) -> Tensor:
        """Keys (B, E, T, d) with k̃ = k + P (k' − k) at the two columns (eq. 8–10, where P is V Vᵀ)."""
        at = self.keys[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
        original, target = k.gather(2, at).unbind(2)  # (B, E, d)
        moved = ((target - original)[:, :, None] @ P.mT.to(k.device))[:, :, 0]
        return k.scatter(2, at, torch.stack([original + moved, target - moved], dim=2))

    def _pair(self, weights: Tensor, part: slice = slice(None)) -> Tensor:
        """(B, E, T) → (B, E, 2), of the original and the target."""
        return weights.gather(2, self.keys[part, None].expand(-1, weights.shape[1], -1))

    def _add(self, output: Tensor, heads: list[int], change: Tensor) -> Tensor:
        """The kernel's output with the change at the edited rows and heads; what is not edited keeps every bit."""
        B, _, _, d = change.shape  # (B, E, Q, d_value)
        edited = output.reshape(B, -1, output.shape[2:].numel() // d, d).clone()  # (B, T, H, d_value)
        prompt = torch.arange(B, device=output.device)[:, None, None]
        at = prompt, self.rows_at[:, :, None], torch.tensor(heads, device=output.device)
        edited[at] = (edited[at].double() + change.transpose(1, 2)).to(output.dtype)
        return edited.reshape(output.shape)


def _rows(query: Tensor, columns: Tensor) -> Tensor:
    """Queries (B, H, T, d) at columns (B, Q): (B, H, Q, d)."""
    return query.gather(2, columns[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3]))
