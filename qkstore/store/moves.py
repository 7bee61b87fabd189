"""Renaming and removing a run: its files and what the catalogue says of it change together, or not at all.

A file changes its name in two steps, with the catalogue between them: killed in the midst, the run has both names, and
the same call goes on. A file is removed within the catalogue's transaction: killed in the midst, the run is gone, and
the same call clears what the catalogue kept of it. Shards get a new name before their run does, and go behind it.
Whoever has a run open reads on until they let it go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qkstore.errors import RunError, StoreError
from qkstore.files import move, sync
from qkstore.run import shard
from qkstore.run.incoming import spool
from qkstore.run.schema import SHARDS, check_run_name
from qkstore.store.arrival import held

if TYPE_CHECKING:
    from qkstore.store.store import Store


def rename(store: Store, old: str, new: str) -> None:
    """See Store.rename."""
    store.catalog.person.must("admin", "rename a run")
    check_run_name(new)
    names = store.names()
    if old not in names:
        raise store.missing(old)
    _check_free(store, old, new, names)
    with _alone(store, f"run {old!r} was not renamed", old, new):
        _name_too(store, old, new)
        try:
            store.catalog.runs.rename(old, new)
        except StoreError:
            _drop(store, new)
            raise
        _drop(store, old)


def remove(store: Store, name: str) -> None:
    """See Store.remove."""
    store.catalog.person.must("admin", "delete a run")
    there = name in store.names() or left(store, name)
    if not there and not store.catalog.runs.kept(name):
        raise store.missing(name)
    with _alone(store, f"run {name!r} was not deleted", name):
        store.catalog.runs.remove(name, lambda: _drop(store, name) if there else None)


def left(store: Store, name: str) -> bool:
    """Whether shards of a run are there, of which the file was removed by a call that was killed."""
    if store.bucket:
        return bool(store.bucket.objects.listed(f"{name}{SHARDS}/"))
    return shard.folder(_path(store, name)).exists() and not spool.folder(store.path, name).exists()


def _check_free(store: Store, old: str, new: str, names: list[str]) -> None:
    """Raise RunError where the name is another's, or will be."""
    if alike := [name for name in names if name.lower() == new.lower() and name != new] or [old] * (old == new):
        differ = "which some disks do not tell apart" if alike[0] != new else "so there is nothing to rename"
        raise RunError(f"run {new!r} and run {alike[0]!r} differ in capitals at most, {differ}; choose another name")
    if spool.folder(store.path, new).exists():
        raise RunError(f"an unfinished ingest will be run {new!r}; choose another name, or finish or discard it first")
    if new in names and not _same(store, old, new):
        raise RunError(f"a run {new!r} is in the store already; choose another name")


def _same(store: Store, old: str, new: str) -> bool:
    """Whether both names are of one run, which a killed renaming leaves."""
    if store.bucket:
        return store.bucket.same(old, new)
    return os.path.samefile(_path(store, old), _path(store, new))


def _name_too(store: Store, old: str, new: str) -> None:
    """Give a run a second name."""
    if store.bucket:
        store.bucket.copy(old, new)
    elif not _path(store, new).exists():
        _link_shards(shard.folder(_path(store, old)), shard.folder(_path(store, new)))
        os.link(_path(store, old), _path(store, new))  # unlike a rename, a link replaces no run that has come there
        sync(_path(store, new).parent)


def _link_shards(old: Path, new: Path) -> None:
    """Give shards a second folder, whole or not at all."""
    if old.exists():
        part = new.with_name(f".{new.name}")
        for left in (part, new):  # by a call that was killed, or of a run that is gone
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(old, part, copy_function=os.link)
        move(part, new)


def _drop(store: Store, name: str) -> None:
    """Take a name away, and its shards behind it; with the last one goes the run."""
    if store.bucket:
        store.bucket.remove(name)
    else:
        _path(store, name).unlink(missing_ok=True)
        sync(_path(store, name).parent)
        shutil.rmtree(shard.folder(_path(store, name)), ignore_errors=True)


def _path(store: Store, name: str) -> Path:
    return store.path / "runs" / f"{name}.duckdb"


@contextmanager
def _alone(store: Store, failed: str, *names: str) -> Iterator[None]:
    """While nobody brings a run of these names; a disk that refuses is told in one line."""
    try:
        with ExitStack() as locks:
            for name in sorted(names):
                locks.enter_context(held(_path(store, name), name))
            yield
    except OSError as error:
        raise StoreError(f"{failed}: {error.strerror or error}") from None
