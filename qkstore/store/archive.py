"""Keeping a store: check its files, pack it into one archive, unpack it again."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import duckdb

from qkstore.errors import StoreError
from qkstore.files import inside, whole
from qkstore.run import Run
from qkstore.run.file import first_line
from qkstore.run.schema import RUN_NAME, SHARDS
from qkstore.sql import trust
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.migrations import MIGRATION, MIGRATIONS
from qkstore.store.catalog.postgres import Postgres
from qkstore.store.store import Store
from qkstore.store.store import open as open_store
from qkstore.store.team import SUFFIX
from qkstore.store.transfer import shards_of, transfer

CATALOG = "catalog.duckdb"
MOST_MEMBERS = 10_000  # of an archive: the catalogue and so many runs and shards
FILE = re.compile(rf"runs/([^/]+?)(?:\.duckdb|{re.escape(SHARDS)}/[0-9]{{4,}}\.duckdb)")
MOST_READ = 1 << 20


def check(store: Store) -> tuple[list[str], list[str]]:
    """Read every run file whole, and return (lines on what is well, lines on what is not).

    Checked are the numbers of rows against the manifest, that each stored layer and head has every row once, that all
    values are finite, and that labels and vectors have the digests they were published with. Unfinished ingests are
    named among what is well.
    """
    runs, errors = store.scan()
    well, ill = [], [str(e) for e in errors]
    for run in runs:
        try:
            wrong = _check_counts(run) + _check_content(run)
            if not run.shards and (wrong or not run.content):  # what is as it was published was whole and finite then
                wrong += _check_vectors(run)
        except StoreError as error:
            wrong = [str(error)]
        except duckdb.Error as error:
            wrong = [f"run {run.name!r} cannot be read: {str(error).splitlines()[0]}"]
        ill += wrong
        if not wrong:
            well.append(f"run {run.name!r}: {run.n_queries:,} queries, {run.n_keys:,} keys, {len(run.layers)} layers")
    try:
        well.append(f"catalogue: {len(store.catalog.contrasts())} contrasts")
    except StoreError as error:
        ill.append(str(error))
    for left in inside(store.path / "runs" / ".incoming"):
        published = (store.path / "runs" / f"{left.name}.duckdb").exists()
        well.append(
            f"unfinished ingest {left.name!r}: "
            + ("its run is there, delete the folder" if published else "repeat its command to finish it")
        )
    return well, ill


def _check_counts(run: Run) -> list[str]:
    """One line for each table of labels that has other numbers of rows than the manifest says."""
    expected = {
        "prompt": run.n_prompts,
        "token": run.n_tokens,
        "query_row": run.n_queries,
        "key_row": run.n_keys,
        "q": run.n_queries,
        "k": run.n_keys,
    }
    # hashes too, so that every block is read and its checksum compared: a count of a column reads none
    counts = {
        table: run.cursor().execute(f"SELECT count(*), max(hash(COLUMNS(*))) FROM {table}").fetchone()[0]
        for table in expected
    }
    return [
        f"run {run.name!r}: {table} has {counts[table]} rows of {n}"
        for table, n in expected.items()
        if counts[table] != n
    ]


def _check_content(run: Run) -> list[str]:
    """One line if something is not what was published."""
    changed = sorted(run.changed())
    return [f"run {run.name!r} was changed after it was published: {', '.join(changed)}"] if changed else []


def _check_vectors(run: Run) -> list[str]:
    """One line for each stored layer and head that lacks rows, repeats some, or holds NaN or Inf."""
    ill, whole = [], "list_sum(v::FLOAT[])" + (" * scale" if run.store_dtype == "int16" else "")
    for table, head, heads, rows, value, what in (
        ("query_vector", "head", run.n_heads, run.n_queries, whole, "vectors"),
        ("key_vector", "kv_head", run.n_kv_heads, run.n_keys, whole, "vectors"),
        ("row_stat", "head", run.n_heads, run.n_queries, "logsumexp", "log-sum-exps"),
    ):
        sql = (
            f"SELECT layer, {head}, count(*), count(DISTINCT row) FILTER (row BETWEEN 0 AND {rows - 1:d}), "
            f"count(*) FILTER (NOT coalesce(isfinite({value}), false)) "
            f"FROM {table} GROUP BY ALL ORDER BY ALL"
        )
        groups = {r[:2]: r[2:] for r in run.cursor().execute(sql).fetchall()}
        for layer in run.layers:
            for h in range(heads):
                n, distinct, bad = groups.get((layer, h), (0, 0, 0))
                if n != rows or distinct != rows:
                    ill.append(
                        f"run {run.name!r}: layer {layer} {head} {h} has {n} {what} for {distinct} of {rows} rows"
                    )
                if bad:
                    ill.append(f"run {run.name!r}: layer {layer} {head} {h} has {bad} {what} with NaN or Inf")
    return ill


def backup(store: Store, out: str | Path) -> Path:
    """Pack the runs and a consistent copy of the catalogue into one tar file, which appears only when it is whole.

    Raises StoreError where the file is there already, where it cannot be written, and where a run is damaged, so that
    no backup silently lacks one.
    """
    out = Path(out)
    if out.exists():
        raise StoreError(f"{out} exists already; a backup does not overwrite")
    runs, errors = store.scan()
    if errors:
        raise StoreError(
            f"backup {out} was not written: {errors[0]}; a backup holds whole runs, move this file away first"
        )
    _check_names(out, [run.name for run in runs], sum(run.n_shards for run in runs if run.shards))
    try:
        with whole(out) as part, tempfile.TemporaryDirectory() as folder, tarfile.open(part, "w") as tar:
            if store.catalog.copy(Path(folder) / CATALOG):
                tar.add(Path(folder) / CATALOG, CATALOG)
            for run in runs:
                with shards_of(run, store) as shards:
                    for path in shards:
                        tar.add(path, f"runs/{run.name}{SHARDS}/{path.name}")
                tar.add(run.path, f"runs/{run.path.name}")
    except OSError as error:
        raise StoreError(f"backup {out} was not written: {error.strerror}") from None
    return out


def _check_names(out: Path, names: list[str], n_shards: int) -> None:
    """Raise StoreError where `restore` would not take these runs, of so many shards, together."""
    for first, second in pairwise(sorted(names, key=str.lower)):
        if first.lower() == second.lower():
            raise StoreError(
                f"backup {out} was not written: runs {first!r} and {second!r} differ in capitals alone, "
                "which some disks do not tell apart; rename one of the two by `qkstore rename`"
            )
    if (n := len(names) + n_shards) >= MOST_MEMBERS:
        raise StoreError(f"backup {out} was not written: {n:,} files; a backup holds fewer than {MOST_MEMBERS:,}")


def restore(where: str | Path, archive: str | Path) -> Path:
    """Unpack a backup into a store directory that does not exist yet or is empty; returns the directory.

    Of a team's file, into the places that it names, whose catalogue must be empty; interrupted, the same call goes on.
    Into a directory all of it appears at once, or nothing. Raises StoreError where there is something already, and
    where the archive is cut short, is of another kind, holds more than MOST_MEMBERS files or more bytes than the disk
    has free, or holds a run or a catalogue that cannot be opened.
    """
    where, archive = Path(where), Path(archive)
    if where.suffix == SUFFIX:
        return _restore_shared(where, archive)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise StoreError(f"{where} exists and is not empty; restore into a new directory")
    if not archive.is_file():
        raise StoreError(f"no backup {archive}")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with whole(where) as part:
            (part / "runs").mkdir(parents=True)
            with open(archive, "rb") as file, tarfile.open(fileobj=_Guarded(file), mode="r:") as tar:
                for member in _members(tar, where.parent):
                    _unpack(tar, member, part)
            _check_runs(part / "runs")
            _check_catalog(part / CATALOG)
            part.chmod(0o755)
    except (OSError, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"backup {archive} cannot be restored: {error}") from None
    return where


def _restore_shared(where: Path, archive: Path) -> Path:
    """The runs first, each whole, then the catalogue in one transaction."""
    target = open_store(where, create=True)
    assert isinstance(target.catalog.database, Postgres), "a team's file names one"
    target.catalog.database.check_empty()
    with tempfile.TemporaryDirectory(prefix=".restoring-", dir=target.path) as folder:
        source = Store(restore(Path(folder) / "store", archive))
        for name in source.names():
            transfer(source, name, target)
        if (source.path / CATALOG).exists():
            target.catalog.database.load(source.path / CATALOG)
    return where


def _check_runs(folder: Path) -> None:
    """Raise an error unless all files are runs, and their shards."""
    runs = [Run(path) for path in sorted(folder.glob("*.duckdb"))]
    if stray := {path.name for path in folder.glob(f"*{SHARDS}")} - {
        f"{run.name}{SHARDS}" for run in runs if run.shards
    }:
        raise StoreError(f"{min(stray)} has no run that it belongs to; nothing was restored")
    for run in runs:
        if run.shards:
            run.shards.check()
            if stray := {*run.shards.folder.iterdir()} - {*run.shards.paths}:
                raise StoreError(f"run {run.name!r} has no shard {min(stray).name}; nothing was restored")
        run.close()


class _Guarded(io.BufferedReader):
    """A file of which no more than MOST_READ bytes are read at once.

    A tar says itself how long a name or another header is, and tarfile reads that much into memory.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)  # type: ignore[arg-type]  # a reader of a reader

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes; possible are {MOST_READ:,}")
        return super().read(size)


def _members(tar: tarfile.TarFile, place: Path) -> list[tarfile.TarInfo]:
    """The members of a whole tar, looked at before anything is written.

    Raises StoreError for a member that no backup has, for a name that stands twice, and for more than there is room
    for; tarfile.ReadError where the tar is cut short.
    """
    members: list[tarfile.TarInfo] = []
    names: set[str] = set()
    for member in tar:
        _check_member(member)
        members.append(member)
        names.add(member.name.lower())  # some disks take A and a for one
        if len(names) < len(members):
            raise StoreError(f"{member.name!r} stands twice in the backup; nothing was restored")
        if len(members) > MOST_MEMBERS:
            raise StoreError(f"the backup holds more than {MOST_MEMBERS:,} files; nothing was restored")
    assert tar.fileobj, "it was opened from a file"
    tar.fileobj.seek(tar.offset)  # two empty blocks end it: cut between two members, it would read like a whole one
    if tar.fileobj.read(2 * tarfile.BLOCKSIZE) != tarfile.NUL * 2 * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is cut short")
    needed, free = sum(member.size for member in members), shutil.disk_usage(place).free
    if needed > free:
        raise StoreError(f"the backup needs {needed:,} bytes where {free:,} are free; nothing was restored")
    return members


def _check_member(member: tarfile.TarInfo) -> None:
    """Raise StoreError unless it is the catalogue or a run, of plain bytes.

    Its name is matched against those that a backup may hold, never followed. A sparse member is larger than what the
    archive holds of it.
    """
    file = FILE.fullmatch(member.name)
    named = member.name == CATALOG or (file and RUN_NAME.fullmatch(file[1]))
    if not named or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or member.size < 0:
        raise StoreError(f"{trust.short(member.name)} does not belong in a backup; nothing was restored")


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one member, the catalogue or a run, into the folder."""
    source = tar.extractfile(member)
    assert source, "a plain file has bytes"
    (folder / member.name).parent.mkdir(exist_ok=True)
    with source, open(folder / member.name, "xb") as target:
        shutil.copyfileobj(source, target)
        if member.name != CATALOG:
            os.fchmod(target.fileno(), 0o444)


def _check_catalog(path: Path) -> None:
    """Raise StoreError where an unpacked catalogue is none; without one all is well."""
    if not path.exists():
        return
    try:
        with trust.attached(path) as connection:
            trust.check_plain(connection, f"catalogue {path.name}")
            trust.check_made_by(connection, f"catalogue {path.name}", [MIGRATION, *MIGRATIONS])
    except duckdb.Error as error:
        raise StoreError(f"catalogue {path.name} cannot be opened: {first_line(str(error))}") from None
    Catalog(path).contrasts()
