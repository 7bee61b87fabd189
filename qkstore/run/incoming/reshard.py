"""Resharding: a run copied into so many shards, or back into one file, with the same vectors to the bit.

Prompts that follow each other come into one shard, so that what is asked of a few prompts needs few shards. Results
that were kept of the run hold for the copy, whose identity is the run's.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from qkstore.errors import RunError, StoreError
from qkstore.files import move, sync
from qkstore.run import content, schema, shard
from qkstore.run.incoming import labels, space, spool
from qkstore.run.incoming.publication import MOST_MEMORY
from qkstore.run.run import Run
from qkstore.run.sides import MADE_SINCE
from qkstore.sql import memory, trust

HEADS = {"query_vector": "head", "key_vector": "kv_head", "row_stat": "head"}
SIDES = {"query_vector": "query", "key_vector": "key", "row_stat": "query"}
Progress = Callable[[int, int], None]  # called with (heads written, heads in all)


def reshard(run: Run, into: int, name: str, progress: Progress | None = None) -> Path:
    """Copy a run, under another name in the same folder, into so many shards; 1: into one file. Returns its file.

    Raises RunError for a name that is taken or cannot be a file's, another number of shards than it has prompts for,
    and a run that an older qkstore made; StoreError where it is damaged, or the disk is full. Killed, it leaves a
    folder that the next call begins anew.
    """
    target = run.path.with_name(f"{schema.check_run_name(name)}.duckdb")
    _check(run, into, target)
    folder = spool.folder(run.path.parent.parent, name)
    try:
        with _alone(folder, name):
            space.check(folder, name, *[_size(run)] * 2)
            Resharding(run, into, folder, progress or (lambda done, total: None)).write(target)
            shutil.rmtree(folder, ignore_errors=True)
    except (*schema.NOT_WRITTEN, OSError) as error:
        raise StoreError(f"run {name!r} was not made: {str(error).splitlines()[0]}") from None
    return target


def _check(run: Run, into: int, target: Path) -> None:
    if target.exists() or shard.folder(target).exists():
        raise RunError(f"there is a run {target.stem!r} already; choose another name")
    if not 1 <= into <= min(run.n_prompts, shard.MOST):
        raise RunError(f"{into} shards: run {run.name!r} has {run.n_prompts:,} prompts; possible is 1 to that")
    if run.schema_version < MADE_SINCE and into > 1:
        raise RunError(f"run {run.name!r} was made by an older qkstore, without the columns of tokens; ingest it anew")


def _size(run: Run) -> int:
    """The bytes of all its files."""
    files = [run.path, *(shard.folder(run.path).glob("*.duckdb") if run.shards else ())]
    return sum(file.stat().st_size for file in files)


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """An empty folder for one process; raises RunError where another is at it, or an ingest is."""
    if (folder / spool.PLAN).exists():
        raise RunError(f"an unfinished ingest will be run {name!r}; choose another name, or finish or discard it first")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"run {name!r} is being made by another process") from None
        for left in folder.iterdir():
            if left.name != "lock":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


class Resharding:
    """One copy in the making: `write` makes the files in `folder`, and moves them where the run will lie."""

    def __init__(self, run: Run, into: int, folder: Path, progress: Progress):
        self.run, self.into, self.folder, self._progress = run, into, folder, progress
        self.layers, self.prompts = list(run.layers), _split(run, into)
        self._done = 0
        self._sources = [run.shards.file(i).path for i in range(run.n_shards)] if run.shards else [run.path]

    def write(self, target: Path) -> None:
        """All files, and then the run, in one link."""
        part, shards = self.folder / "run.duckdb", self.folder / "shards"
        if self.into > 1:
            shards.mkdir()
            found = [self._shard(number, shards / shard.name(number)) for number in range(self.into)]
            self._run(part, found)
            move(shards, shard.folder(target))
        else:
            with self._file(part) as con:
                digests = self._vectors(con, np.arange(self.run.n_prompts))
            self._run(part, [], digests)
        os.link(part, target)
        sync(target.parent)

    # -- vectors -----------------------------------------------------------------------------------------------------

    def _shard(self, number: int, path: Path) -> shard.Shard:
        own = self.prompts[number]
        with self._file(path) as con:
            digests = self._vectors(con, own)
            n_queries, n_keys = (len(self._rows(side, own)) for side in ("query", "key"))
            made = shard.Shard(number, own, n_queries, n_keys, 0, digests)
            row = list(shard.row_of_self(made, shard.made(self.run.plan), self.into).values())
            con.execute(f"CREATE TABLE shard ({schema.columns(schema.SHARD_SELF)})")
            con.execute(f"INSERT INTO shard VALUES ({', '.join('?' for _ in row)})", row)
            con.execute("CHECKPOINT")
        path.chmod(0o444)
        sync(path)
        return made._replace(bytes=path.stat().st_size)

    @contextmanager
    def _file(self, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """A file in the making, beside which the files of the run are attached as s0, s1, …, and its own as old."""
        limit = min(memory.limit() * 2, MOST_MEMORY)
        with duckdb.connect(str(path), config={"threads": "1", "memory_limit": f"{limit}B"}) as con:
            trust.quiet(con)
            con.execute(schema.NO_FLOAT_CODECS)
            con.execute(f"SET temp_directory = {trust.text(str(self.folder / 'tmp'))}")
            for i, source in enumerate(self._sources):
                con.execute(f"ATTACH {trust.text(str(source))} AS s{i} (READ_ONLY)")
            if self.run.path not in self._sources:
                con.execute(f"ATTACH {trust.text(str(self.run.path))} AS old (READ_ONLY)")
            yield con

    def _rows(self, side: str, prompts: np.ndarray) -> np.ndarray:
        of = (self.run.query_places if side == "query" else self.run.key_places)[0]
        return np.flatnonzero(np.isin(of, prompts)).astype(np.int32)

    def _vectors(self, con: duckdb.DuckDBPyConnection, prompts: np.ndarray) -> dict[str, str]:
        """The vectors of these prompts, head by head, each layer in a transaction; returns their digests."""
        for table, spec in schema.vector_tables(self.run.d_head, self.run.store_dtype).items():
            con.execute(f"CREATE TABLE {table} ({schema.columns(spec)})")
            rows = pa.table({"row": self._rows(SIDES[table], prompts)})
            con.register("own", rows)
            every = " UNION ALL ".join(
                f"SELECT * FROM s{i}.{table} WHERE layer = $layer AND {HEADS[table]} = $head"
                for i in range(len(self._sources))
            )
            sql = f"INSERT INTO {table} SELECT v.* FROM ({every}) AS v SEMI JOIN own USING (row) ORDER BY v.row"
            for layer in self.layers:
                con.execute("BEGIN")
                for head in range(self._heads(table)):
                    [(n,)] = con.execute(sql, {"layer": layer, "head": head}).fetchall()
                    if n != len(rows):
                        what = f"layer {layer} {HEADS[table]} {head}"
                        raise StoreError(f"run {self.run.name!r}: {what} has {n} rows of {len(rows)}; run `check`")
                    self._done += 1
                    self._progress(self._done, self._total)
                con.execute("COMMIT")
            con.unregister("own")
        con.execute("CHECKPOINT")
        return content.layers(con.cursor(), self.layers)

    def _heads(self, table: str) -> int:
        return self.run.n_kv_heads if table == "key_vector" else self.run.n_heads

    @property
    def _total(self) -> int:
        return self.into * len(self.layers) * sum(map(self._heads, HEADS))

    # -- the run file ------------------------------------------------------------------------------------------------

    def _run(self, path: Path, shards: Sequence[shard.Shard], digests: dict[str, str] | None = None) -> None:
        """The labels and the manifest, with what it says of its shards where it has some."""
        with self._file(path) as con:
            old = "old" if self.run.path not in self._sources else "s0"
            for table in (t for t in self.run.types if t not in ("run", "shard", *HEADS)):
                con.execute(f"CREATE TABLE {table} AS SELECT * FROM {old}.{table}")
            if shards:
                for table, spec in schema.vector_tables(self.run.d_head, self.run.store_dtype).items():
                    con.execute(f"CREATE TABLE {table} ({schema.columns(spec)})")
                labels.shard_rows(con, shards)
                digests = shard.together([one.content for one in shards])
            self._manifest(con, {"labels": content.labels(con), **(digests or {})})
        path.chmod(0o444)
        sync(path)

    def _manifest(self, con: duckdb.DuckDBPyConnection, digests: dict[str, str]) -> None:
        version = schema.NEWEST_VERSION if self.into > 1 else min(self.run.schema_version, schema.RUN_VERSION)
        facts = asdict(self.run.manifest) | {
            "schema_version": version,
            "content": json.dumps(digests),
            "origin": self.run.origin or self.run.content,
        }
        con.execute(f"CREATE TABLE run ({schema.columns(schema.MANIFEST)})")
        places = ", ".join("?" for _ in facts)
        con.execute(f"INSERT INTO run ({', '.join(facts)}) VALUES ({places})", list(facts.values()))
        con.execute("CHECKPOINT")


def _split(run: Run, into: int) -> list[np.ndarray]:
    """Prompts that follow each other, in so many parts of about as many vectors, none of them empty."""
    sizes = np.ones(run.n_prompts)
    for (prompts, _), heads in ((run.query_places, run.n_heads), (run.key_places, run.n_kv_heads)):
        sizes += heads * np.bincount(prompts, minlength=run.n_prompts)
    ends = np.searchsorted(sizes.cumsum(), sizes.sum() * np.arange(1, into) / into)
    ends = np.clip(ends, np.arange(1, into), run.n_prompts - into + np.arange(1, into))
    return [part.astype(np.int32) for part in np.split(np.arange(run.n_prompts), np.maximum.accumulate(ends))]
