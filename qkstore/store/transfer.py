"""Transfer of a finished run from one store to another: in pieces, resumable, checked, seen only when it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from qkstore.errors import RunError, StoreError
from qkstore.run import Run
from qkstore.store.arrival import (
    Coming,
    Progress,
    arrived,
    arrived_shards,
    clear,
    digest_of,
    held,
    in_all,
    place_shards,
)
from qkstore.store.store import Store


def transfer(source: Store, name: str, target: Store, progress: Progress | None = None) -> Path:
    """Copy the run called `name` from one store into another; returns its file there.

    Interrupted, it goes on at the first piece that did not arrive when called again. A run of the same content that is
    there already is left as it is. Raises RunError where the run is not in `source` or another of its name is in
    `target`, StoreError where it is damaged, does not fit, or does not arrive as it was sent; RoleError where the user
    may not add runs to `target`.
    """
    run = source.run(name)
    target.check_may_add()
    final = target.path / "runs" / run.path.name
    if not target.bucket and final.exists():
        return _same(run, final, source, target)
    if run.shards and not target.bucket:
        run.shards.check()
    there = _sent(run, source, target, progress) if target.bucket else _copied(run, source, final, target, progress)
    target.announce(name)
    return there


@contextmanager
def shards_of(run: Run, store: Store) -> Iterator[list[Path]]:
    """The shards of a run on this machine, whole: where they lie, or fetched for as long as it is needed.

    Raises StoreError where one is not there, or is another's.
    """
    paths = run.shards.paths if run.shards else []
    if run.shards:
        run.shards.check()
    if not store.bucket or all(path.is_file() for path in paths):
        yield paths
        return
    with held(run.path, run.name):
        coming = [store.bucket.coming(run.name, number) for number in range(len(paths))]
        folder = arrived_shards(run.path, coming, in_all([one.bytes for one in coming], None))
        yield [folder / path.name for path in paths]
        shutil.rmtree(folder)


def _sent(run: Run, source: Store, target: Store, progress: Progress | None) -> Path:
    with shards_of(run, source) as shards:
        target.bucket.send(run.path, progress, shards)
    return target.bucket.file(run.name)


def _copied(run: Run, source: Store, final: Path, target: Store, progress: Progress | None) -> Path:
    try:
        with ExitStack() as opened, held(final, run.name):
            coming = [_shard(run, number, source, opened) for number in range(len(run.shards or ()))]
            coming.append(_file(run.path, opened))
            *tell, tell_last = in_all([one.bytes for one in coming], progress)
            if not run.shards:
                return arrived(final, coming[-1], tell_last)
            folder = arrived_shards(final, coming[:-1], tell)
            return arrived(final, coming[-1], tell_last, before=lambda: place_shards(folder, final))
    except OSError as error:
        raise StoreError(f"run {run.name!r} cannot be copied to {target.where}: {error.strerror or error}") from None


def _shard(run: Run, number: int, source: Store, opened: ExitStack) -> Coming:
    path = run.shards.paths[number]
    return source.bucket.coming(run.name, number) if source.bucket and not path.exists() else _file(path, opened)


def _file(path: Path, opened: ExitStack) -> Coming:
    file, digest = opened.enter_context(path.open("rb")), digest_of(path)

    def read(start: int, end: int) -> bytes:
        file.seek(start)
        return file.read(end - start)

    return Coming(read, path.stat().st_size, digest, digest[:12])


def _same(run: Run, final: Path, source: Store, target: Store) -> Path:
    """The run that is there already, if it is the same."""
    with suppress(RunError), held(final, run.name):  # where nobody is about to bring it
        clear(final)
    there = target.run(run.name)
    if there.identity != run.identity:
        raise RunError(
            f"run {run.name!r} is in {target.where} already, and is another one (made {there.created}, "
            f"this one {run.created}); rename one of the two, "
            f"such as this one by `qkstore rename --store {source.path} --run {run.name} --to NAME`"
        )
    target.announce(run.name)
    return final
