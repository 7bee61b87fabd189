"""Batches: which prompts go through the model together, and how many bytes that and a run take."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ingest.model import Model, sides
from ingest.model.capture import Capture
from ingest.prompts.corpus import Corpus
from qkstore.errors import QKStoreError
from qkstore.run.schema import vector_bytes


def of(
    corpus: Corpus, size: int, memory: int, token_bytes: int, side: Callable[[int], Hashable] = lambda length: 0
) -> list[list[int]]:
    """Prompt numbers in batches of like length, at most `size` prompts and `memory` bytes each, longest last.

    side(length): prompts of unlike side stand in no batch together.
    """
    if size < 1:
        raise QKStoreError(f"a batch of {size} prompts; --batch-size is 1 or more")
    return sides.batches([len(tokens) for tokens in corpus.tokens], size, side, memory / token_bytes)


def order(batches: list[list[int]]) -> list[int]:
    """The numbers of the batches, the middle one first: how long it takes forecasts how long all will take."""
    middle = len(batches) // 2
    return sorted(range(len(batches)), key=lambda number: (number != middle, number))


def token_bytes(model: Model, capture: Capture) -> int:
    """About how many bytes one token of a batch takes: activations of a layer, and all that could be stored of it."""
    config, layer = model.net.config.get_text_config(), capture.layers[0]
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    vectors = (layer.n_heads + layer.n_kv_heads) * layer.d_head
    return (
        model.net.dtype.itemsize * (8 * config.hidden_size + 3 * inner + 4 * vectors)
        + len(capture.layers) * vectors * 8
    )


def run_bytes(corpus: Corpus, capture: Capture, store_dtype: str = "float32") -> int:
    """About how many bytes the vectors of a run take; as float32 they are spooled."""
    layer, queries, keys = capture.layers[0], sum(map(len, corpus.queries)), sum(map(len, corpus.keys))
    vectors = queries * layer.n_heads + keys * layer.n_kv_heads
    return len(capture.layers) * (vectors * vector_bytes(layer.d_head, store_dtype) + 8 * queries * layer.n_heads)
