"""A shard: one of the files of vectors that some runs have beside their own, and what the run file says of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from qkstore.errors import StoreError
from qkstore.run import schema, shape
from qkstore.run.manifest import Manifest

MOST = 10_000  # of one run


class Shard(NamedTuple):
    """What the run file says of one of its shards; content: {'layer 0': SHA-256, …} of its vectors."""

    number: int
    prompts: np.ndarray
    n_queries: int
    n_keys: int
    bytes: int
    content: Mapping[str, str]


def folder(run_file: Path) -> Path:
    """Where the shards of a run lie."""
    return run_file.with_name(run_file.name.removesuffix(".duckdb") + schema.SHARDS)


def name(number: int) -> str:
    """The name of a shard's file."""
    return f"{number:04d}.duckdb"


def made(plan: str) -> str:
    """What tells the shards of one ingest from those of another: a digest of its plan, as JSON."""
    return hashlib.sha256(plan.encode()).hexdigest()


def together(contents: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """{'layer 0': SHA-256, …} of a run's layers, from those of its shards in their order."""
    return {
        layer: hashlib.sha256("\n".join(each[layer] for each in contents).encode()).hexdigest() for layer in contents[0]
    }


def row_of_self(shard: Shard, of: str, n_shards: int, version: int = schema.NEWEST_VERSION) -> dict:
    """The row that a shard has of itself."""
    return {
        "schema_version": version,
        "made": of,
        "shard": shard.number,
        "n_shards": n_shards,
        "n_queries": shard.n_queries,
        "n_keys": shard.n_keys,
        "content": told(shard.content),
    }


def told(digests: Mapping[str, str]) -> str:
    """Digests as the tables have them."""
    return json.dumps(dict(digests), sort_keys=True)


def read(cursor: duckdb.DuckDBPyConnection, manifest: Manifest, what: str) -> list[Shard]:
    """The shards that a run file names. Raises StoreError where they do not have each prompt once, and all vectors."""
    sql = "SELECT count(*), coalesce(sum(len(prompts)), 0), max(len(prompts)), max(strlen(content)) FROM shard"
    [(n, prompts, _, longest)] = cursor.execute(sql).fetchall()
    if not 1 <= n <= MOST or prompts != manifest.n_prompts or (longest or 0) > shape.MOST_TEXT:
        raise StoreError(
            f"{what} is damaged: its {n:,} shards have {prompts:,} prompts of {manifest.n_prompts:,}; possible are "
            f"1 to {MOST:,} shards"
        )
    rows = cursor.execute(f"SELECT {', '.join(schema.SHARD)} FROM shard ORDER BY shard").fetchall()
    found = [_shard(dict(zip(schema.SHARD, row, strict=True)), what) for row in rows]
    every = np.concatenate([shard.prompts for shard in found])
    once = np.array_equal(np.sort(every), np.arange(manifest.n_prompts))
    if not once or [shard.number for shard in found] != list(range(n)):
        raise StoreError(f"{what} is damaged: its shards have a prompt twice, or are not numbered from 0")
    for side, total in (("n_queries", manifest.n_queries), ("n_keys", manifest.n_keys)):
        if (there := sum(getattr(shard, side) for shard in found)) != total:
            raise StoreError(f"{what} is damaged: its shards have {there:,} of {side} {total:,}")
    _check_digests(found, manifest, what)
    return found


def _shard(row: dict, what: str) -> Shard:
    digests = shape.read_json(row["content"] or "", f"{what}: content of a shard")
    numbers = [row[name] for name in ("shard", "n_queries", "n_keys", "bytes")]
    if not isinstance(digests, dict) or None in numbers or min(numbers) < 0 or None in (row["prompts"] or [None]):
        raise StoreError(f"{what} is damaged: what it says of shard {row['shard']} is no shard's")
    number, n_queries, n_keys, size = numbers
    return Shard(number, np.array(row["prompts"], np.int32), n_queries, n_keys, size, digests)


def _check_digests(found: Sequence[Shard], manifest: Manifest, what: str) -> None:
    """Raise StoreError unless the layers' digests are made of the shards'."""
    said = json.loads(manifest.content or "{}")
    layers = said.keys() - {"labels"}
    if any(shard.content.keys() != layers for shard in found) or together([s.content for s in found]) != {
        layer: said[layer] for layer in layers
    }:
        raise StoreError(f"{what} is damaged: the digests of its layers are not those of its shards")
