"""The shards of a run, read: files of vectors alone, which the ranks of an ingest wrote, and which rows each has.

They lie in a folder beside the run file. One is attached when rows of it are read, and then looked at as closely as a
run file is: it may have come from elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import numpy as np

from qkstore.errors import StoreError
from qkstore.run import content, file, schema, shape
from qkstore.run.manifest import Manifest, check_version
from qkstore.run.shard import Shard, folder, made, name, row_of_self
from qkstore.sql import distant, trust
from qkstore.sql.instance import Attachment

Elsewhere = Callable[[str, int], Attachment]  # (name of a run, number) -> that shard, attached from where it lies
Places = Callable[[str], np.ndarray]  # side → the prompt of each of its rows


class Shards:
    """All shards of a run, of which those that are needed are attached; threads may share it.

    places: called with 'query' or 'key', gives the prompt of each row of that side. elsewhere: as Run has it. look:
    called with a shard before it is attached here, raises an error for one that may not be; for a server.
    """

    look: Callable[[Attachment], object] = staticmethod(lambda shard: None)

    def __init__(
        self,
        run_file: Path,
        manifest: Manifest,
        shards: Sequence[Shard],
        places: Places,
        elsewhere: Elsewhere | None = None,
    ):
        self.folder, self.manifest, self.shards, self._places = folder(run_file), manifest, shards, places
        self._run, self._elsewhere = run_file.name.removesuffix(".duckdb"), elsewhere
        self._what = f"run {self._run!r}"
        self._of = np.empty(manifest.n_prompts, np.int32)
        for shard in shards:
            self._of[shard.prompts] = shard.number
        self._files: dict[int, Attachment] = {}
        self._rows: dict[tuple[str, int], np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def of(self, side: str, rows: np.ndarray) -> np.ndarray:
        """(n,) the shard of each row of a side, 'query' or 'key'."""
        return self._of[self._places(side)[rows]]

    def rows(self, side: str, number: int) -> np.ndarray:
        """The rows of a side that a shard has, ascending."""
        if (side, number) not in self._rows:
            every = self._of[self._places(side)]
            order = np.argsort(every, kind="stable").astype(np.int32)
            ends = np.cumsum(np.bincount(every, minlength=len(self)))
            self._rows |= {(side, i): own for i, own in enumerate(np.split(order, ends[:-1]))}
        return self._rows[side, number]

    def file(self, number: int) -> Attachment:
        """A shard's file, attached. Raises StoreError where it is not there, is damaged, or is another run's."""
        with self._lock:
            if number not in self._files:
                self._files[number] = self._opened(self.shards[number])
            return self._files[number]

    def close(self) -> None:
        """Let all files go."""
        with self._lock:
            while self._files:
                self._files.popitem()[1].close()

    @property
    def paths(self) -> list[Path]:
        """Where they lie that lie beside the run file, by number."""
        return [self.folder / name(shard.number) for shard in self.shards]

    def check(self) -> None:
        """Raise StoreError where one is not there, or is another's."""
        for shard in self.shards:
            self.file(shard.number)

    def changed(self) -> list[str]:
        """What of the shards' vectors is not as it was published ('layer 3 of shard 2'); every value is read for it."""
        return [
            f"{layer} of shard {shard.number}"
            for shard in self.shards
            for layer, digest in self._digests(shard).items()
            if digest != shard.content.get(layer)
        ]

    def _digests(self, shard: Shard) -> dict[str, str]:
        layers = [int(layer.removeprefix("layer ")) for layer in shard.content]
        own = self.file(shard.number)
        distant.ready_all(own)
        return file.read(own, lambda cursor: content.layers(cursor, layers))

    def _opened(self, shard: Shard) -> Attachment:
        what = f"shard {shard.number} of {self._what}"
        attachment = self._found(shard.number, what)
        try:
            self.look(attachment)
            attachment.read(lambda cursor: self._check(cursor, attachment, shard))
        except file.FAILS as error:
            attachment.close()
            raise file.why(what, str(error)) from None
        except BaseException:
            attachment.close()
            raise
        return attachment

    def _found(self, number: int, what: str) -> Attachment:
        path = self.folder / name(number)
        if self._is_here(path, what):
            try:
                return Attachment(path, home=path.parent.parent, what=what)
            except OSError:  # removed since
                pass
        if self._elsewhere:
            return self._elsewhere(self._run, number)
        raise StoreError(
            f"{self._what} lacks its shard {number} of {len(self)}: no file {path.name} in {self.folder.name}"
        )

    def _is_here(self, path: Path, what: str) -> bool:
        """Whether a shard lies beside the run file. Raises StoreError for a link: what it leads to is no run's."""
        if link := next((one for one in (self.folder, path) if one.is_symlink()), None):
            raise StoreError(f"{what} is not read: {link.name} is a link; move what it leads to there")
        return path.is_file()

    def _check(self, cursor: duckdb.DuckDBPyConnection, attachment: Attachment, shard: Shard) -> None:
        """Raise StoreError unless it is a shard, and that one."""
        what = f"shard {shard.number} of {self._what}"
        listing = trust.listings(attachment.place.instance.cursor()).get(attachment.place.name, trust.Listing(None, []))
        tables = trust.tables(listing, what)
        expected = schema.shard_tables(self.manifest.d_head, self.manifest.store_dtype)
        if tables != expected:
            odd = next(iter({**tables, **expected}.keys() - {n for n in tables if tables[n] == expected.get(n)}))
            raise StoreError(f"{what} is damaged: its table {trust.short(odd)} is not a shard's")
        short = f"greatest(strlen(made), strlen(content)) <= {shape.MOST_TEXT}"
        rows = cursor.execute(f"SELECT {', '.join(schema.SHARD_SELF)} FROM shard WHERE {short} LIMIT 2").fetchall()
        if len(rows) != 1:
            raise StoreError(f"{what} is damaged or unfinished: it does not say what it is")
        said = dict(zip(schema.SHARD_SELF, rows[0], strict=True))
        check_version(said["schema_version"], what)
        meant = row_of_self(shard, made(self.manifest.plan), len(self), said["schema_version"])
        for key in (key for key in schema.SHARD_SELF if said[key] != meant[key]):
            raise StoreError(f"{what} is another one: its {key} is {trust.short(str(said[key]))}; fetch it anew")
