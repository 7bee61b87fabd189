"""The tables of a run file; docs/storage.md describes each one, and a test compares it with what stands here."""

from __future__ import annotations

import re
from typing import Literal, get_args

import duckdb
import polars as pl

from qkstore.errors import PromptError, RunError, near

# 1: float32 alone; 2: vectors may be int16; 3: q and k have the columns MADE; 4: vectors lie in shards. What is
# older is read too. A run whose vectors lie in its own file is written as 3, so that an older qkstore reads it.
RUN_VERSION, NEWEST_VERSION = 3, 4
StoreDtype = Literal["float32", "int16"]
STORE_DTYPES: tuple[StoreDtype, ...] = get_args(StoreDtype)
DUCKDB_TYPE = {  # of labels
    pl.Int64: "BIGINT",
    pl.Int32: "INTEGER",
    pl.Float64: "DOUBLE",
    pl.Float32: "FLOAT",
    pl.Boolean: "BOOLEAN",
    pl.String: "VARCHAR",
}

# The manifest: one row, written last, so that its presence says that the run is whole.
MANIFEST = {
    "schema_version": "INTEGER",
    "run": "VARCHAR",
    "model": "VARCHAR",
    "revision": "VARCHAR",
    "weights_hash": "VARCHAR",
    "architecture": "VARCHAR",
    "n_layers": "INTEGER",
    "n_heads": "INTEGER",
    "n_kv_heads": "INTEGER",
    "d_head": "INTEGER",
    "dtype": "VARCHAR",
    "task": "VARCHAR",
    "prompt_template": "VARCHAR",
    "chat_template": "VARCHAR",
    "bos": "VARCHAR",
    "positions": "VARCHAR",
    "query_roles": "VARCHAR[]",
    "seed": "BIGINT",
    "code_version": "VARCHAR",
    "libraries": "VARCHAR",
    "plan": "VARCHAR",
    "created": "TIMESTAMP",
    "n_prompts": "BIGINT",
    "n_tokens": "BIGINT",
    "n_queries": "BIGINT",
    "n_keys": "BIGINT",
    "token_labels": "VARCHAR[]",
    "prompt_labels": "VARCHAR[]",
    "content": "VARCHAR",
    "quantisation": "VARCHAR",
    "store_dtype": "VARCHAR",
    "origin": "VARCHAR",
}

# Of a run whose vectors lie in files of their own, in the folder SHARDS beside its file: a row for each of them.
SHARD = {
    "shard": "INTEGER",
    "prompts": "INTEGER[]",
    "n_queries": "BIGINT",
    "n_keys": "BIGINT",
    "bytes": "BIGINT",
    "content": "VARCHAR",
}
# The one row of a shard's own table of that name, written last: which it is of which run's.
SHARD_SELF = {
    "schema_version": "INTEGER",
    "made": "VARCHAR",
    "shard": "INTEGER",
    "n_shards": "INTEGER",
    "n_queries": "BIGINT",
    "n_keys": "BIGINT",
    "content": "VARCHAR",
}
SHARDS = ".shards"  # what ends the name of that folder, in the place of .duckdb

LAYER = {"layer": "INTEGER", "scaling": "DOUBLE", "softcap": "DOUBLE", "window": "INTEGER", "causal": "BOOLEAN"}

PROMPT = {
    "prompt_id": "INTEGER",
    "id": "VARCHAR",
    "text": "VARCHAR",
    "split": "VARCHAR",
    "variant": "VARCHAR",
    "counterfactual_id": "INTEGER",
    "answer": "VARCHAR",
}

TOKEN = {
    "prompt_id": "INTEGER",
    "pos": "INTEGER",
    "token_id": "INTEGER",
    "text": "VARCHAR",
    "char_start": "INTEGER",
    "char_end": "INTEGER",
    "role": "VARCHAR",
    "span": "INTEGER",
    "span_last": "BOOLEAN",
}

ROW = {"prompt_id": "INTEGER", "pos": "INTEGER"}

# What a label column of a data set may not be called: it would hide a column of q and k.
RESERVED = frozenset(
    {*PROMPT, *TOKEN, "query_row", "key_row", "row", "token", "layer", "head", "kv_head", "v", "sign", "weight"}
)

# The vectors are incompressible, and DuckDB's floating-point codecs cost 1.7 times the time to read them back; nor do
# they repeat themselves, which costs time to find out.
NO_FLOAT_CODECS = "SET disabled_compression_methods = 'alp,alprd,chimp,patas,rle'"

INSERT_LAYER = f"INSERT INTO layer BY NAME SELECT {', '.join(f'${name} AS {name}' for name in LAYER)}"

# A full or failing disk is any of these, by the moment at which DuckDB meets it.
NOT_WRITTEN = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException, duckdb.FatalException)

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_store_dtype(name: str) -> StoreDtype:
    """The name itself, if vectors can be stored so; raises RunError."""
    if name not in STORE_DTYPES:
        raise RunError(f"no store dtype {name!r}; {near(name, STORE_DTYPES)}")
    return name


def quoted(name: str) -> str:
    """A name as SQL reads it back, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def columns(spec: dict[str, str]) -> str:
    """Columns as a CREATE TABLE lists them."""
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in spec.items())


def check_run_name(name: str) -> str:
    """The name itself, if a file may be called so; raises RunError."""
    if not RUN_NAME.fullmatch(name):
        raise RunError(
            f"run name {name[:110]!r}: use letters, digits, '.', '_' and '-', at most 100, "
            "starting with a letter or digit"
        )
    return name


def label_types(frame: pl.DataFrame, own: dict[str, str]) -> dict[str, str]:
    """Return {label: its DuckDB type} of the columns of a frame that are not the table's `own`.

    Raises PromptError for a name or a type that cannot be a label's.
    """
    labels = {}
    for name, kind in frame.schema.items():
        if name in own:
            continue
        if name.lower() in RESERVED or not IDENTIFIER.fullmatch(name):
            raise PromptError(
                f"label {name!r} cannot be a column: "
                f"use letters, digits and '_', and none of {', '.join(sorted(RESERVED))}"
            )
        base = pl.String if kind == pl.Null else kind.base_type()
        if base not in DUCKDB_TYPE:
            raise PromptError(f"label {name!r} has type {kind}; use text, whole numbers, fractions or true and false")
        labels[name] = DUCKDB_TYPE[base]
    return labels


def vector_columns(d_head: int, store_dtype: str) -> dict[str, str]:
    """{column: DuckDB type} of a vector as it is stored: its values, or 16-bit ones times a scale of its own."""
    if store_dtype == "int16":
        return {"scale": "FLOAT", "v": f"SMALLINT[{d_head}]"}
    return {"v": f"FLOAT[{d_head}]"}


def vector_bytes(d_head: int, store_dtype: str) -> int:
    """What a stored vector takes."""
    return 2 * d_head + 4 if store_dtype == "int16" else 4 * d_head


def run_columns(
    d_head: int, token_labels: dict[str, str], prompt_labels: dict[str, str], store_dtype: str = "float32"
) -> dict[str, dict[str, str]]:
    """{table: {column: DuckDB type}} of a run file's tables but `run`, `q` and `k`; labels are {name: DuckDB type}."""
    return {
        "layer": LAYER,
        "prompt": PROMPT | prompt_labels,
        "token": TOKEN | token_labels,
        "query_row": {"query_row": "INTEGER"} | ROW,
        "key_row": {"key_row": "INTEGER"} | ROW,
        **vector_tables(d_head, store_dtype),
        "weight": {"name": "VARCHAR", "shape": "INTEGER[]", "v": "FLOAT[]"},
        "measure": {"name": "VARCHAR", "value": "DOUBLE"},
    }


def vector_tables(d_head: int, store_dtype: str) -> dict[str, dict[str, str]]:
    """{table: {column: DuckDB type}} of the vectors, of a run file or of a shard."""
    layer, row, vector = {"layer": "INTEGER"}, {"row": "INTEGER"}, vector_columns(d_head, store_dtype)
    return {
        "query_vector": layer | {"head": "INTEGER"} | row | vector,
        "key_vector": layer | {"kv_head": "INTEGER"} | row | vector,
        "row_stat": layer | {"head": "INTEGER"} | row | {"logsumexp": "DOUBLE"},
    }


def shard_tables(d_head: int, store_dtype: str) -> dict[str, dict[str, str]]:
    """{table: {column: DuckDB type}} of a shard: vectors, by the row numbers of the whole run, and its one row."""
    return vector_tables(d_head, store_dtype) | {"shard": SHARD_SELF}


def run_tables(
    d_head: int, token_labels: dict[str, str], prompt_labels: dict[str, str], store_dtype: str = "float32"
) -> list[str]:
    """The statements that make an empty run file: vectors of `d_head`, label columns {name: DuckDB type}."""
    tables = run_columns(d_head, token_labels, prompt_labels, store_dtype)
    return [f"CREATE TABLE {table} ({columns(spec)})" for table, spec in tables.items()]
