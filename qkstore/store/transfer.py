"""Transfer of a finished run from one store to another: in pieces, resumable, checked, seen only when it is whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qkstore.errors import RunError, StoreError
from qkstore.run import Run
from qkstore.store.arrival import Progress, arrived, clear, digest_of, held
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
        return _same(run, final, target)
    there = _sent(run, target, progress) if target.bucket else _copied(run, final, target, progress)
    target.announce(name)
    return there


def _sent(run: Run, target: Store, progress: Progress | None) -> Path:
    target.bucket.send(run.path, progress)
    return target.bucket.file(run.name)


def _copied(run: Run, final: Path, target: Store, progress: Progress | None) -> Path:
    try:
        with held(final, run.name), open(run.path, "rb") as file:

            def read(start: int, end: int) -> bytes:
                file.seek(start)
                return file.read(end - start)

            digest = digest_of(run.path)
            return arrived(final, read, run.path.stat().st_size, digest, progress, word=digest[:12])
    except OSError as error:
        raise StoreError(f"run {run.name!r} cannot be copied to {target.where}: {error.strerror or error}") from None


def _same(run: Run, final: Path, target: Store) -> Path:
    """The run that is there already, if it is the same."""
    with suppress(RunError), held(final, run.name):  # where nobody is about to bring it
        clear(final)
    there = target.run(run.name)
    if there.identity != run.identity:
        raise RunError(
            f"run {run.name!r} is in {target.where} already, and is another one (made {there.created}, "
            f"this one {run.created}); rename one of the two files"
        )
    target.announce(run.name)
    return final
