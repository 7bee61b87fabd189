"""Runs on S3-compatible storage: their files fetched whole when they are first read, their shards read by ranges.

A run file and its shards are immutable, so that a copy is good for as long as the bucket names the same content. Both
ways go in pieces, go on where they stopped, and are checked by a sha256. A run is seen only when it is whole: its
shards come first and go last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from qkstore.errors import RunError, StoreError, near
from qkstore.files import whole
from qkstore.run.schema import SHARDS
from qkstore.sql.distant import Distant, Room, hollow
from qkstore.store.arrival import Coming, Progress, arrived, digest_of, held, in_all
from qkstore.store.objects import Found, Objects

SCHEME = "s3"
ENDING = ".duckdb"
KNOWN = ".known"  # the folder beside the fetched runs that says what each one is of
MOST_BYTES = 20 << 30  # of this machine's disk


@dataclass(frozen=True)
class Bucket:
    """Runs under s3://bucket/prefix, and the folder of their copies, whose runs/ a Store reads.

    endpoint: of a server that is not Amazon's. most: bytes that the shards' parts may take on this machine. Raises
    StoreError, in one line, where the server is away, or refuses.
    """

    url: str
    cache: Path
    endpoint: str | None = None
    most: int = MOST_BYTES

    def names(self) -> list[str]:
        """The runs that are there, by name."""
        return [key.removesuffix(ENDING) for key in self.objects.listed() if key.endswith(ENDING) and "/" not in key]

    def file(self, name: str, progress: Progress | None = None) -> Path:
        """The copy of a run file on this machine, fetched where it is not there; raises RunError with near names."""
        there = self.objects.found(_key(name))
        if there is None:
            raise RunError(f"no run {name!r} in {self.url}; {near(name, self.names())}")
        path, mark = self._copy(name), _mark(there)
        if self._known(name) == mark:
            return path
        with held(path, name):
            if not path.exists() or digest_of(path) != there.sha256:
                shutil.rmtree(self._copy(name, 0).parent, ignore_errors=True)  # of another run of its name
                arrived(path, self._coming(_key(name), there, f"run {name!r}"), progress, replace=True)
            self._know(name, mark)
        return path

    def shard(self, name: str, number: int) -> Distant:
        """A shard of a run, of which only the blocks come that are read; those that came are kept on this machine.

        While the server is away, what came before is read. Raises StoreError where there is none; while it is read,
        where it cannot be fetched or has changed since.
        """
        key, what = _key(name, number), f"shard {number} of run {name!r}"
        copies = self._copy(name, number)
        try:
            there = self.objects.found(key)
        except StoreError:
            kept = list(copies.parent.glob(f".{copies.stem}-*{ENDING}"))
            if len(kept) != 1:
                raise
            [copy], etag = kept, unquote(kept[0].stem.partition("-")[2])
        else:
            if there is None:
                raise StoreError(f"{what} is not in {self.url}")
            etag, copy = there.etag, copies.with_name(f".{copies.stem}-{quote(there.etag, safe='')}{ENDING}")
            hollow(copy, there.bytes, self.objects.reader(key, etag, what))
            for older in set(copy.parent.glob(f".{copies.stem}-*{ENDING}")) - {copy}:
                older.unlink(missing_ok=True)
        read = self.objects.reader(key, etag, what)

        def bring(start: int, end: int) -> bytes:
            self._room.take(copy, end - start)
            return read(start, end)

        return Distant(copy, bring, copies.name, home=copies.parent.parent)

    def coming(self, name: str, number: int) -> Coming:
        """A shard of a run, to be fetched whole; raises StoreError where there is none."""
        key, what = _key(name, number), f"shard {number} of run {name!r}"
        if (there := self.objects.found(key)) is None:
            raise StoreError(f"{what} is not in {self.url}")
        return self._coming(key, there, what)

    def send(self, path: Path, progress: Progress | None = None, shards: Sequence[Path] = ()) -> None:
        """Put a run file there, under its name, and its shards before it, unless they are.

        Raises RunError where another run of its name is there.
        """
        name, digest = path.stem, digest_of(path)
        there = self.objects.found(_key(name))
        if there is not None:
            if there.sha256 != digest:
                raise RunError(f"run {name!r} is in {self.url} already, and is another one; rename one of the two")
            return
        *tell, tell_last = in_all([file.stat().st_size for file in (*shards, path)], progress)
        for number, shard in enumerate(shards):
            self._send_shard(name, number, shard, tell[number])
        for left in set(self.objects.listed(f"{name}{SHARDS}/")) - {_key(name, i) for i in range(len(shards))}:
            self.objects.remove(left, f"what is left of a run {name!r}")
        self.objects.put(_key(name), path, digest, self._note(name), f"run {name!r}", tell_last, new=True)

    def _send_shard(self, name: str, number: int, path: Path, progress: Progress) -> None:
        key, what, digest = _key(name, number), f"shard {number} of run {name!r}", digest_of(path)
        there = self.objects.found(key)
        if there is None or there.sha256 != digest:  # one that a given up sending of another run has left
            self.objects.put(key, path, digest, self._note(name, number), what, progress, new=False)
        progress(path.stat().st_size, path.stat().st_size)

    def same(self, old: str, new: str) -> bool:
        """Whether two runs that are there have the same content."""
        one, other = (self.objects.found(_key(name)) for name in (old, new))
        return bool(one and other and one.sha256 and one.sha256 == other.sha256)

    def copy(self, old: str, new: str) -> None:
        """Give a run there a second name, and its copy on this machine too; one that has it already is left so."""
        for key in self.objects.listed(f"{old}{SHARDS}/"):
            self.objects.copy(key, f"{new}{SHARDS}/{key.partition('/')[2]}", f"run {old!r}")
        self.objects.copy(_key(old), _key(new), f"run {old!r}")
        there, made = (self.objects.found(_key(name)) for name in (old, new))
        if there and made and self._known(old) == _mark(there) and not self._copy(new).exists():
            os.link(self._copy(old), self._copy(new))
            self._know(new, _mark(made))

    def remove(self, name: str) -> None:
        """Remove a run there, and its copy on this machine."""
        for key in (_key(name), *self.objects.listed(f"{name}{SHARDS}/")):
            self.objects.remove(key, f"run {name!r}")
        for left in (self._copy(name), self._mark_of(name), self._note(name)):
            left.unlink(missing_ok=True)
        for folder in (self._copy(name, 0).parent, self._note(name, 0).parent):
            shutil.rmtree(folder, ignore_errors=True)

    @cached_property
    def objects(self) -> Objects:
        return Objects(self.url, self.endpoint)

    def _coming(self, key: str, there: Found, what: str) -> Coming:
        word = there.etag.strip('"')
        return Coming(self.objects.reader(key, there.etag, what), there.bytes, there.sha256, word)

    # -- copies of this machine ----------------------------------------------------------------------------------------

    def _copy(self, name: str, number: int | None = None) -> Path:
        return self.cache / "runs" / _key(name, number)

    @cached_property
    def _room(self) -> Room:
        return Room(lambda: (self.cache / "runs").glob(f"*{SHARDS}/.*-*{ENDING}"), self.most)

    def _mark_of(self, name: str) -> Path:
        return self.cache / "runs" / KNOWN / f"{name}.json"

    def _known(self, name: str) -> dict | None:
        """What the copy of a run is of; None where there is no copy."""
        mark = self._mark_of(name)
        return json.loads(mark.read_text()) if mark.exists() and self._copy(name).exists() else None

    def _know(self, name: str, mark: dict) -> None:
        self._mark_of(name).parent.mkdir(exist_ok=True)
        with whole(self._mark_of(name)) as part:
            part.write_text(json.dumps(mark))

    def _note(self, name: str, number: int | None = None) -> Path:
        """What remembers an upload that was begun from here."""
        return self.cache / "runs" / KNOWN / f"{_key(name, number).removesuffix(ENDING)}.sending.json"


def _key(name: str, number: int | None = None) -> str:
    """The key of a run file, or of one of its shards."""
    return f"{name}{ENDING}" if number is None else f"{name}{SHARDS}/{number:04d}{ENDING}"


def _mark(there: Found) -> dict:
    """What tells the content of an object from another's, of what the server says of it."""
    return {"etag": there.etag, "bytes": there.bytes}
