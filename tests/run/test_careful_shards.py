"""Shards that are not what a rank wrote: a server looks at each in another process first, once, when it is needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import duckdb
import fuzzed_files
import fuzzed_shards
import numpy as np
import pytest
import servers
import sharded
import synthetic
from conftest import ROOT

import qkstore
from qkstore.errors import StoreError
from qkstore.sql import worker
from qkstore.store import Store, archive
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer

N, OF = 64, 3
SECONDS = float(os.environ.get("QKSTORE_FUZZ_S", 12)) / 2  # for each of two kinds
SEED = int(os.environ.get("QKSTORE_FUZZ_SEED", 0))
ENDS = "shard 1 of run 'a' ends the program that reads it; it is not opened"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made")
    sharded.publish(path, "a", synthetic.synthetic(N), OF)
    return path


@pytest.fixture
def folder(made, tmp_path):
    """A store of one's own, to spoil; its run `good` stays as it is."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    shutil.copy(tmp_path / "runs" / "a.duckdb", tmp_path / "runs" / "good.duckdb")
    shutil.copytree(tmp_path / "runs" / "a.shards", tmp_path / "runs" / "good.shards")
    return tmp_path


class Looks(list):
    """The shards that were looked at."""

    def __bool__(self):
        return True

    def __call__(self, paths):
        self += [path.name for path in paths if path.parent.name == "a.shards"]
        return worker.look(paths)


@pytest.fixture
def looks():
    return Looks()


@pytest.fixture
def store(folder, looks):
    opened = qkstore.open(folder)
    opened.look = looks
    return opened


def shard(folder, number: int = 1):
    path = folder / "runs" / "a.shards" / f"{number:04d}.duckdb"
    path.chmod(0o644)
    return path


def end(path) -> None:
    data = fuzzed_files.ending(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


def of(run, number: int) -> np.ndarray:
    return np.flatnonzero(run.shard_of("query", np.arange(run.n_queries)) == number)


# -- one that ends what reads it ------------------------------------------------------------------------------------


def test_such_a_shard_is_one_line_and_the_others_are_read(store, folder, looks):
    end(shard(folder))
    run = store.run("a")
    assert looks == [], "nothing is looked at before it is needed"
    rows = of(run, 0)
    assert run.queries(1, 2, rows).tobytes() == store.run("good").queries(1, 2, rows).tobytes()
    assert looks == ["0000.duckdb"]
    for _ in range(3):
        with pytest.raises(StoreError) as said:
            run.queries(1, 2)
        assert str(said.value) == ENDS
    assert looks == ["0000.duckdb", "0001.duckdb"], "it is not tried again"
    assert run.queries(0, 1, of(run, 2)).shape == (len(of(run, 2)), run.d_head)


def test_one_that_was_put_in_its_place_is_looked_at_anew(store, folder, looks):
    whole = shard(folder).read_bytes()
    end(shard(folder))
    run = store.run("a")
    with pytest.raises(StoreError, match=ENDS):
        run.queries(1, 2)
    shard(folder).unlink()
    shard_again = folder / "runs" / "a.shards" / "0001.duckdb"
    shard_again.write_bytes(whole)
    assert run.queries(1, 2).tobytes() == store.run("good").queries(1, 2).tobytes()
    assert looks.count("0001.duckdb") == 2


def test_a_good_shard_is_looked_at_once(store, looks):
    with ThreadPoolExecutor(8) as pool:  # sessions that need it at the same time
        list(pool.map(lambda head: store.run("a").queries(1, head % 4), range(16)))
    store.run("a").keys(0, 0)
    assert sorted(looks) == ["0000.duckdb", "0001.duckdb", "0002.duckdb"]
    assert qkstore.open(store.path).run("a").shards.look(None) is None, "a command reads for itself alone"


def fuzzed(folder, kind: str, looked: str, seconds: float):
    words = [sys.executable, fuzzed_shards.__file__, str(folder), kind, looked, str(seconds), str(SEED)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120 + seconds)


def test_control_without_a_look_it_ends_the_process(folder):
    done = fuzzed(folder, "ending", "alone", 1)
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "0 "), done.stderr[-2000:]
    shutil.copy(folder / "runs" / "good.shards" / "0001.duckdb", shard(folder))
    done = fuzzed(folder, "ending", "looked", 1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()[1::2]) == {"ended"}


@pytest.mark.parametrize("kind", ["bytes", "crafted"])
def test_spoilt_at_random_it_is_read_as_it_was_or_one_line_and_nobody_ends(folder, kind):
    done = fuzzed(folder, kind, "looked", SECONDS)
    assert done.returncode == 0, f"seed {SEED}: {done.stdout[-200:]} {done.stderr[-3000:]}"
    found = Counter(done.stdout.split()[1::2])
    print(f"{found.total()} shards of seed {SEED}, {kind}: {dict(found)}")
    assert found["whole"], "the control: some bytes count, and some do not"
    assert found["refused"]
    assert not found["changed"] or kind == "crafted"


# -- from a bucket --------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3, tmp_path) -> Bucket:
    return Bucket(f"s3://lab/careful/{tmp_path.name}", tmp_path / "cache", s3.endpoint)


@pytest.fixture
def team(bucket, made, looks) -> Store:
    (bucket.cache / "runs").mkdir(parents=True)
    opened = Store(bucket.cache, bucket=bucket)
    opened.look = looks
    transfer(qkstore.open(made), "a", opened)
    return opened


FROM_BUCKET = """
import sys
from pathlib import Path
from qkstore.store import Store
from qkstore.store.bucket import Bucket
cache, url, endpoint = sys.argv[1:]
Store(Path(cache), bucket=Bucket(url, Path(cache), endpoint)).run("a").queries(1, 2)
"""


def test_a_shard_of_a_bucket_is_looked_at_too(team, made, bucket, s3, looks):
    run, own = team.run("a"), qkstore.open(made).run("a")
    assert run.queries(1, 2).tobytes() == own.queries(1, 2).tobytes()
    assert looks, "a look at what is here, and one more for each block that it lacks"
    seen = len(looks)
    run.keys(0, 1)
    assert len(looks) == seen
    key = next(key for key in bucket.objects.listed() if key.endswith("0001.duckdb"))
    s3.client().put_object(**bucket.objects.at(key), Body=fuzzed_files.ending(shard(made).read_bytes()))
    shutil.rmtree(bucket.cache / "runs" / "a.shards")
    run.close()
    other = Store(bucket.cache, bucket=bucket)
    other.look = looks
    run = other.run("a")
    for _ in range(2):
        with pytest.raises(StoreError) as said:
            run.queries(1, 2)
        assert str(said.value) == ENDS
    assert run.queries(1, 2, of(run, 0)).tobytes() == own.queries(1, 2, of(run, 0)).tobytes()
    words = [sys.executable, "-c", FROM_BUCKET, str(bucket.cache), bucket.url, bucket.endpoint]
    control = subprocess.run(words, cwd=ROOT, env=os.environ | servers.KEYS, capture_output=True, timeout=60)
    assert control.returncode == -signal.SIGSEGV, control.stderr[-2000:]


# -- what is no shard -----------------------------------------------------------------------------------------------


def links(path, to) -> None:
    to.parent.mkdir(exist_ok=True)
    shutil.move(path, to)
    path.symlink_to(to)


PLACES = {  # what lies where the shard, or its folder, should: what the line says
    "a link": (lambda path, out: links(path, out / "0001.duckdb"), "0001.duckdb is a link"),
    "a link to nothing": (lambda path, out: (path.unlink(), path.symlink_to(out / "none")), "0001.duckdb is a link"),
    "a link to itself": (lambda path, out: (path.unlink(), path.symlink_to(path)), "0001.duckdb is a link"),
    "a link to a neighbour": (
        lambda path, out: (path.unlink(), path.symlink_to("0000.duckdb")),
        "0001.duckdb is a link",
    ),
    "a folder that is a link": (lambda path, out: links(path.parent, out / "a.shards"), "a.shards is a link"),
    "a pipe": (lambda path, out: (path.unlink(), os.mkfifo(path)), "lacks its shard 1 of 3"),
    "a folder": (lambda path, out: (path.unlink(), path.mkdir()), "lacks its shard 1 of 3"),
    "a log that is a pipe": (lambda path, out: os.mkfifo(f"{path}.wal"), "its log of changes, 0001.duckdb.wal, is no"),
    "no folder": (lambda path, out: shutil.rmtree(path.parent), "lacks its shard 1 of 3"),
    "another number": (lambda path, out: path.rename(path.with_name("0003.duckdb")), "lacks its shard 1 of 3"),
}


@pytest.mark.parametrize(("put", "says"), PLACES.values(), ids=PLACES)
def test_what_lies_in_its_place_is_one_line_and_nothing_outside_is_read(store, folder, looks, put, says, tmp_path):
    put(shard(folder), tmp_path / "outside")
    run, wanted = store.run("a"), []
    threading.Thread(target=lambda: wanted.append(read(run)), daemon=True).start()
    for _ in range(300):
        if not wanted:
            threading.Event().wait(0.1)
    assert wanted, "nobody waits for a pipe"
    assert says in wanted[0]
    assert "\n" not in wanted[0]
    assert str(tmp_path) not in wanted[0]
    assert all(name in ("0000.duckdb", "0001.duckdb") for name in looks)
    with pytest.raises(StoreError):
        archive.backup(store, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def read(run) -> str:
    try:
        return str(run.queries(1, 2, of(run, 1)))
    except StoreError as error:
        return str(error)


ROWS = {  # what SQL makes of a shard, what the line says
    "rows beyond the run": ("UPDATE query_vector SET row = row + 1000", "layer 1 head 2 has 0 vectors where 20"),
    "one beyond": (
        "UPDATE query_vector SET row = 1000 WHERE layer = 1 AND head = 2 AND row = (SELECT min(row) FROM query_vector)",
        "layer 1 head 2 has 19 vectors where 20",
    ),
    "below zero": ("UPDATE query_vector SET row = -1 - row", "has 0 vectors where 20"),
    "a row twice": (
        "INSERT INTO query_vector SELECT * FROM query_vector WHERE layer = 1 AND head = 2 LIMIT 1",
        "layer 1 head 2 has 21 vectors where 20",
    ),
    "a row twice, another not": (
        "UPDATE query_vector SET row = (SELECT min(row) FROM query_vector) WHERE row = (SELECT max(row) FROM row_stat)",
        "has 20 vectors of 19 rows, of one more than once",
    ),
    "a row of another shard": ("UPDATE query_vector SET row = row + 4", "layer 1 head 2 has"),
    "no number": (
        "ALTER TABLE query_vector ALTER COLUMN row TYPE VARCHAR",
        "is damaged: its table 'query_vector' is not a shard's",
    ),
    "none": ("DELETE FROM query_vector", "has 0 vectors where 20"),
    "another layer": ("UPDATE query_vector SET layer = 7", "has 0 vectors where 20"),
    "a view": ("CREATE VIEW v AS SELECT 1", "shard 1 of run 'a' holds a view, 'v'"),
    "a long text": ("UPDATE shard SET content = repeat('x', 3000000)", "does not say what it is"),
    "two rows of itself": ("INSERT INTO shard FROM shard", "does not say what it is"),
}


@pytest.mark.parametrize(("sql", "says"), ROWS.values(), ids=ROWS)
def test_rows_that_are_not_its_own_are_one_line(store, folder, sql, says):
    with duckdb.connect(str(shard(folder))) as con:
        con.execute(sql)
    said = read(store.run("a"))
    assert says in said
    assert "\n" not in said
    assert "run 'a'" in said
