"""One run: the manifest, labels and vectors of one ingest, read from its immutable file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.errors import RunError, StoreError, near
from qkstore.run import content
from qkstore.run.file import opened
from qkstore.run.layer import Layer

Side = Literal["q", "k"]
READ_ROWS = 8192  # rows an Arrow batch; a large batch reserves its memory at once


class Run:
    """A run file, opened read-only; any number of processes may hold it open at once.

    What its manifest says are attributes too (`run.model`, `run.d_head`, …). Raises RunError where there is no such
    file, StoreError where it is damaged, unfinished or of a newer version.
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

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.name = self.path.name.removesuffix(".duckdb")
        self._connection, self.manifest = opened(self.path)
        vars(self).update(vars(self.manifest))

    def __repr__(self) -> str:
        return (
            f"Run({self.name!r}, model={self.model!r}, prompts={self.n_prompts}, "
            f"layers={len(self.layers)}, d_head={self.d_head})"
        )

    @property
    def identity(self) -> tuple:
        """What a result of this run depends on: how and when it was made and what it holds, wherever its file lies."""
        return self.run, self.plan, str(self.created), *([self.content] if self.content else [])

    def close(self) -> None:
        """Let the file go; whatever is asked of this Run later fails."""
        self._connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own: one DuckDB connection shared by threads gives wrong rows without an error."""
        return self._connection.cursor()

    def table(self, sql: str, parameters: list | None = None) -> pa.Table:
        """The library's own SQL (never a user's) as an Arrow table."""
        with self._reading():
            return self.cursor().execute(sql, parameters or []).to_arrow_table()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A block that went bad on disk is met only when it is read."""
        try:
            yield
        except duckdb.IOException as error:
            raise StoreError(
                f"run file {self.path.name} is damaged: {str(error).splitlines()[0]}; run `check`"
            ) from None

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """{table: its columns}, of everything a user may query."""
        rows = self.cursor().execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
        )
        out: dict[str, list[str]] = {}
        for table, column in rows.fetchall():
            out.setdefault(table, []).append(column)
        return out

    @cached_property
    def layers(self) -> dict[int, Layer]:
        """{layer number: Layer} of the layers that were stored."""
        rows = (
            self.cursor()
            .execute('SELECT layer, scaling, softcap, "window", causal FROM layer ORDER BY layer')
            .fetchall()
        )
        return {row[0]: Layer(*row) for row in rows}

    @cached_property
    def splits(self) -> list[str]:
        return [r[0] for r in self.cursor().execute("SELECT DISTINCT split FROM prompt ORDER BY split DESC").fetchall()]

    def values(self, column: str, side: Side = "k", most: int = 1000) -> list:
        """The distinct values of a label column of side q or k, sorted; empty where there is no such column."""
        if column not in self.columns[side]:
            return []
        sql = f'SELECT DISTINCT "{column}" FROM {side} WHERE "{column}" IS NOT NULL ORDER BY 1 LIMIT {most:d}'
        return [row[0] for row in self.cursor().execute(sql).fetchall()]

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
        return self._vectors("query_vector", "head", layer, head, rows, self.n_queries)

    def keys(self, layer: int, head: int, rows: np.ndarray | None = None) -> np.ndarray:
        """k (m, d_head) float32 that query head `head` reads, for `rows` (all key rows by default)."""
        self.layer(layer, head)
        return self._vectors("key_vector", "kv_head", layer, self.kv_head(head), rows, self.n_keys)

    def logsumexp(self, layer: int, head: int, rows: np.ndarray) -> np.ndarray:
        """Log-sum-exp (n,) float64 of the logits of query rows over every key they saw, stored or not."""
        self.layer(layer, head)
        table = self.table("SELECT row, logsumexp FROM row_stat WHERE layer = ? AND head = ?", [layer, head])
        out = np.full(self.n_queries, np.nan)
        out[table["row"].to_numpy()] = table["logsumexp"].to_numpy()
        if np.isnan(out[rows]).any():
            raise StoreError(
                f"run {self.name!r}: layer {layer} head {head} has query rows without a log-sum-exp; run `check`"
            )
        return out[rows]

    def _vectors(
        self, table: str, head_column: str, layer: int, head: int, rows: np.ndarray | None, total: int
    ) -> np.ndarray:
        first, last = (0, total - 1) if rows is None else (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
        sql = f"SELECT row, v FROM {table} WHERE layer = ? AND {head_column} = ? AND row BETWEEN ? AND ?"
        out = np.empty((last - first + 1, self.d_head), np.float32)
        read = 0
        with self._reading():
            for batch in self.cursor().execute(sql, [layer, head, first, last]).to_arrow_reader(READ_ROWS):
                ids, v = batch.column(0).to_numpy(), batch.column(1)
                flat = v.values.to_numpy(zero_copy_only=True)[
                    v.offset * self.d_head : (v.offset + len(v)) * self.d_head
                ]
                out[ids - first] = flat.reshape(-1, self.d_head)
                read += len(ids)
        if read != len(out):
            raise StoreError(
                f"run {self.name!r}: layer {layer} head {head} has {read} vectors where {len(out)} were expected; "
                "run `check`"
            )
        return (
            out
            if rows is None or (len(rows) == len(out) and (rows == np.arange(first, last + 1)).all())
            else out[rows - first]
        )

    # -- what else was kept --------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> dict:
        """Everything that decided the vectors, as the ingest wrote it down."""
        return json.loads(self.plan)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """{name: matrix} float32 of the weights kept with the vectors; empty for most runs."""
        return {row["name"]: np.array(row["v"], np.float32).reshape(row["shape"]) for row in self._extra("weight")}

    @cached_property
    def measures(self) -> dict[str, float]:
        """{name: value} of what was measured where the model still was, such as the accuracy of a toy head."""
        return {row["name"]: row["value"] for row in self._extra("measure")}

    def changed(self) -> list[str]:
        """What is no longer as it was published ('labels', 'layer 3'); every value is read for it.

        A run made before digests were kept has none to compare with, and gives none.
        """
        published = json.loads(self.content or "{}")
        with self._reading():
            found = content.digests(self._connection) if published else {}
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
        table = self.table(f"SELECT prompt_id, pos FROM {rows} ORDER BY {rows}")
        return table["prompt_id"].to_numpy(), table["pos"].to_numpy()

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
        names = ", ".join(f'"{c}"' for c in columns)
        row = "query_row" if side == "q" else "key_row"
        return self.table(f"SELECT {names} FROM {side} ORDER BY {row}").take(pa.array(rows))

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
        return self.table("SELECT * FROM prompt WHERE prompt_id = ?", [prompt_id]).to_pylist()[0]

    def prompt_id(self, name: str | int) -> int:
        """The prompt_id of a prompt's own id, or of a prompt_id given as text; raises RunError."""
        rows = self.cursor().execute("SELECT prompt_id FROM prompt WHERE id = ?", [str(name)]).fetchall()
        if rows:
            return rows[0][0]
        if not str(name).isdecimal():
            raise RunError(
                f"run {self.name!r} has no prompt {str(name)!r}; "
                f"give its id, or a prompt_id from 0 to {self.n_prompts - 1}"
            )
        return self.prompt(int(name))["prompt_id"]
