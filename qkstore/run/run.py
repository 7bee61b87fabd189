"""One run: the manifest, labels and vectors of one ingest, read from its immutable file."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.errors import RunError, StoreError, near
from qkstore.run import content, file, vectors
from qkstore.run.layer import Layer
from qkstore.run.reader import HEAD, Reader
from qkstore.run.schema import quoted
from qkstore.run.shards import Elsewhere, Shards

T = TypeVar("T")
Side = Literal["q", "k"]
LONGEST_ID = 18  # digits of a number of 64 bits
FEW = 64  # values of a label that are kept, of so many labels


class Run:
    """A run file, opened read-only; any number of processes may hold it open at once.

    What its manifest says are attributes too (`run.model`, `run.d_head`, …). Raises RunError where there is no such
    file, StoreError where it is damaged, unfinished or of a newer version. found: what `file.opened` gave of it.
    elsewhere: gives a shard that does not lie beside the file. reader: reads the vectors of several heads at once.
    """

    schema_version: int
    run: str
    model: str
    revision: str | None
    weights_hash: str
    architecture: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    dtype: str
    task: str
    prompt_template: str | None
    chat_template: str | None
    bos: str | None
    positions: str | None
    query_roles: list[str] | None
    seed: int | None
    code_version: str | None
    libraries: str | None
    plan: str
    created: datetime
    n_prompts: int
    n_tokens: int
    n_queries: int
    n_keys: int
    token_labels: list[str]
    prompt_labels: list[str]
    content: str | None
    quantisation: str | None
    store_dtype: str
    origin: str | None

    def __init__(self, path: str | Path, found: file.Opened | None = None, elsewhere: Elsewhere | None = None):
        self.path = Path(path)
        self.name = self.path.name.removesuffix(".duckdb")
        self._file, self.manifest, self.types, layers, shards = found or file.opened(self.path)
        self.shards = Shards(self.path, self.manifest, shards, self._prompts_of, elsewhere) if shards else None
        self.reader = Reader(self.name, self._file, self.manifest, self.shards)
        self.layers = {layer.layer: layer for layer in layers}  # those that were stored, by number
        self._values: dict[tuple[str, Side, int], tuple] = {}
        vars(self).update(vars(self.manifest))

    def __repr__(self) -> str:
        return (
            f"Run({self.name!r}, model={self.model!r}, prompts={self.n_prompts}, "
            f"layers={len(self.layers)}, d_head={self.d_head})"
        )

    @property
    def identity(self) -> tuple:
        """What a result of this run depends on: how and when it was made and what it holds, wherever its file lies."""
        return self.run, self.plan, str(self.created), *([self.origin or self.content] if self.content else [])

    @property
    def digest(self) -> str:
        """A short hash of `identity`, to name the exact run that a result was made of."""
        return content.short(self.identity)

    def close(self) -> None:
        """Let its files go; whatever is asked of this Run later fails."""
        self._file.close()
        if self.shards:
            self.shards.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own: one DuckDB connection shared by threads gives wrong rows without an error."""
        return self._file.cursor()

    def table(self, sql: str, parameters: list | None = None) -> pa.Table:
        """The library's own SQL (never a user's) as an Arrow table, whose texts are UTF-8."""

        def ask(cursor: duckdb.DuckDBPyConnection) -> pa.Table:
            found = cursor.execute(sql, parameters or []).to_arrow_table()
            found.validate(full=True)  # DuckDB gives the bytes that a file has for a text, whatever they are
            return found

        return self._asked(ask)

    def _rows(self, sql: str, parameters: list | None = None) -> list[tuple]:
        return self._asked(lambda cursor: cursor.execute(sql, parameters or []).fetchall())

    def _asked(self, ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        return file.read(self._file, ask)

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """{table: its columns}, of everything a user may query; vectors in shards are out of SQL's reach."""
        return {name: list(own) for name, own in self.types.items() if not (self.shards and name in HEAD)}

    @cached_property
    def splits(self) -> list[str]:
        return [row[0] for row in self._rows("SELECT DISTINCT split FROM prompt ORDER BY split DESC")]

    def values(self, column: str, side: Side = "k", most: int = 1000) -> list:
        """The distinct values of a label column of side q or k, sorted; empty where there is no such column."""
        if column not in self.columns[side]:
            return []
        if (column, side, most) in self._values:
            return list(self._values[column, side, most])
        name = quoted(column)
        sql = f"SELECT DISTINCT {name} FROM {side} WHERE {name} IS NOT NULL ORDER BY 1 LIMIT {most:d}"
        found = [row[0] for row in self._rows(sql)]
        if len(found) + len(self._values) < FEW:
            self._values[column, side, most] = tuple(found)
        return found

    def kv_head(self, head: int) -> int:
        """The KV head whose keys query head `head` reads (grouped queries)."""
        return head // (self.n_heads // self.n_kv_heads)

    def layer(self, layer: int, head: int | None = None) -> Layer:
        """The Layer; raises RunError when the run has no such layer or head."""
        if layer not in self.layers:
            raise RunError(f"run {self.name!r} has no layer {layer}; {near(str(layer), map(str, self.layers))}")
        if head is not None and not 0 <= head < self.n_heads:
            raise RunError(f"run {self.name!r} has no head {head}; its heads are 0 to {self.n_heads - 1}")
        return self.layers[layer]

    # -- vectors -------------------------------------------------------------------------------------------------

    def queries(self, layer: int, head: int, rows: np.ndarray | None = None) -> np.ndarray:
        """q (n, d_head) float32 of one head, as its softmax saw them, for `rows` (all query rows by default)."""
        self.layer(layer, head)
        return self.reader.queries(layer, range(head, head + 1), rows)[0]

    def keys(self, layer: int, head: int, rows: np.ndarray | None = None) -> np.ndarray:
        """k (m, d_head) float32 that query head `head` reads, for `rows` (all key rows by default)."""
        self.layer(layer, head)
        return self.reader.keys(layer, range(head, head + 1), rows)[0]

    def logsumexp(self, layer: int, head: int, rows: np.ndarray) -> np.ndarray:
        """Log-sum-exp (n,) float64 of the logits of query rows over every key they saw, stored or not."""
        self.layer(layer, head)
        return self.reader.logsumexp(layer, range(head, head + 1), rows)[0]

    @property
    def n_shards(self) -> int:
        """In how many files the vectors lie; 1 where the run file itself has them."""
        return len(self.shards) if self.shards else 1

    def shard_of(self, side: Literal["query", "key"], rows: np.ndarray) -> np.ndarray:
        """(n,) the shard in which each of these rows lies; 0 for each where there are none."""
        return self.shards.of(side, rows) if self.shards else np.zeros(len(rows), np.int32)

    def _prompts_of(self, side: str) -> np.ndarray:
        return (self.query_places if side == "query" else self.key_places)[0]

    # -- what else was kept --------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> dict:
        """Everything that decided the vectors, as the ingest wrote it down."""
        return json.loads(self.plan)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """{name: matrix} float32 of the weights kept with the vectors; empty for most runs."""
        return {
            row["name"]: vectors.matrix(row["v"], row["shape"], f"run {self.name!r}: weight {row['name']!r:.60}")
            for row in self._extra("weight")
        }

    @cached_property
    def measures(self) -> dict[str, float]:
        """{name: value} of what was measured where the model still was, such as the accuracy of a toy head."""
        found = {row["name"]: row["value"] for row in self._extra("measure")}
        if empty := [name for name, value in found.items() if None in (name, value)]:
            raise StoreError(f"run {self.name!r}: measure {empty[0]!r:.60} has no value")
        return found

    def changed(self) -> list[str]:
        """What is no longer as it was published ('labels', 'layer 3'); every value is read for it.

        A run made before digests were kept has none to compare with, and gives none.
        """
        published = json.loads(self.content or "{}")
        if not published:
            return []
        if self.shards:
            labels = self._asked(content.labels)
            return (["labels"] if labels != published.get("labels") else []) + self.shards.changed()
        found = self._asked(content.digests)
        return [name for name in published.keys() | found.keys() if published.get(name) != found.get(name)]

    def _extra(self, table: str) -> list[dict]:
        return (
            self.table(f"SELECT * FROM {table}").to_pylist() if table in self.columns else []
        )  # a run made before there were such tables lacks them

    # -- places --------------------------------------------------------------------------------------------------

    @cached_property
    def query_places(self) -> tuple[np.ndarray, np.ndarray]:
        """prompt_id (n,) and pos (n,) of every query row."""
        return self._places("query_row")

    @cached_property
    def key_places(self) -> tuple[np.ndarray, np.ndarray]:
        """prompt_id (m,) and pos (m,) of every key row."""
        return self._places("key_row")

    def _places(self, rows: str) -> tuple[np.ndarray, np.ndarray]:
        table = self._by_row(rows, rows, "prompt_id, pos")
        return table["prompt_id"].to_numpy(), table["pos"].to_numpy()

    def _by_row(self, table: str, row: str, names: str) -> pa.Table:
        """Columns of a table in the order of its row numbers; raises StoreError unless each number stands once."""
        found = self.table(f"SELECT {row}, {names} FROM {table}")  # most files have them in order
        if not _counts(found) and not _counts(found := found.take(np.argsort(found.column(0).to_numpy()))):
            raise StoreError(f"run {self.name!r}: {table} has a {row} twice and another not; its file is damaged")
        return found.select(range(1, found.num_columns))

    def attended(self, layer: Layer, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        """Whether each query row has an attention on its key row: same prompt, and visible in that layer."""
        (q_prompt, q_pos), (k_prompt, k_pos) = self.query_places, self.key_places
        return (q_prompt[query] == k_prompt[key]) & layer.visible(q_pos[query], k_pos[key])

    def labels(self, side: Side, columns: list[str], rows: np.ndarray) -> pa.Table:
        """Columns of q or k for given rows, in their order; raises RunError for a column that is not there."""
        for column in columns:
            if column not in self.columns[side]:
                raise RunError(
                    f"run {self.name!r} has no label {column!r} on its {'queries' if side == 'q' else 'keys'}; "
                    f"{near(column, self.columns[side])}"
                )
        names = ", ".join(map(quoted, columns))
        row = "query_row" if side == "q" else "key_row"
        return self._by_row(side, row, names).take(pa.array(rows))

    def tokens(self, prompt_id: int) -> list[dict]:
        """Every token of one prompt in order: pos, text, role and labels.

        Raises RunError when there is no such prompt.
        """
        if not 0 <= prompt_id < self.n_prompts:
            raise RunError(f"run {self.name!r} has no prompt {prompt_id}; its prompts are 0 to {self.n_prompts - 1}")
        return self.table("SELECT * FROM token WHERE prompt_id = ? ORDER BY pos", [prompt_id]).to_pylist()

    def prompt(self, prompt_id: int) -> dict:
        """One prompt's row: text, split, variant, answer and labels; raises RunError when there is no such prompt."""
        if not 0 <= prompt_id < self.n_prompts:
            raise RunError(f"run {self.name!r} has no prompt {prompt_id}; its prompts are 0 to {self.n_prompts - 1}")
        rows = self.table("SELECT * FROM prompt WHERE prompt_id = ?", [prompt_id]).to_pylist()
        if len(rows) != 1:
            raise StoreError(f"run {self.name!r}: prompt {prompt_id} stands {len(rows)} times in it; it is damaged")
        return rows[0]

    def prompt_id(self, name: str | int) -> int:
        """The prompt_id of a prompt's own id, or of a prompt_id given as text; raises RunError."""
        text = str(name)
        readable = text.encode(errors="replace").decode() == text  # no half of a character, which no prompt has
        rows = self._rows("SELECT prompt_id FROM prompt WHERE id = ?", [text]) if readable else []
        if rows:
            return rows[0][0]
        if not text.isdecimal() or len(text) > LONGEST_ID:
            there = f"give its id, or a prompt_id from 0 to {self.n_prompts - 1}"
            raise RunError(f"run {self.name!r} has no prompt {text[:60]!r}; {there}")
        return self.prompt(int(name))["prompt_id"]


def _counts(table: pa.Table) -> bool:
    """Whether the first column of a table is 0, 1, 2, …"""
    return np.array_equal(table.column(0).to_numpy(), np.arange(len(table)))
