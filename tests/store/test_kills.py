"""kill -9 while a team works: of the dashboard, of commands that save and that push, and of PostgreSQL.

Commands save and push without a pause, into a folder and into a bucket, and many of them are killed; a person saves on
the dashboard's page, over its WebSocket. At 20 moments the dashboard or the server is killed too. Afterwards each save
that anybody was told of is there once, versions have no gap, every run that is seen is whole, and nothing is locked.
The random moments are those of SEED; what fails prints them.
"""

from __future__ import annotations

import logging
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest
import servers
import stores
from conftest import ROOT
from killed import Dashboard, Worker, command, kill, start, wait

import qkstore
from qkstore.store.archive import check
from qkstore.store.arrival import digest_of

pytestmark = [pytest.mark.slow, servers.needs_postgres]
SEED, MOMENTS = 11, 20
TURNS = ("kill -9 of the dashboard", "kill -9 of PostgreSQL", "immediate stop of PostgreSQL", "kill -9 of PostgreSQL")
SOON_S = 20  # for a command that takes one or two seconds on an idle machine
SAVE = ["--positive", "k.order_id = q.queried_order", "--negative", "k.order_id <> q.queried_order"]
SAVED = re.compile(r"saved '([^']+)', version (\d+)(?:: (\S+))?\n")


@contextmanager
def team(folder: Path) -> Iterator[tuple[servers.PostgresServer, Path, Path, Path]]:
    """(the server, a team's file with runs in a folder, one with runs in a bucket, a store with run a)."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, servers.postgres() as pg:
        for name, value in (pg.environment | servers.KEYS).items():
            patch.setenv(name, value)
        pg.stop()
        start(pg)
        assert pg.sql("SHOW fsync") == [("on",)]
        s3, files = servers.S3Server(), []
        for name, runs in (
            ("folder", 'runs = "shared"'),
            ("bucket", f'runs = "{s3.place}"\nendpoint = "{s3.endpoint}"\ncache = "cache"'),
        ):
            files.append(folder / f"{name}.toml")
            files[-1].write_text(f'catalogue = "{pg.url()}"\n{runs}\n')
        subprocess.run(command("init", "--store", str(files[0])), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        stores.write(folder / "here", "a", stores.boxes(n=64))
        shutil.copytree(folder / "here", folder / "shared")
        yield pg, *files, folder / "here"
        s3.stop()


# -- what must hold ----------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What somebody was told is done: (name, version, description if it is one of its own) of saves, names of runs."""

    saves: list[tuple[str, int, str | None]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


def wrong(store: Path, told: Told, source: Path) -> list[str]:
    """What a team's store lacks of what was told, has twice, or has torn; [] where all is well."""
    there = qkstore.open(store)
    found = [f"{what} was told twice" for what, n in Counter((*told.runs, *told.saves)).items() if n > 1]
    for name in sorted({name for name, _, _ in told.saves}):
        versions = there.catalog.versions(name)
        if [c.version for c in versions] != list(range(1, len(versions) + 1)):
            found.append(f"contrast {name!r} has the versions {[c.version for c in versions]}")
        for _, number, own in (save for save in told.saves if save[0] == name):
            same = [c.version for c in versions if (c.version == number if own is None else c.description == own)]
            if same != [number]:
                found.append(f"contrast {name!r}, version {number}, is there as {same}")
    found += check(there)[1]
    digest = digest_of(source)
    found += [f"run {name!r} is gone" for name in told.runs if name not in there.names()]
    found += [f"run {run.name!r} is not as it was sent" for run in there.runs() if digest_of(run.path) != digest]
    return found


# -- the scene ---------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """After the kills. files: the team's file of the folder and the one of the bucket; told: what each should have."""

    files: list[Path]
    here: Path
    told: list[Told]
    workers: dict[str, Worker]
    dashboard: Dashboard


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("kills"), random.Random(SEED)
    with team(folder) as (pg, *files, here), ExitStack() as ends:
        slots = {
            "save-0": ["contrasts", "--store", files[0], "--save", "shared", "--description", "NAME", *SAVE],
            "save-1": ["script", files[1], "NAME"],
        } | {f"push-{i}": ["push", "--store", here, "--to", files[i], "--run", "NAME"] for i in range(2)}
        workers = {slot: Worker(slot, here, *words) for slot, words in slots.items()}
        dashboard = Dashboard(files[0])
        for one in (dashboard, *workers.values()):
            ends.callback(one.end)
        kills = {
            TURNS[0]: (dashboard.shown, dashboard.kill, dashboard.start),
            TURNS[1]: (lambda: None, lambda: kill(pg), lambda: start(pg)),
            TURNS[2]: (lambda: None, lambda: pg.stop("immediate"), lambda: start(pg)),
        }
        for number, how in zip(range(MOMENTS), cycle(TURNS)):
            before, end, begin = kills[how]
            at, away = rng.uniform(0.1, 1.5), rng.uniform(0, 0.5)
            print(f"moment {number} of seed {SEED}: {how} after {at:.3f} s, for {away:.3f} s")
            before()
            time.sleep(at)
            end()
            time.sleep(away)
            begin()
        dashboard.shown()
        wait(lambda: enough(workers, dashboard), "enough was done, and killed", 300)
        ends.close()
        for slot, worker in workers.items():
            codes = Counter(one["code"] for one in worker.done)
            print(f"{slot}, seeded by its name: exit codes {dict(codes)}; saves of the page: {len(dashboard.saved)}")
        yield Scene(files, here, heard(workers, dashboard), workers, dashboard)


def enough(workers: dict[str, Worker], dashboard: Dashboard) -> bool:
    """Every sort of work was done, and cut off: 20 commands at least, five of each sort."""
    saving, pushing = (sum(workers[f"{what}-{i}"].killed for i in range(2)) for what in ("save", "push"))
    told = heard(workers, dashboard)
    return (
        saving + pushing >= MOMENTS
        and min(saving, pushing) >= 5
        and len(told[0].saves) >= 2 * MOMENTS
        and min(len(one.runs) for one in told) >= 5
        and len(dashboard.saved) >= 3
    )


def heard(workers: dict[str, Worker], dashboard: Dashboard) -> list[Told]:
    """What was told of the store in the folder and of the one in the bucket; both have one catalogue."""
    saves = [(name, version, None) for name, version in dashboard.saved]
    for worker in (workers["save-0"], workers["save-1"]):
        saves += [(m[1], int(m[2]), m[3] or one["name"]) for one in worker.done for m in SAVED.finditer(one["said"])]
    pushed = [[one["name"] for one in workers[f"push-{i}"].done if one["code"] == 0] for i in range(2)]
    return [Told(saves, runs) for runs in pushed]


def test_what_was_told_is_there_once_and_no_run_is_torn(scene):
    for file, told in zip(scene.files, scene.told):
        assert wrong(file, told, scene.here / "runs" / "a.duckdb") == []


def test_they_met_a_server_that_was_away(scene):
    """And nothing else stopped them."""
    assert any("cannot be reached" in one["said"] for one in scene.workers["save-1"].done)
    assert [line for worker in scene.workers.values() for line in worker.odd()] + scene.dashboard.odd == []


def test_nothing_is_locked(scene):
    """A save, and every push that was cut off and not taken up again, as commands of their own."""
    for i, file in enumerate(scene.files):
        last = scene.workers[f"push-{i}"].done[-1]["name"]
        for words in (
            ["contrasts", "--store", str(file), "--save", "shared", *SAVE],
            ["push", "--store", str(scene.here), "--to", str(file), "--run", last, "a"],
        ):
            begun = time.monotonic()
            done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=SOON_S * 3)
            assert done.returncode == 0, done.stderr
            assert time.monotonic() - begun < SOON_S
        assert {last, "a"} <= set(qkstore.open(file).names())


def test_what_is_lost_doubled_or_torn_would_be_seen(tmp_path):
    with team(tmp_path) as (pg, file, _, here):
        catalog, source = qkstore.open(file).catalog, here / "runs" / "a.duckdb"
        mine = qkstore.Contrast(name="shared", positive=SAVE[1], negative=SAVE[3])
        saves = [("shared", catalog.save(mine.replace(description=f"n {i}")).version, f"n {i}") for i in range(3)]
        assert wrong(file, Told(saves, ["a"]), source) == []
        assert wrong(file, Told([*saves, saves[0]], ["a", "b"]), source) == [
            "('shared', 1, 'n 0') was told twice",
            "run 'b' is gone",
        ]
        pg.sql("DELETE FROM qkstore.contrast WHERE version = 2")
        lost = wrong(file, Told(saves), source)
        assert lost == [
            "contrast 'shared' has the versions [1, 3]",
            "contrast 'shared', version 2, is there as []",
        ]
        pg.sql("UPDATE qkstore.contrast SET version = 2 WHERE version = 3")
        assert wrong(file, Told(saves[2:]), source) == ["contrast 'shared', version 3, is there as [2]"]
        torn = tmp_path / "shared" / "runs" / "a.duckdb"
        torn.chmod(0o644)
        with torn.open("r+b") as run:
            run.truncate(source.stat().st_size // 2)
        assert any("run file a.duckdb is damaged" in line for line in wrong(file, Told(), source))
