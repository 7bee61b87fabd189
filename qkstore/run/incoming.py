"""An unfinished run: batches are spooled as they come, then sorted into a run file that is published by one link."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from qkstore.errors import ModelError, PromptError, RunError, StoreError
from qkstore.files import sync, whole
from qkstore.run import content, schema, spool, vectors

Progress = Callable[[int, int], None]  # called with (layers done, layers in all)
INSERT_ROWS = 20_000  # vectors per INSERT: 10 MB of d_head 128
LAYER = (
    "INSERT INTO layer BY NAME SELECT $layer AS layer, $scaling AS scaling, $softcap AS softcap, "
    "$window AS window, $causal AS causal"
)


class _Tables(NamedTuple):
    """The rows of a run file's tables of the same names."""

    prompt: pl.DataFrame
    token: pl.DataFrame
    query_row: pl.DataFrame
    key_row: pl.DataFrame

    @property
    def labels(self) -> tuple[dict[str, str], dict[str, str]]:
        """{label: DuckDB type} of tokens and of prompts."""
        return schema.label_types(self.token, schema.TOKEN), schema.label_types(self.prompt, schema.PROMPT)


class Incoming:
    """One ingest in progress, under STORE/runs/.incoming/<run>/, held by one process at a time.

    `plan` is everything that decides the vectors (weights, prompts, options), `layers` the model's numbers of the
    stored ones. A second Incoming with the same plan goes on where the first stopped; with another plan it raises
    RunError, in a place that cannot be written StoreError. Context manager: leaving it releases the lock and keeps what
    was spooled, so that the ingest can resume.
    """

    def __init__(self, store: str | os.PathLike, run: str, plan: dict, layers: Sequence[int] | None = None):
        self.run, self.plan, self.layers = schema.check_run_name(run), plan, layers
        self.target = Path(store) / "runs" / f"{run}.duckdb"
        self.folder = spool.folder(store, run)
        self._lock: IO[str] | None = None
        try:
            self._refuse_existing()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._hold()
            self._refuse_existing()  # it may have been published while we were on our way here
            spool.sweep(self.folder)
            self._agree()
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise StoreError(f"run {self.run!r} cannot be begun in {self.folder}: {error.strerror}") from None
            raise

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock:
            self._lock.close()

    def _refuse_existing(self) -> None:
        if self.target.exists():
            raise RunError(
                f"run {self.run!r} is in the store already; choose another --run, or delete {self.target} first"
            )

    def _hold(self) -> IO[str]:
        """The lock, held until the ingest ends; the kernel frees it on a crash."""
        lock = open(self.folder / "lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise RunError(f"run {self.run!r} is being ingested by another process") from None
        return lock

    def _agree(self) -> None:
        path, plan = self.folder / spool.PLAN, json.dumps(self.plan, sort_keys=True)
        if before := spool.begun(self.folder):
            changed = sorted(k for k in before.keys() | self.plan.keys() if before.get(k) != json.loads(plan).get(k))
            if changed:
                what = ", ".join(f"{k} {_short(before.get(k))} → {_short(self.plan.get(k))}" for k in changed)
                raise RunError(
                    f"an unfinished ingest of {self.run!r} was begun differently ({what}); "
                    f"repeat it as begun, or delete {self.folder}"
                )
        else:
            with whole(path) as part:
                part.write_text(plan)

    # -- batches -------------------------------------------------------------------------------------------------

    def done(self) -> set[int]:
        """Numbers of the batches that are spooled whole."""
        return set(spool.batches(self.folder))

    def put(
        self,
        batch: int,
        query_rows: np.ndarray,
        key_rows: np.ndarray,
        q: np.ndarray,
        k: np.ndarray,
        logsumexp: np.ndarray,
        answers: np.ndarray | None = None,
    ) -> None:
        """Spool one batch, atomically.

        q: (layers, heads, n, d), k: (layers, kv_heads, m, d), logsumexp: (layers, heads, n). answers: a row a prompt.
        A batch of the same number is replaced. Raises ModelError for NaN or Inf, StoreError where the disk is full.
        """
        arrays = dict(zip(spool.PARTS, (query_rows, key_rows, q, k, logsumexp), strict=True))
        for name in ("q", "k", "logsumexp"):
            self._check_finite(batch, name, arrays[name])
        try:
            spool.put(self.folder, batch, arrays, answers)
        except OSError as error:
            raise StoreError(
                f"batch {batch} of run {self.run!r} was not written: {error.strerror}; the batches before it are kept"
            ) from None

    def answers(self) -> np.ndarray | None:
        """The answers of all spooled batches; None where none were put."""
        return spool.answers(self.folder)

    def _check_finite(self, batch: int, name: str, array: np.ndarray) -> None:
        bad = ~np.isfinite(array)
        if bad.any():
            layer, head = map(int, np.argwhere(bad)[0][:2])
            raise ModelError(
                f"run {self.run!r}, batch {batch}: {int(bad.sum())} values of {name} are NaN or Inf, "
                f"the first in layer {self.layers[layer] if self.layers else layer}, head {head}; "
                "nothing of this batch was written (try --dtype float32)"
            )

    def publish(
        self,
        manifest: dict,
        layers: list[dict],
        prompts: pl.DataFrame,
        tokens: pl.DataFrame,
        query_rows: pl.DataFrame,
        key_rows: pl.DataFrame,
        progress: Progress | None = None,
        memory: str = "4GB",
        weights: dict[str, np.ndarray] | None = None,
        measures: dict[str, float] | None = None,
    ) -> Path:
        """Sort the spooled batches into a run file, its manifest last, and link it into the store; returns its path.

        `layers` follow the spool's first axis: dicts of layer, scaling, softcap, window, causal. `weights` are matrices
        that are kept with the vectors, `measures` numbers that were taken while the model was still loaded.
        """
        part, tables = self.folder / "run.duckdb", _Tables(prompts, tokens, query_rows, key_rows)
        manifest = {"store_dtype": "float32"} | manifest
        for left in self.folder.glob("run.duckdb*"):
            left.unlink()
        try:
            with duckdb.connect(
                str(part), config={"threads": "1", "memory_limit": memory, "temp_directory": str(self.folder / "tmp")}
            ) as con:
                con.execute(schema.NO_FLOAT_CODECS)
                self._labels(con, manifest, tables)
                self._vectors(con, manifest, layers, progress)
                _extras(con, weights or {}, measures or {})
                self._manifest(con, manifest, tables)
                con.execute("CHECKPOINT")  # closing would write the rest too, but says nothing where the disk is full
            part.chmod(0o444)  # a run never changes; whoever means to must say so to the system first
            sync(part)
            os.link(part, self.target)  # unlike a rename, a link never replaces a run that came in between
            sync(self.target.parent)
        except FileExistsError:
            raise RunError(
                f"run {self.run!r} came into the store meanwhile; the batches of this one are kept in {self.folder}"
            ) from None
        except (*schema.NOT_WRITTEN, OSError) as error:
            for left in self.folder.glob("run.duckdb*"):
                left.unlink()
            raise StoreError(
                f"run {self.run!r} was not published: {str(error).splitlines()[0]}; its batches are kept"
            ) from None
        shutil.rmtree(self.folder, ignore_errors=True)  # the run is there, whatever becomes of its spool
        return self.target

    # -- the run file --------------------------------------------------------------------------------------------

    def _labels(self, con: duckdb.DuckDBPyConnection, manifest: dict, tables: _Tables) -> None:
        token_labels, prompt_labels = tables.labels
        # SQL takes Box and box for one
        both = sorted({n.lower() for n in token_labels} & {n.lower() for n in prompt_labels})
        if both:
            raise PromptError(f"label {both[0]!r} stands on tokens and on prompts; rename one of the two")
        for statement in schema.run_tables(manifest["d_head"], token_labels, prompt_labels, manifest["store_dtype"]):
            con.execute(statement)
        for table, frame in tables._asdict().items():
            con.register("frame", frame.to_arrow())
            con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM frame")
            con.unregister("frame")
        for statement in schema.side_tables(list(token_labels), list(prompt_labels)):
            con.execute(statement)
        for side, frame in (("q", tables.query_row), ("k", tables.key_row)):
            [(n,)] = con.execute(f"SELECT count(*) FROM {side}").fetchall()
            assert n == len(frame), f"{side} has {n} rows of {len(frame)}: a stored row has no token or no prompt"

    def _vectors(
        self, con: duckdb.DuckDBPyConnection, manifest: dict, layers: list[dict], progress: Progress | None
    ) -> None:
        spooled = spool.Spool(list(spool.batches(self.folder).values()))
        insert = partial(_insert, con, manifest["store_dtype"])
        for i, layer in enumerate(layers):
            con.execute("BEGIN")  # one transaction a layer: commits that span layers leave dead space in the file
            con.execute(LAYER, layer)
            number = {"layer": layer["layer"]}
            for head in range(manifest["n_heads"]):
                insert("query_vector", number | {"head": head}, *spooled.head("q", "query_rows", i, head))
                _insert_stat(con, layer["layer"], head, *spooled.head("logsumexp", "query_rows", i, head))
            for head in range(manifest["n_kv_heads"]):
                insert("key_vector", number | {"kv_head": head}, *spooled.head("k", "key_rows", i, head))
            con.execute("COMMIT")
            if progress:
                progress(i + 1, len(layers))

    def _manifest(self, con: duckdb.DuckDBPyConnection, manifest: dict, tables: _Tables) -> None:
        token_labels, prompt_labels = tables.labels
        facts = manifest | {
            "schema_version": schema.VERSIONS[manifest["store_dtype"]],
            "run": self.run,
            "plan": json.dumps(self.plan, sort_keys=True),
            "created": datetime.now(UTC).replace(tzinfo=None),
            "n_prompts": len(tables.prompt),
            "n_tokens": len(tables.token),
            "n_queries": len(tables.query_row),
            "n_keys": len(tables.key_row),
            "token_labels": list(token_labels),
            "prompt_labels": list(prompt_labels),
            "content": json.dumps(content.digests(con)),
        }
        unknown = facts.keys() - schema.MANIFEST.keys()
        assert not unknown, f"the manifest has no column for {unknown}"
        con.execute(f"CREATE TABLE run ({schema.columns(schema.MANIFEST)})")
        names = list(facts)
        con.execute(
            f"INSERT INTO run ({', '.join(names)}) VALUES ({', '.join('?' for _ in names)})", [facts[n] for n in names]
        )


def _insert(
    con: duckdb.DuckDBPyConnection, dtype: str, table: str, at: dict[str, int], rows: np.ndarray, v: np.ndarray
) -> None:
    names = ", ".join(f"{number:d} AS {column}" for column, number in at.items())
    for start in range(0, len(rows), INSERT_ROWS):
        part = slice(start, start + INSERT_ROWS)
        con.register("chunk", pa.table({"row": pa.array(rows[part]), **vectors.columns(v[part], dtype)}))
        con.execute(f"INSERT INTO {table} BY NAME SELECT {names}, * FROM chunk")
        con.unregister("chunk")


def _insert_stat(
    con: duckdb.DuckDBPyConnection, layer: int, head: int, rows: np.ndarray, logsumexp: np.ndarray
) -> None:
    con.register("chunk", pa.table({"row": pa.array(rows), "logsumexp": pa.array(logsumexp)}))
    con.execute(f"INSERT INTO row_stat BY NAME SELECT {layer:d} AS layer, {head:d} AS head, * FROM chunk")
    con.unregister("chunk")


def _extras(con: duckdb.DuckDBPyConnection, weights: dict[str, np.ndarray], measures: dict[str, float]) -> None:
    for name, matrix in weights.items():
        con.execute(
            "INSERT INTO weight VALUES (?, ?, ?)",
            [name, list(matrix.shape), matrix.astype(np.float32).ravel().tolist()],
        )
    for name, value in measures.items():
        con.execute("INSERT INTO measure VALUES (?, ?)", [name, float(value)])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:10] + "…"
