"""One run: the manifest, labels and vectors of one ingest, read from its immutable file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.errors import RunError, StoreError, near
from qkstore.run import schema

READ_ROWS = 8192  # rows an Arrow batch; a large batch reserves its memory at once


@dataclass(frozen=True)
class Layer:
    """How one stored layer turns q·k into a logit, and which keys its queries see."""

    layer: int
    scaling: float
    softcap: float | None
    window: int | None
    causal: bool

    def visible(self, query_pos: np.ndarray, key_pos: np.ndarray) -> np.ndarray:
        """Whether a query at a position attends over a key at another position of the same prompt."""
        seen = np.ones(np.broadcast(query_pos, key_pos).shape, bool)
        if self.causal:
            seen &= key_pos <= query_pos
        if self.window is not None:
            seen &= np.abs(query_pos - key_pos) < self.window
        return seen


class Run:
    """A run file, opened read-only; any number of processes may hold it open at once.

    Facts of the manifest are attributes (`run.model`, `run.d_head`, …). Raises StoreError where the file is damaged,
    unfinished or of a newer version.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.name = self.path.name.removesuffix(".duckdb")
        if not self.path.is_file():
            raise RunError(f"no run file {self.path}")
        try:
            self._connection = duckdb.connect(str(self.path), read_only=True)
            # One thread reads a head fastest. Set after connecting: with a config, a notebook could not open the file
            # beside us.
            self._connection.execute("SET threads = 1")
            self._check_plain()
            self.manifest = self._row("SELECT * FROM run")
            self._check_version()
        except duckdb.Error as error:
            self.close()  # a file that takes this one's place would otherwise be read through this connection
            raise StoreError(
                f"run file {self.path.name} is damaged or unfinished: {str(error).splitlines()[0]}"
            ) from None
        except StoreError:
            self.close()
            raise

    def _check_plain(self) -> None:
        """Raise StoreError unless the file holds tables alone, as a run does.

        A view or macro in a file from elsewhere would run its own SQL when we read the table it poses as.
        """
        sql = (
            "SELECT view_name FROM duckdb_views() WHERE NOT internal UNION ALL "
            "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
        )
        found = self._connection.execute(sql).fetchone()
        if found:
            raise StoreError(
                f"run file {self.path.name} holds a view or macro, {found[0]!r}; "
                "a run is tables alone, so it is not opened"
            )

    def _check_version(self) -> None:
        version = self.manifest.get("schema_version")
        if not isinstance(version, int):
            raise StoreError(f"run file {self.path.name} was not made by qkstore: its manifest has no version")
        if version > schema.RUN_VERSION:
            raise StoreError(
                f"run file {self.path.name} is of version {version}, "
                f"this qkstore reads up to {schema.RUN_VERSION}: upgrade qkstore"
            )

    def __getattr__(self, name: str):
        manifest = self.__dict__.get("manifest", {})
        if name in manifest:
            return manifest[name]
        raise AttributeError(name)

    def __repr__(self) -> str:
        return (
            f"Run({self.name!r}, model={self.model!r}, prompts={self.n_prompts}, "
            f"layers={len(self.layers)}, d_head={self.d_head})"
        )

    @property
    def identity(self) -> tuple:
        """What a result of this run depends on: how its vectors were made and when, wherever its file lies."""
        return self.manifest["run"], self.manifest["plan"], str(self.manifest["created"])

    def close(self) -> None:
        if "_connection" in self.__dict__:
            self._connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own: one DuckDB connection shared by threads gives wrong rows without an error."""
        return self._connection.cursor()

    def _row(self, sql: str) -> dict:
        cursor = self.cursor().execute(sql)
        row = cursor.fetchone()
        if row is None:
            raise duckdb.Error("the manifest is empty")
        return dict(zip([d[0] for d in cursor.description], row, strict=True))

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

    def values(self, column: str, side: str = "k", most: int = 1000) -> list:
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

    def labels(self, side: str, columns: list[str], rows: np.ndarray) -> pa.Table:
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
