"""Runs on S3-compatible storage: their files fetched whole when they are first read, their shards read by ranges.

A run file and its shards are immutable, so that a copy is good for as long as the bucket names the same content. Both
ways go in pieces, go on where they stopped, and are checked by a sha256. A run is seen only when it is whole: its
shards come first and go last. They lie under a word of their run file's sha256, so that of two people who send
different runs of one name at once neither touches what is the other's, and the run file that is there names its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from qkstore.errors import RunError, StoreError, near
from qkstore.files import inside, whole
from qkstore.run.schema import SHARDS
from qkstore.sql.distant import Distant, Room, hollow
from qkstore.store.arrival import Coming, Progress, arrived, digest_of, held, in_all
from qkstore.store.objects import Found, Objects

SCHEME = "s3"
ENDING = ".duckdb"
WORD = 16  # digits of a run file's sha256, under which its shards lie
KNOWN = ".known"  # the folder beside the fetched runs that says what each one is of
MOST_BYTES = 20 << 30  # of this machine's disk
GIVEN_UP_S = 7 * 86_400  # after which shards of no run that is there are taken for those of a sending that was given up


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
        what, copies = f"shard {number} of run {name!r}", self._copy(name, number)
        try:
            key, there = self._shard(name, number)
        except StoreError:
            kept = list(copies.parent.glob(f".{copies.stem}-*{ENDING}"))
            if len(kept) != 1:
                raise
            [copy], etag = kept, unquote(kept[0].stem.partition("-")[2])
            key = _shard_key(name, number, digest_of(self._copy(name)))
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

        return Distant(copy, bring, what, home=copies.parent.parent)

    def coming(self, name: str, number: int) -> Coming:
        """A shard of a run, to be fetched whole; raises StoreError where there is none."""
        what = f"shard {number} of run {name!r}"
        key, there = self._shard(name, number)
        if there is None:
            raise StoreError(f"{what} is not in {self.url}")
        return self._coming(key, there, what)

    def _shard(self, name: str, number: int) -> tuple[str, Found | None]:
        """The key of a shard of the run that is there now, and what is there."""
        run = self.objects.found(_key(name))
        key = _shard_key(name, number, run.sha256 if run else None)
        return key, self.objects.found(key) if run else None

    def send(self, path: Path, progress: Progress | None = None, shards: Sequence[Path] = ()) -> None:
        """Put a run file there, under its name, and its shards before it, unless they are.

        Raises RunError where another run of its name is there, or came meanwhile; what was sent is then taken back.
        """
        name, digest = path.stem, digest_of(path)
        *tell, tell_last = in_all([file.stat().st_size for file in (*shards, path)], progress)
        there = self._is_there(name, digest)
        self._send_shards(name, digest, shards, tell)
        if there:
            return
        try:
            self.objects.put(_key(name), path, digest, self._note(name), f"run {name!r}", tell_last)
        except RunError:
            if not self._is_there(name, digest):  # what came has gone
                raise
        self._send_shards(name, digest, shards, tell)  # where one who cleared what had no run took these for such
        self._clear(name, self._shards(name, digest))

    def _is_there(self, name: str, digest: str) -> bool:
        """Whether the run of this run file is there. Raises RunError where another one of its name is."""
        there = self.objects.found(_key(name))
        if there is not None and there.sha256 != digest:
            self._take_back(name, digest)
            raise RunError(f"run {name!r} is in {self.url} already, and is another one; rename one of the two")
        return there is not None

    def _send_shards(self, name: str, digest: str, shards: Sequence[Path], tell: Sequence[Progress]) -> None:
        """Send those that are not there: what lies under a word of this run's is this run's."""
        there = set(self._shards(name, digest)) if shards else set()
        for number, path in enumerate(shards):
            key, size = _shard_key(name, number, digest), path.stat().st_size
            if key not in there:
                what, note = f"shard {number} of run {name!r}", self._note(name, number)
                with suppress(RunError):  # somebody else sends the same run
                    self.objects.put(key, path, digest_of(path), note, what, tell[number])
            tell[number](size, size)

    def _take_back(self, name: str, digest: str) -> None:
        """Remove what was sent of a run that is not there."""
        for key in self._shards(name, digest):
            self.objects.remove(key, f"what was sent of run {name!r}")
        for note in self._note(name, 0).parent.glob("[0-9]*.json"):
            self.objects.give_up(_shard_key(name, int(note.name.partition(".")[0]), digest), note)
        self.objects.give_up(_key(name), self._note(name))

    def _shards(self, name: str, digest: str | None) -> list[str]:
        """The keys of the shards that are there of a run file of this sha256."""
        folder = f"{_folder(name, digest)}/"
        return [key for key in self.objects.listed(folder) if "/" not in key.removeprefix(folder)]

    def _clear(self, name: str, but: Sequence[str] = ()) -> None:
        """Remove shards of no run that is there, once whoever sent them has given up."""
        for key in set(self.objects.listed(f"{name}{SHARDS}/", GIVEN_UP_S)) - set(but):
            self.objects.remove(key, f"what is left of a run {name!r}")

    def same(self, old: str, new: str) -> bool:
        """Whether two runs that are there have the same content."""
        one, other = (self.objects.found(_key(name)) for name in (old, new))
        return bool(one and other and one.sha256 and one.sha256 == other.sha256)

    def copy(self, old: str, new: str) -> None:
        """Give a run there a second name, and its copy on this machine too; one that has it already is left so."""
        run = self.objects.found(_key(old))
        for key in self._shards(old, run.sha256) if run else ():
            self.objects.copy(key, f"{new}{SHARDS}/{key.partition('/')[2]}", f"run {old!r}")
        if run and (other := self.objects.found(_key(new))) and other.sha256 != run.sha256:
            raise RunError(f"run {old!r} was not renamed: another run {new!r} has come there meanwhile")
        self.objects.copy(_key(old), _key(new), f"run {old!r}")
        there, made = (self.objects.found(_key(name)) for name in (old, new))
        if there and made and self._known(old) == _mark(there) and not self._copy(new).exists():
            os.link(self._copy(old), self._copy(new))
            self._know(new, _mark(made))

    def remove(self, name: str) -> None:
        """Remove a run there, or what is left of one, and its copy on this machine."""
        run = self.objects.found(_key(name))
        for key in (_key(name), *(self._shards(name, run.sha256) if run else self.objects.listed(f"{name}{SHARDS}/"))):
            self.objects.remove(key, f"run {name!r}")
        self._clear(name)
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
        return self.cache / "runs" / _copied(name, number)

    @cached_property
    def _room(self) -> Room:
        return Room(lambda: inside(self.cache / "runs", f"*{SHARDS}/.*-*{ENDING}"), self.most)

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
        return self.cache / "runs" / KNOWN / f"{_copied(name, number).removesuffix(ENDING)}.sending.json"


def _key(name: str) -> str:
    """The key of a run file."""
    return f"{name}{ENDING}"


def _folder(name: str, digest: str | None) -> str:
    """What the keys of the shards begin with of a run file of this sha256; as in a folder where it was not sent so."""
    return f"{name}{SHARDS}/{digest[:WORD]}" if digest else f"{name}{SHARDS}"


def _shard_key(name: str, number: int, digest: str | None) -> str:
    return f"{_folder(name, digest)}/{number:04d}{ENDING}"


def _copied(name: str, number: int | None) -> str:
    """Where a run file, or one of its shards, lies on this machine."""
    return _key(name) if number is None else _shard_key(name, number, None)


def _mark(there: Found) -> dict:
    """What tells the content of an object from another's, of what the server says of it."""
    return {"etag": there.etag, "bytes": there.bytes}
