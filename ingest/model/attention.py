"""One attention call of transformers: the kernel that the model had chosen, the mask it was given, and its sinks.

An attention function and its mask function are registered with transformers under one name. While a model is routed,
the function hands each call to a reader: q and k as they arrive, after RoPE and QK-norm and before the keys of a group
are repeated. Without the mask function transformers would pass no mask, and padding would be seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ingest.model.batch import Batch
from qkstore.errors import ModelError

Kernel = Literal["sdpa", "eager"]  # whose attention is softmax over q·k, with a mask that can be read
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
NAME = "qkstore"
OPTIONS = frozenset(  # of a call, and known not to change what softmax(q·k) is, or read by us
    "scaling softcap sliding_window s_aux is_causal dropout position_ids position_bias output_attentions "
    "output_hidden_states output_router_logits use_cache return_dict deterministic training cache_position "
    "logits_to_keep position_embeddings input_ids".split()
)
LOGITS_BYTES = 2**28  # logits are made for so many bytes of queries at once
HIDDEN = torch.finfo(torch.float32).min  # what an additive mask gives a key that is not seen

_reading: ContextVar = ContextVar("reading")


@contextmanager
def routed(net, reader) -> Iterator[None]:
    """While this lasts, `reader.attend` answers the attention calls of a model, or its own kernel if there is none.

    Every part of the model has its own kernel again afterwards.
    reader: has `kernel`, the name of the kernel whose masks it is to be given, and
    `attend(module, query, key, value, mask, options) -> (output, weights)`.
    """
    token = _reading.set(reader)
    try:
        with kernels_kept(net) as parts:
            if reader is not None:
                net.set_attn_implementation(NAME)  # which leaves out what does not route
            for part in parts if net.dtype == torch.float64 else ():
                part._experts_implementation_internal = "eager"  # the grouped kernels of experts know no float64
            yield
    finally:
        _reading.reset(token)


@contextmanager
def kernels_kept(net) -> Iterator[list]:
    """Gives the configs of a model's parts; each has the kernels that it had when this ends."""
    parts = list(_configs(net))
    kernels = [(part._attn_implementation_internal, part._experts_implementation_internal) for part in parts]
    try:
        yield parts
    finally:
        for part, (attention, experts) in zip(parts, kernels, strict=True):
            part._attn_implementation_internal, part._experts_implementation_internal = attention, experts


def _configs(net) -> Iterator:
    """The config of every part of a model, each once: its parts can have kernels of their own."""
    waiting, seen = [m.config for m in net.modules() if isinstance(m, PreTrainedModel)], set()
    while waiting:
        config = waiting.pop()
        if id(config) not in seen:
            seen.add(id(config))
            yield config
            waiting += [part for name in config.sub_configs if (part := getattr(config, name, None)) is not None]


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


def kernel_of(name: Kernel, module):
    """The attention function 'sdpa' or 'eager' of a module; the eager one stands beside the module's class.

    Raises ModelError where none does.
    """
    if name != "eager":
        return ALL_ATTENTION_FUNCTIONS[name]
    for kind in type(module).__mro__:
        eager = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if eager is not None:
            return eager
    raise ModelError(f"{type(module).__name__} has no eager attention of its own to hand on to")


def check_options(module, options: dict) -> None:
    """Raise ModelError for an option of an attention call that is not known: it could choose keys, or add to logits."""
    unknown = sorted(name for name, value in options.items() if name not in OPTIONS and value is not None)
    if unknown:
        raise ModelError(
            f"{type(module).__name__} gives its kernel the option {unknown[0]!r}, which is not known to leave "
            "its attention softmax over q and k; such a model cannot be read"
        )


def mask_rows(kernel: Kernel, module, batch: Batch, mask: Tensor | None, options: dict) -> Tensor:
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
    rows = mask.shape[2] if mask.shape[2] > 1 else T  # one row stands for all
    mask = mask.expand(B, -1, rows, -1)[..., :T]
    return mask.gather(2, batch.columns[:, None, :, None].expand(-1, mask.shape[1], -1, T))


def with_sinks(logits: Tensor, sinks: Tensor | None) -> Tensor:
    """Logits (B, H, Q, T), with one more column where the layer has sinks.

    A sink is a learned logit of each of the H heads that belongs to no key.
    """
    if sinks is None:
        return logits
    return torch.cat([logits, sinks.to(logits.dtype).reshape(1, -1, 1, 1).expand(*logits.shape[:3], 1)], dim=-1)
