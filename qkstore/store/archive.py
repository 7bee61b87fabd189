"""Keeping a store: check its files, pack it into one archive, unpack it again."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import duckdb

from qkstore.errors import StoreError
from qkstore.files import whole
from qkstore.run import Run
from qkstore.run.schema import RUN_NAME
from qkstore.store.catalog import Catalog
from qkstore.store.store import Store

CATALOG = "catalog.duckdb"


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
            if wrong or not run.content:  # what is as it was published was whole and finite then
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
    for left in sorted((store.path / "runs" / ".incoming").glob("*")):
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
    # counts of columns too, so that every block is read and its checksum compared
    counts = {
        table: run.cursor().execute(f"SELECT count(*), count(COLUMNS(*)) FROM {table}").fetchone()[0]
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
    ill = []
    for table, head, heads, rows, value, what in (
        ("query_vector", "head", run.n_heads, run.n_queries, "list_sum(v::FLOAT[])", "vectors"),
        ("key_vector", "kv_head", run.n_kv_heads, run.n_keys, "list_sum(v::FLOAT[])", "vectors"),
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
    try:
        with whole(out) as part, tempfile.TemporaryDirectory() as folder, tarfile.open(part, "w") as tar:
            if store.catalog.copy(Path(folder) / CATALOG):
                tar.add(Path(folder) / CATALOG, CATALOG)
            for run in runs:
                tar.add(run.path, f"runs/{run.path.name}")
    except OSError as error:
        raise StoreError(f"backup {out} was not written: {error.strerror}") from None
    return out


def restore(where: str | Path, archive: str | Path) -> Path:
    """Unpack a backup into a store directory that does not exist yet or is empty; returns the directory.

    All of it appears at once, or nothing. Raises StoreError where the directory holds something, and where the archive
    is cut short, is of another kind, or holds a run that cannot be opened.
    """
    where, archive = Path(where), Path(archive)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise StoreError(f"{where} exists and is not empty; restore into a new directory")
    if not archive.is_file():
        raise StoreError(f"no backup {archive}")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with whole(where) as part:
            (part / "runs").mkdir(parents=True)
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    _unpack(tar, member, part)
                _check_end(tar)
            for path in (part / "runs").iterdir():
                Run(path).close()
            Catalog(part / CATALOG).version()
            part.chmod(0o755)
    except (OSError, tarfile.TarError) as error:
        raise StoreError(f"backup {archive} cannot be restored: {error}") from None
    return where


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise tarfile.ReadError unless two empty blocks end the tar.

    Cut between two members, it would otherwise read like a whole one.
    """
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(2 * tarfile.BLOCKSIZE) != tarfile.NUL * 2 * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is cut short")


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one member, the catalogue or a run, into the folder.

    Raises StoreError for any other: its name is matched against those that a backup may hold, never followed.
    """
    name = member.name.removeprefix("runs/")
    run = (
        member.name == f"runs/{name}" and name.endswith(".duckdb") and RUN_NAME.fullmatch(name.removesuffix(".duckdb"))
    )
    if not member.isreg() or not (member.name == CATALOG or run):
        raise StoreError(f"{member.name!r} does not belong in a backup; nothing was restored")
    with tar.extractfile(member) as source, open(folder / ("runs" if run else "") / name, "wb") as target:
        shutil.copyfileobj(source, target)
        if run:
            os.fchmod(target.fileno(), 0o444)
