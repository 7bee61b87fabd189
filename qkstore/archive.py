"""Keeping a store: check its files, pack it into one archive, unpack it again."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import duckdb

from qkstore.errors import StoreError
from qkstore.run import Run
from qkstore.schema import RUN_NAME
from qkstore.store import Store

CATALOG = "catalog.duckdb"


def check(store: Store) -> tuple[list[str], list[str]]:
    """(what is well, what is not), a line each: every run file read whole, its rows counted, its vectors finite."""
    runs, errors = store.scan()
    well, ill = [], [str(e) for e in errors]
    for run in runs:
        found = _check_run(run)
        ill += found
        if not found:
            well.append(f"run {run.name!r}: {run.n_queries:,} queries, {run.n_keys:,} keys, {len(run.layers)} layers")
    try:
        well.append(f"catalogue: {len(store.catalog.contrasts())} contrasts")
    except StoreError as error:
        ill.append(str(error))
    for left in sorted((store.path / "runs" / ".incoming").glob("*")):
        well.append(f"unfinished ingest {left.name!r}: repeat its command to finish it")
    return well, ill


def _check_run(run: Run) -> list[str]:
    ill = []
    for table, head, heads, rows in (("query_vector", "head", run.n_heads, run.n_queries), ("key_vector", "kv_head", run.n_kv_heads, run.n_keys)):
        sql = (
            f"SELECT layer, {head}, count(*), count(DISTINCT row), coalesce(sum((NOT isfinite(list_sum(v::FLOAT[])))::INTEGER), 0) "
            f"FROM {table} GROUP BY ALL ORDER BY ALL"
        )
        try:
            found = {r[:2]: r[2:] for r in run.cursor().execute(sql).fetchall()}
        except duckdb.Error as error:
            ill.append(f"run {run.name!r}: {table} cannot be read: {str(error).splitlines()[0]}")
            continue
        for layer in run.layers:
            for h in range(heads):
                n, distinct, bad = found.get((layer, h), (0, 0, 0))
                if n != rows or distinct != rows:
                    ill.append(f"run {run.name!r}: layer {layer} {head} {h} has {n} vectors for {distinct} of {rows} rows")
                if bad:
                    ill.append(f"run {run.name!r}: layer {layer} {head} {h} has {bad} vectors with NaN or Inf")
    return ill


def backup(store: Store, out: str | Path) -> Path:
    """Pack the runs and a consistent copy of the catalogue into one tar file, which appears only when it is whole."""
    out = Path(out)
    if out.exists():
        raise StoreError(f"{out} exists already; a backup does not overwrite")
    part = out.with_name(out.name + ".part")
    try:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(part, "w") as tar:
            if store.catalog.copy(Path(folder) / CATALOG):
                tar.add(Path(folder) / CATALOG, CATALOG)
            for run in store.runs():
                tar.add(run.path, f"runs/{run.path.name}")
        os.rename(part, out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"backup {out} was not written: {error.strerror}") from None
    return out


def restore(where: str | Path, archive: str | Path) -> Path:
    """Unpack a backup into a store directory that does not exist yet; all of it appears at once, or nothing."""
    where, archive = Path(where), Path(archive)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise StoreError(f"{where} exists and is not empty; restore into a new directory")
    if not archive.is_file():
        raise StoreError(f"no backup {archive}")
    where.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=where.name + ".", dir=where.parent))
    try:
        (part / "runs").mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:
                _unpack(tar, member, part)
        for path in (part / "runs").iterdir():
            Run(path).close()
        if where.exists():
            where.rmdir()
        part.chmod(0o755)
        os.rename(part, where)
    except (OSError, tarfile.TarError) as error:
        raise StoreError(f"backup {archive} cannot be restored: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return where


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One member, if it is what a backup holds; names are matched, never joined."""
    name = member.name.removeprefix("runs/")
    run = member.name == f"runs/{name}" and name.endswith(".duckdb") and RUN_NAME.fullmatch(name.removesuffix(".duckdb"))
    if not member.isreg() or not (member.name == CATALOG or run):
        raise StoreError(f"{member.name!r} does not belong in a backup; nothing was restored")
    with tar.extractfile(member) as source, open(folder / ("runs" if run else "") / name, "wb") as target:
        shutil.copyfileobj(source, target)
