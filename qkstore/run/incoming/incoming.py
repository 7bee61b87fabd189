"""An unfinished run: batches are spooled as they come, then sorted into a run file that is published by one link."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from qkstore.errors import ModelError, RunError, StoreError
from qkstore.files import sync, whole
from qkstore.run import schema
from qkstore.run.incoming import spool
from qkstore.run.incoming.publication import MOST_MEMORY, Progress, Publication, Tables, clear


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
        self.whole = spool.folder(store, run)  # of all ranks
        self.folder = self._folder()
        self._lock: IO[str] | None = None
        try:
            self._refuse_existing()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._hold()
            self._refuse_existing()  # it may have been published while we were on our way here
            spool.sweep(self.folder)
            self._agree()
            self._spool = spool.Spool(self.folder)
            self._spool.cut()
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise StoreError(f"run {self.run!r} cannot be begun in {self.folder}: {error.strerror}") from None
            raise

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()

    def _folder(self) -> Path:
        return self.whole

    def _release(self) -> None:
        if self._lock:
            self._lock.close()

    def _refuse_existing(self) -> None:
        if self.target.exists():
            raise RunError(
                f"run {self.run!r} is in the store already; choose another --run, or first "
                f"`qkstore remove --store {self.target.parent.parent} --run {self.run}`, which says what would be lost"
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
        if before := spool.begun(self.folder):
            self._compare(before)
        else:
            with whole(self.folder / spool.PLAN) as part:
                part.write_text(json.dumps(self.plan, sort_keys=True))

    def _compare(self, before: dict) -> None:
        """Raise RunError unless it was begun with this plan."""
        now = json.loads(json.dumps(self.plan))
        if changed := sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k)):
            what = ", ".join(f"{k} {_short(before.get(k))} → {_short(now.get(k))}" for k in changed)
            raise RunError(
                f"an unfinished ingest of {self.run!r} was begun differently ({what}); "
                f"repeat it as begun, or first "
                f"`qkstore remove --store {self.target.parent.parent} --run {self.run} --unfinished`"
            )

    # -- batches -------------------------------------------------------------------------------------------------

    def done(self) -> set[int]:
        """Numbers of the batches that are spooled whole."""
        return {batch.batch for batch in self._spool.batches}

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
        arrays = {"q": q, "k": k, "logsumexp": logsumexp}
        for name, array in arrays.items():
            self._check_finite(batch, name, array)
        try:
            rows = {"query": np.asarray(query_rows, np.int32), "key": np.asarray(key_rows, np.int32)}
            self._spool.put(batch, rows, arrays, answers)
        except OSError as error:
            self._spool.cut()
            raise StoreError(
                f"batch {batch} of run {self.run!r} was not written: {error.strerror}; the batches before it are kept"
            ) from None

    def answers(self) -> np.ndarray | None:
        """The answers of all spooled batches; None where none were put."""
        return self._spool.answers()

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
        memory: int = MOST_MEMORY,
        weights: dict[str, np.ndarray] | None = None,
        measures: dict[str, float] | None = None,
    ) -> Path:
        """Sort the spooled batches into a run file, its manifest last, and link it into the store; returns its path.

        `layers` follow the spool's first axis: dicts of layer, scaling, softcap, window, causal. `weights` are matrices
        that are kept with the vectors, `measures` numbers that were taken while the model was still loaded.
        """
        part, tables = self.folder / "run.duckdb", Tables(prompts, tokens, query_rows, key_rows)
        manifest = {"store_dtype": "float32"} | manifest | self._facts()
        try:
            with Publication(part, self._spool, layers, manifest["store_dtype"], memory) as made:
                made.labels(tables)
                made.vectors(progress)
                made.manifest(manifest, tables, weights or {}, measures or {})
            part.chmod(0o444)  # a run never changes; whoever means to must say so to the system first
            sync(part)
            os.link(part, self.target)  # unlike a rename, a link never replaces a run that came in between
            sync(self.target.parent)
        except FileExistsError:
            raise RunError(
                f"run {self.run!r} came into the store meanwhile; what was made of this one is kept in {self.folder}"
            ) from None
        except (*schema.NOT_WRITTEN, OSError) as error:
            clear(part, self._spool)
            raise StoreError(
                f"run {self.run!r} was not published: {str(error).splitlines()[0]}; its batches are kept"
            ) from None
        shutil.rmtree(self.folder, ignore_errors=True)  # the run is there, whatever becomes of its spool
        return self.target

    def _facts(self) -> dict:
        return {
            "run": self.run,
            "plan": json.dumps(self.plan, sort_keys=True),
            "created": datetime.now(UTC).replace(tzinfo=None),
        }


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:10] + "…"
