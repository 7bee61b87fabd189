"""Sides: which lengths of prompts may stand in one batch.

Some models choose their rotary factors by the longest text of a batch: LongRoPE has one set up to a length and another
beyond it, dynamic NTK beyond its length one for every length. A prompt's vectors then depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from torch import nn


class Sides:
    """sides(n): lengths of equal side may be batched together. `equal` is set where only equal lengths may be."""

    def __init__(self, config):
        self.equal = False
        self._rules = sorted(set(_rules(config)))

    @property
    def ruled(self) -> bool:
        """Whether the length of a text decides its rotary factors."""
        return bool(self._rules)

    def __call__(self, length: int) -> Hashable:
        return length if self.equal else tuple(_side(kind, limit, length) for kind, limit in self._rules)


def _side(kind: str, limit: int, length: int) -> int:
    """0 up to the limit; beyond it 1 for LongRoPE, and the length itself for dynamic NTK."""
    return 0 if length < limit or (kind == "longrope" and length == limit) else 1 if kind == "longrope" else length


def _rules(config) -> Iterator[tuple[str, int]]:
    """(kind, length up to which the usual factors are used) of every set of rotary parameters, in each part."""
    whole = getattr(config, "max_position_embeddings", None) or 0
    found = getattr(config, "rope_parameters", None) or {}
    for rope in (found, *found.values()):
        kind = str(rope.get("rope_type", "")) if isinstance(rope, Mapping) else ""
        if kind == "longrope":
            yield kind, int(rope.get("original_max_position_embeddings") or whole)
        elif "dynamic" in kind:
            yield "dynamic", int(whole)


def batches(
    lengths: Sequence[int], size: int, side: Callable[[int], Hashable], room: float = math.inf
) -> list[list[int]]:
    """Numbers of prompts in batches of like length, shortest first: at most `size` prompts and `room` padded tokens.

    Prompts of unlike side stand in no batch together.
    """
    made: list[list[int]] = []
    for p in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = made[-1] if made else []
        full = len(last) == size or (len(last) + 1) * lengths[p] > room
        if not last or full or side(lengths[p]) != side(lengths[last[0]]):
            made.append([])
        made[-1].append(p)
    return made


def forget(net: nn.Module) -> None:
    """Dynamic NTK goes on with the factors of the longest text that it ever saw; take those of a fresh model."""
    for module in net.modules():
        first = getattr(module, "original_max_seq_len", None)
        for name in [n for n in vars(module) if n.endswith("max_seq_len_cached")] if first is not None else ():
            prefix = name.removesuffix("max_seq_len_cached")
            original = getattr(module, f"{prefix}original_inv_freq", None)
            if getattr(module, name) != first and original is not None:
                current = getattr(module, f"{prefix}inv_freq")
                module.register_buffer(f"{prefix}inv_freq", original.to(current.device), persistent=False)
                setattr(module, name, first)
