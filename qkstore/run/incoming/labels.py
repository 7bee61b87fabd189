"""What a run file has beside its vectors: tables of labels, the sides of contrasts, and the manifest, written last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from qkstore.errors import PromptError
from qkstore.run import content, schema, sides
from qkstore.run.shard import Shard, told

SLICE = 250_000  # tokens, about, whose sides q and k are joined at once


class Tables(NamedTuple):
    """The rows of a run file's tables of the same names."""

    prompt: pl.DataFrame
    token: pl.DataFrame
    query_row: pl.DataFrame
    key_row: pl.DataFrame

    @property
    def labels(self) -> tuple[dict[str, str], dict[str, str]]:
        """{label: DuckDB type} of tokens and of prompts."""
        return schema.label_types(self.token, schema.TOKEN), schema.label_types(self.prompt, schema.PROMPT)


def there(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The names of the tables that are in the file."""
    rows = con.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
    return {name for (name,) in rows}


def insert(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table | pa.RecordBatchReader) -> None:
    """Insert rows by the names of their columns."""
    con.register("chunk", rows)
    con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM chunk")
    con.unregister("chunk")


def write(
    con: duckdb.DuckDBPyConnection, tables: Tables, layers: Sequence[dict], d_head: int, store_dtype: str
) -> None:
    """All tables of a run file, and the rows of all but the vectors'. Raises PromptError for labels of one name."""
    token_labels, prompt_labels = tables.labels
    # SQL takes Box and box for one
    both = sorted({n.lower() for n in token_labels} & {n.lower() for n in prompt_labels})
    if both:
        raise PromptError(f"label {both[0]!r} stands on tokens and on prompts; rename one of the two")
    con.execute("BEGIN")
    for statement in schema.run_tables(d_head, token_labels, prompt_labels, store_dtype):
        con.execute(statement)
    for layer in layers:
        con.execute(schema.INSERT_LAYER, layer)
    for table, frame in tables._asdict().items():
        insert(con, table, frame.to_arrow())
    for statement in sides.side_tables(token_labels, prompt_labels):
        con.execute(statement)
    for first, last in _slices(tables.token):
        for statement in sides.side_rows(token_labels, prompt_labels):
            con.execute(statement, {"first": first, "last": last})
    for side, frame in (("q", tables.query_row), ("k", tables.key_row)):
        [(n,)] = con.execute(f"SELECT count(*) FROM {side}").fetchall()
        assert n == len(frame), f"{side} has {n} rows of {len(frame)}: a stored row has no token or no prompt"
    con.execute("COMMIT")
    con.execute("CHECKPOINT")


def shard_rows(con: duckdb.DuckDBPyConnection, shards: Sequence[Shard]) -> None:
    """What the run file says of its shards."""
    con.execute(f"CREATE TABLE shard ({schema.columns(schema.SHARD)})")
    for one in shards:
        kept = [one.number, one.prompts.tolist(), one.n_queries, one.n_keys, one.bytes, told(one.content)]
        con.execute(f"INSERT INTO shard VALUES ({', '.join('?' for _ in kept)})", kept)


def manifest(
    con: duckdb.DuckDBPyConnection,
    facts: dict,
    tables: Tables,
    layers: Mapping[str, str],
    weights: Mapping[str, np.ndarray],
    measures: Mapping[str, float],
) -> None:
    """What is kept beside the vectors, and the manifest, which says that the run is whole.

    facts: more columns of it, which go before what is counted here. layers: digests of their vectors.
    """
    token_labels, prompt_labels = tables.labels
    con.execute("BEGIN")
    for name, matrix in weights.items():
        kept = [name, list(matrix.shape), matrix.astype(np.float32).ravel().tolist()]
        con.execute("INSERT INTO weight VALUES (?, ?, ?)", kept)
    for name, value in measures.items():
        con.execute("INSERT INTO measure VALUES (?, ?)", [name, float(value)])
    facts = {
        "schema_version": schema.RUN_VERSION,
        "n_prompts": len(tables.prompt),
        "n_tokens": len(tables.token),
        "n_queries": len(tables.query_row),
        "n_keys": len(tables.key_row),
        "token_labels": list(token_labels),
        "prompt_labels": list(prompt_labels),
        "content": json.dumps({"labels": content.labels(con), **layers}),  # of what was inserted above, too
        **facts,
    }
    unknown = facts.keys() - schema.MANIFEST.keys()
    assert not unknown, f"the manifest has no column for {unknown}"
    con.execute(f"CREATE TABLE run ({schema.columns(schema.MANIFEST)})")
    places = ", ".join("?" for _ in facts)
    con.execute(f"INSERT INTO run ({', '.join(facts)}) VALUES ({places})", list(facts.values()))
    con.execute("COMMIT")
    con.execute("CHECKPOINT")  # closing would write it too, but says nothing where the disk is full


def _slices(tokens: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """(first, last) prompt of slices of whole prompts, of about SLICE tokens each, or of one prompt that has more."""
    prompts, lengths = np.unique(tokens["prompt_id"].to_numpy(), return_counts=True)
    _, starts = np.unique((lengths.cumsum() - 1) // SLICE, return_index=True)
    for start, end in pairwise([*starts.tolist(), len(prompts)]):
        yield int(prompts[start]), int(prompts[end - 1])
