"""A run that several ranks make at once: each publishes its shard, and who comes last makes the run file of them.

Ranks share nothing but the folder of the unfinished run: no rank waits for another, one that is lost is started again
and goes on in its own shard, and the run is there when the last shard is.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from qkstore.errors import RunError, StoreError
from qkstore.files import move, sync
from qkstore.run import schema, shard
from qkstore.run.incoming import labels, spool
from qkstore.run.incoming.incoming import Incoming
from qkstore.run.incoming.labels import Tables
from qkstore.run.incoming.publication import MOST_MEMORY, Progress, Publication
from qkstore.sql import trust

PLACE = "shards"  # where the shards that are whole lie until all are


class Share(NamedTuple):
    """Which of an ingest's ranks this is: `number`, from 0, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


class IncomingShard(Incoming):
    """A rank's part of an ingest in progress, which several processes, on several machines, hold at once.

    As Incoming is, with a lock and a spool for each shard; `plan` is one for all of them.
    """

    def __init__(
        self, store: str | os.PathLike, run: str, plan: dict, layers: Sequence[int] | None, share: Share
    ) -> None:
        self.share = share
        super().__init__(store, run, plan | {"shards": share.of}, layers)

    def _folder(self) -> Path:
        return self.whole / f"{spool.SHARD}{self.share.number:04d}"

    def _agree(self) -> None:
        """Raise RunError unless all ranks have one plan, that of the first of them."""
        part = self.folder / f".part-{spool.PLAN}"
        part.write_text(json.dumps(self.plan, sort_keys=True))
        try:
            os.link(part, self.whole / spool.PLAN)
        except FileExistsError:
            self._compare(spool.begun(self.whole))
        finally:
            part.unlink()

    @property
    def shards(self) -> Path:
        """Where the shards lie that are whole."""
        return self.whole / PLACE

    @property
    def complete(self) -> bool:
        """Whether all shards are whole."""
        return all(self._finished(number) for number in range(self.share.of))

    def _finished(self, number: int) -> bool:
        return any((folder / shard.name(number)).exists() for folder in (self.shards, shard.folder(self.target)))

    # -- one shard ---------------------------------------------------------------------------------------------------

    def publish_shard(
        self, layers: list[dict], store_dtype: str, progress: Progress | None = None, memory: int = MOST_MEMORY
    ) -> None:
        """Sort the spooled batches into this rank's shard, if it is not there yet."""
        if self._finished(self.share.number):
            return
        self.shards.mkdir(exist_ok=True)
        final = self.shards / shard.name(self.share.number)
        with self._written(final.name) as part:
            with ShardPublication(part, self._spool, layers, store_dtype, memory) as made:
                made.tables()
                made.vectors(progress)
                made.finish(self.share, self._made)
            part.chmod(0o444)
            sync(part)
            os.link(part, final)
            sync(self.shards)
            part.unlink()

    @property
    def _made(self) -> str:
        return shard.made(json.dumps(self.plan, sort_keys=True))

    @contextmanager
    def _written(self, name: str) -> Iterator[Path]:
        """The path of a file in the making; a disk that refuses is told in one line."""
        try:
            yield self.folder / name
        except (*schema.NOT_WRITTEN, OSError) as error:
            said = str(error).splitlines()[0]
            raise StoreError(
                f"{self.share} of run {self.run!r} was not published: {said}; what is whole is kept"
            ) from None

    # -- the run -----------------------------------------------------------------------------------------------------

    def answers(self) -> np.ndarray | None:
        """The answers of all shards; None where none were put."""
        folders = sorted(self.whole.glob(f"{spool.SHARD}*"))
        found = [answers for folder in folders if (answers := spool.Spool(folder).answers()) is not None]
        return np.concatenate(found) if found else None

    def assemble(
        self,
        manifest: dict,
        layers: list[dict],
        tables: Callable[[np.ndarray | None], Tables],
        prompts: Sequence[np.ndarray],
        measures: Mapping[str, float] | None = None,
    ) -> Path:
        """Make the run file of shards that are all whole, and publish the run; returns its path.

        tables: makes the labels of the answers of all shards. prompts: of each shard. Another rank may do the same: the
        second finds the run there.
        """
        with self._alone():
            if not self.target.exists():
                with self._written(f".part-{self.run}.duckdb") as part:
                    part.unlink(missing_ok=True)
                    self._write(part, manifest, layers, tables(self.answers()), prompts, measures or {})
                    part.chmod(0o444)
                    sync(part)
                    self._place_shards()
                    os.link(part, self.target)
                    sync(self.target.parent)
                shutil.rmtree(self.whole, ignore_errors=True)
        return self.target

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other rank assembles the run; whoever waits here meanwhile finds it made."""
        self.whole.mkdir(exist_ok=True)
        with open(self.whole / "assembly.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(
        self,
        part: Path,
        manifest: dict,
        layers: list[dict],
        tables: Tables,
        prompts: Sequence[np.ndarray],
        measures: Mapping[str, float],
    ) -> None:
        found = [self._looked_at(number, prompts[number]) for number in range(self.share.of)]
        facts = {"store_dtype": "float32"} | manifest | self._facts() | {"schema_version": schema.NEWEST_VERSION}
        with duckdb.connect(str(part)) as con:
            trust.quiet(con)
            con.execute(schema.NO_FLOAT_CODECS)
            labels.write(con, tables, layers, facts["d_head"], facts["store_dtype"])
            labels.shard_rows(con, found)
            labels.manifest(con, facts, tables, shard.together([one.content for one in found]), {}, measures)

    def _looked_at(self, number: int, prompts: np.ndarray) -> shard.Shard:
        """What a shard says of itself. Raises RunError where it was made by another plan."""
        path = next(
            path
            for folder in (self.shards, shard.folder(self.target))
            if (path := folder / shard.name(number)).exists()
        )
        with trust.attached(path) as con:
            names = "made, n_queries, n_keys, content"
            made, n_queries, n_keys, digests = con.execute(f"SELECT {names} FROM {trust.ALIAS}.shard").fetchall()[0]
        if made != self._made:
            raise RunError(
                f"shard {number} of run {self.run!r} was made differently from shard {self.share.number}; "
                f"delete {path} and ingest it anew"
            )
        return shard.Shard(number, prompts, n_queries, n_keys, path.stat().st_size, json.loads(digests))

    def _place_shards(self) -> None:
        """Move the shards to where the run will lie; one that was killed behind this finds them there."""
        place = shard.folder(self.target)
        if not self.shards.exists():
            return
        if place.exists():
            raise RunError(f"run {self.run!r} cannot be published: there is a folder {place.name}; delete it first")
        move(self.shards, place)
        sync(place.parent)


class ShardPublication(Publication):
    """Context manager over the unfinished file of a shard: `tables`, `vectors`, `finish`, each done once."""

    def tables(self) -> None:
        """The empty tables of vectors."""
        if not self._there():
            for table, spec in schema.vector_tables(self.spool.shape.d_head, self.store_dtype).items():
                self.con.execute(f"CREATE TABLE {table} ({schema.columns(spec)})")

    def finish(self, share: Share, made: str) -> None:
        """The row that says which shard it is, and that it is whole."""
        if "shard" in self._there():
            return
        n_queries, n_keys = (len(self.spool.ids[side]) for side in ("query", "key"))
        one = shard.Shard(share.number, np.array([]), n_queries, n_keys, 0, self.digests.told(self.con))
        row = list(shard.row_of_self(one, made, share.of).values())
        self.con.execute("BEGIN")
        self.con.execute(f"CREATE TABLE shard ({schema.columns(schema.SHARD_SELF)})")
        self.con.execute(f"INSERT INTO shard VALUES ({', '.join('?' for _ in row)})", row)
        self.con.execute("COMMIT")
        self.con.execute("CHECKPOINT")
