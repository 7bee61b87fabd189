"""A store: a directory of immutable run files and one small catalogue."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from qkstore.contrast import Contrast
from qkstore.contrast.builtin import feature, features, taken
from qkstore.contrast.fit import misfit
from qkstore.contrast.known import BY_NAME
from qkstore.errors import ContrastError, QKStoreError, RunError, StoreError, near
from qkstore.run import Run, file
from qkstore.run.schema import RUN_NAME, check_run_name
from qkstore.store import moves
from qkstore.store.bucket import Bucket
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.person import Person
from qkstore.store.catalog.postgres import Postgres
from qkstore.store.catalog.runs import ADDED
from qkstore.store.open_runs import Look, OpenRuns
from qkstore.store.team import SUFFIX, Team

DEFAULT = "store"


def open(where: str | os.PathLike | None = None, create: bool = False) -> Store:
    """The Store at a directory, or the one that a team's file (team.toml) names; raises StoreError where there is none.

    where: defaults to $QKSTORE, then ./store. create: make the directory, and its runs/, where it is missing.
    """
    given = Path(where or os.environ.get("QKSTORE") or DEFAULT)
    if given.suffix != SUFFIX:
        return Store(_directory(given, create))
    team = Team.read(given)
    directory = _directory(team.runs, create or team.bucket is not None)
    return Store(directory, Catalog(Postgres(team.catalogue)), given, team.bucket)


def check_may_add(where: str | os.PathLike) -> None:
    """Raise RoleError where this user may not add runs to a team's store, before hours go into one."""
    if Path(where).suffix == SUFFIX:
        open(where, create=True).check_may_add()


def folder(where: str | os.PathLike) -> Path:
    """The directory whose runs/ holds the runs of a store, which need not be there."""
    return Team.read(where).runs if Path(where).suffix == SUFFIX else Path(where)


def bucket(where: str | os.PathLike) -> Bucket | None:
    """Where a team keeps its runs, if not in a folder."""
    return Team.read(where).bucket if Path(where).suffix == SUFFIX else None


def _directory(path: Path, create: bool) -> Path:
    """The directory of a store, looked at or made."""
    if path.exists() and not path.is_dir():
        raise StoreError(f"store {str(path)!r} is a file; a store is a directory")
    if create:
        try:
            (path / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"store {str(path)!r} cannot be made: {error.strerror}") from None
    if not (path / "runs").is_dir():
        raise StoreError(
            f"no store at {str(path)!r}: "
            f"make one with `python -m ingest demo --store {path}`, or name another with --store or $QKSTORE"
        )
    return path


class Store:
    """Runs are discovered by looking into `runs/`; each file describes itself. The catalogue holds what changes.

    look: asked of run files and shards before they are opened here what is wrong with them (worker.look); for a server.
    path: the directory with runs/. where: what names the store, for --store and qkstore.open: that directory, or a
    team's file. bucket: where the runs come from, if those of the directory are copies.
    """

    look: Look | None = None

    def __init__(
        self, path: Path, catalog: Catalog | None = None, where: Path | None = None, bucket: Bucket | None = None
    ):
        self.path, self.where, self.bucket = path, where or path, bucket
        self.catalog = catalog or Catalog(path / "catalog.duckdb")
        self._open = OpenRuns(bucket.shard if bucket else None)

    def __repr__(self) -> str:
        return f"Store({str(self.where)!r})"

    def acting(self, person: Person) -> Store:
        """The same store, its open runs shared, for somebody else: a person who logged in to a server."""
        other = copy.copy(self)
        other.catalog = self.catalog.acting(person)
        return other

    def scan(self) -> tuple[list[Run], list[QKStoreError]]:
        """Return (runs by name, errors): one for each file in `runs/` that is not a readable run.

        Files whose name does not end in .duckdb and hidden files are skipped.
        """
        found = list(self.each())
        return [one for one in found if isinstance(one, Run)], [one for one in found if not isinstance(one, Run)]

    def each(self) -> Iterator[Run | QKStoreError]:
        """Every run by name as it is opened, some at once, or the error of opening it.

        What is read of a run at once is read sooner: of many runs, those that were read last are held open.
        """
        away, paths, there = False, [], set()
        try:
            names = self.names()
        except StoreError as error:  # the bucket's server; the copies are there
            yield error
            names, away = self._copies(), True
        for name in names:
            try:
                check_run_name(name)
                paths.append(self._file(name) if self.bucket and not away else self._copy(name))
            except (StoreError, RunError) as error:
                yield error
        for first in range(0, len(paths), file.TOGETHER):
            found = self._open.each(paths[first : first + file.TOGETHER], self.look)
            there.update(one.path for one in found if isinstance(one, Run))
            yield from found
        self._open.let_go(there)

    def runs(self) -> list[Run]:
        """Every readable run, by name."""
        return self.scan()[0]

    def run(self, name: str) -> Run:
        """A run by name; raises RunError with near names, or StoreError where its file is damaged."""
        if not RUN_NAME.fullmatch(name):
            raise self.missing(name)
        return self._run(self._file(name))

    def missing(self, name: str) -> RunError:
        """The error of a run that is not there: what became of it, if that is known, or near names."""
        became = ""
        if RUN_NAME.fullmatch(name):
            with suppress(StoreError):
                became = self.catalog.runs.gone(name)[1]
        where = self.bucket.url if self.bucket else "the store"
        more = f": it {became}" if became else f"; {near(name, self.names())}"
        return RunError(f"no run {name[:60]!r} in {where}{more}")

    def names(self) -> list[str]:
        """The names of all runs, readable or not."""
        return self.bucket.names() if self.bucket else self._copies()

    def publish(self, name: str) -> Path:
        """Send a run that lies in `path` to where the team keeps its runs; returns its file there, or in `path`."""
        if self.bucket:
            with closing(Run(self._copy(name))) as run:
                if run.shards:
                    run.shards.check()
                self.bucket.send(run.path, None, run.shards.paths if run.shards else ())
        self.announce(name)
        return self._copy(name)

    def check_may_add(self) -> None:
        """Raise RoleError where this user may not add runs to a shared store.

        While its catalogue is away nobody is refused here: the rights of the folder, or of the bucket, still hold.
        """
        try:
            person = self.catalog.person if self.shared else None
        except StoreError:
            return
        if person:
            person.must("editor", "add a run")

    def announce(self, name: str) -> None:
        """Keep in a shared catalogue who added a run. The run is there: that the catalogue is away stops nothing."""
        if self.shared:
            with suppress(StoreError):
                if name not in self.catalog.runs.added():
                    self.catalog.mark("run", name, ADDED, "add a run")

    def rename(self, old: str, new: str) -> None:
        """Give a run another name; its kept results and the notes on it follow, and its old name says where it went.

        For admins of a shared store; raises RoleError for others. Raises RunError where the run is not there, where the
        new name cannot be a file's, is another run's or an unfinished ingest's, or differs from one in capitals alone;
        StoreError where the folder or the catalogue cannot be written.
        """
        moves.rename(self, old, new)

    def remove(self, name: str) -> None:
        """Remove a run for good: its file, its kept results, and the notes on it, which are shown no more.

        For admins of a shared store; raises RoleError for others, RunError where the run is not there, StoreError where
        the folder or the catalogue cannot be written. Whoever has it open reads on until they let it go.
        """
        moves.remove(self, name)

    @property
    def shared(self) -> bool:
        """Whether a team's file names it, and its catalogue is a server's."""
        return self.where != self.path

    def _copies(self) -> list[str]:
        return sorted(p.stem for p in (self.path / "runs").glob("*.duckdb") if not p.name.startswith("."))

    def _copy(self, name: str) -> Path:
        return self.path / "runs" / f"{name}.duckdb"

    def _file(self, name: str) -> Path:
        """The file of a run on this machine, fetched where it is a bucket's."""
        if self.bucket:
            try:
                return self.bucket.file(name)
            except StoreError:
                if not self._copy(name).is_file():
                    raise  # else its server is away, and a run does not change
            except RunError as error:  # or another process is fetching it
                raise error if name in self.names() else self.missing(name) from None
        elif not self._copy(name).is_file():
            raise self.missing(name)
        return self._copy(name)

    def _run(self, path: Path) -> Run:
        [found] = self._open.each([path], self.look)
        if isinstance(found, Run):
            return found
        raise found

    # -- contrasts of a run --------------------------------------------------------------------------------------

    def features(self, run: Run) -> dict[str, tuple[Contrast, ...]]:
        """{name: contrasts}: built-in, saved that fit (the newest version), and spans such as `category:*`."""
        return self.asked(run)[0]

    def misfits(self, run: Run) -> dict[str, str]:
        """{name: what the run lacks for it} of the saved contrasts that cannot be asked of a run."""
        return self.asked(run)[1]

    def asked(self, run: Run) -> tuple[dict[str, tuple[Contrast, ...]], dict[str, str]]:
        """(features, misfits) from one reading of the catalogue."""
        saved = self._saved()
        reasons = {c.name: misfit(run, c) for c in saved}
        return features(run, saved), {name: reason for name, reason in reasons.items() if reason}

    def feature(self, run: Run, name: str) -> tuple[Contrast, ...]:
        """The contrasts that a name stands for on a run, also 'name@2' and one that is archived.

        Raises ContrastError with near names.
        """
        if taken(name):  # what is built in needs no catalogue, but where one was saved before there was this built-in
            return feature(run, name, self._saved() if name in BY_NAME else ())
        try:
            found = self.catalog.contrast(name)
        except ContrastError:
            base, _, version = name.rpartition("@")
            if version.isdecimal() and self._has(base):
                raise  # with the versions that there are
            return feature(run, name, self._saved())  # which says what there is
        if reason := misfit(run, found):
            raise ContrastError(f"contrast {name!r} does not fit run {run.name!r}: {reason}")
        return (found,)

    def _has(self, name: str) -> bool:
        """Whether there is a saved contrast of this name, or was."""
        with suppress(QKStoreError):
            return bool(self.catalog.contrast(name))
        return False

    def _saved(self) -> list[Contrast]:
        """Saved contrasts; none while the catalogue's server is away, which `catalog.held` then tells."""
        try:
            return self.catalog.contrasts()
        except StoreError:
            if self.catalog.held:
                return []  # what is built in needs no catalogue
            raise
