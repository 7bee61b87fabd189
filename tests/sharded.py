"""Synthetic runs in shards: the same data as `synthetic.publish`, put by several ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qkstore.run.incoming.labels import Tables
from qkstore.run.incoming.shard import IncomingShard, Share


def same(one, other) -> bool:
    """Whether head scores are the same to 1e-9; the null's deals are summed in 32 bits, and are so to 1e-6."""
    return all(
        alike(value, theirs.to_dict()[name], 1e-6 if name == "delta_null" else 1e-9)
        for mine, theirs in zip(one, other, strict=True)
        for name, value in mine.to_dict().items()
    )


def alike(one, other, most: float) -> bool:
    """Whether two values of a score are so, in parts of them; those that are no numbers are equal."""
    try:
        return np.allclose(np.array(one, float), np.array(other, float), most, 1e-12, equal_nan=True)
    except (TypeError, ValueError):
        return one == other


def ranks(store: Path, name: str, data, of: int, size: int = 4):
    """The ranks of an ingest, one after another, each with what it has to put."""
    (store / "runs").mkdir(parents=True, exist_ok=True)
    for number in range(of):
        batches = [batch for batch in data.batches(size) if batch[0] % of == number]
        yield IncomingShard(store, name, data.plan, None, Share(number, of)), batches


def prompts(data, of: int, size: int = 4) -> list[np.ndarray]:
    """The prompts of each shard."""
    number = np.arange(len(data.prompts)) // size % of
    return [np.flatnonzero(number == i).astype(np.int32) for i in range(of)]


def assemble(incoming: IncomingShard, data, size: int = 4) -> Path:
    tables = Tables(data.prompts, data.tokens, data.query_rows, data.key_rows)
    return incoming.assemble(data.manifest, data.layers, lambda answers: tables, prompts(data, incoming.share.of, size))


def publish(store: Path, name: str, data, of: int = 3, size: int = 4) -> Path:
    """Publish a run of so many shards."""
    for incoming, batches in ranks(store, name, data, of, size):
        with incoming:
            for batch in batches:
                incoming.put(*batch)
            incoming.publish_shard(data.layers, data.manifest["store_dtype"])
            if incoming.complete:
                path = assemble(incoming, data, size)
    return path
