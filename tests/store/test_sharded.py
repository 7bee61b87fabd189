"""A run in shards wherever a run goes: to other stores, names and archives, whole or not to be seen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress

import numpy as np
import pytest
import servers
import sharded
import synthetic
from conftest import ROOT

import qkstore
from qkstore.errors import RunError, StoreError
from qkstore.sql.distant import BLOCK, HEADER
from qkstore.store import Store, archive, arrival, inventory
from qkstore.store.arrival import ARRIVING
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer

N, OF = 2048, 3


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A store with a run of some megabytes in shards, and a small one of one file."""
    path = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "D", 64)
        sharded.publish(path, "a", synthetic.synthetic(N, n_layers=3), OF, size=16)
    synthetic.write(path, "one", data=synthetic.synthetic(16))
    return qkstore.open(path)


@pytest.fixture
def mine(here, tmp_path):
    """A copy of one's own."""
    shutil.copytree(here.path / "runs", tmp_path / "mine" / "runs", copy_function=os.link)
    return qkstore.open(tmp_path / "mine")


@pytest.fixture
def there(tmp_path):
    return qkstore.open(tmp_path / "there", create=True)


class Stop(Exception):
    pass


def shards(store, name="a"):
    return sorted((store.path / "runs" / f"{name}.shards").glob("[0-9]*.duckdb"))


def same(run, other) -> None:
    """Every vector of two runs is the same to the bit."""
    assert run.identity == other.identity
    rows = np.arange(run.n_queries)
    for layer in run.layers:
        for head in range(run.n_heads):
            for mine, theirs in (
                (run.queries(layer, head), other.queries(layer, head)),
                (run.keys(layer, head), other.keys(layer, head)),
                (run.logsumexp(layer, head, rows), other.logsumexp(layer, head, rows)),
            ):
                assert mine.tobytes() == theirs.tobytes()


# -- a folder --------------------------------------------------------------------------------------------------------


def test_it_arrives_as_it_was_and_is_left_alone_the_second_time(here, there):
    seen = []
    path = transfer(here, "a", there, lambda done, total: seen.append((done, total)))
    same(there.run("a"), here.run("a"))
    assert [p.read_bytes() for p in shards(there)] == [p.read_bytes() for p in shards(here)]
    total = sum(p.stat().st_size for p in (*shards(here), path))
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    before = [p.stat() for p in shards(there)]
    assert transfer(here, "a", there) == path
    assert [p.stat() for p in shards(there)] == before
    assert os.listdir(path.parent / ARRIVING) == []


def test_interrupted_it_is_not_seen_and_goes_on_at_the_missing_piece(here, there, monkeypatch):
    monkeypatch.setattr(arrival, "PIECE", 1 << 18)
    first = shards(here)[0].stat().st_size

    def stop(done: int, total: int) -> None:
        if done > first + (1 << 19):
            raise Stop

    with pytest.raises(Stop):
        transfer(here, "a", there, stop)
    assert there.names() == []
    assert not shards(there), "no shards without a run"
    seen = []
    transfer(here, "a", there, lambda done, total: seen.append(done))
    assert seen[0] == first, "the first shard was there"
    assert seen[1] > first + (1 << 18), "and some of the second"
    same(there.run("a"), here.run("a"))


def test_a_source_that_lacks_a_shard_is_not_sent(mine, there):
    shards(mine)[1].unlink()
    with pytest.raises(StoreError, match="run 'a' lacks its shard 1 of 3"):
        transfer(mine, "a", there)


def test_shards_that_do_not_arrive_as_they_were_sent_are_not_shown(here, there, monkeypatch):
    real = arrival.digest_of
    monkeypatch.setattr(arrival, "digest_of", lambda path: "another" if "0001" in path.name else real(path))
    with pytest.raises(StoreError, match="shard 1 of run 'a' did not arrive as it was sent"):
        transfer(here, "a", there)
    assert there.names() == []
    assert not shards(there)


def test_it_is_renamed_and_removed_with_its_shards(mine, here):
    mine.rename("a", "x")
    assert mine.names() == ["one", "x"]
    assert not (mine.path / "runs" / "a.shards").exists()
    same(mine.run("x"), here.run("a"))
    mine.remove("x")
    assert mine.names() == ["one"]
    assert not (mine.path / "runs" / "x.shards").exists()


def test_a_removal_that_left_shards_is_ended_by_the_same_call(mine):
    (mine.path / "runs" / "a.duckdb").unlink()  # as a kill may
    assert mine.names() == ["one"]
    assert "run a: not on this machine" in inventory.lost(mine, "a")
    mine.remove("a")
    assert not (mine.path / "runs" / "a.shards").exists()
    with pytest.raises(RunError, match="no run 'a'"):
        mine.remove("a")


def test_shards_that_were_left_do_not_stand_in_the_way(mine, here, tmp_path):
    """Of a removal that was killed, and of a run that had more of them."""
    (mine.path / "runs" / "a.duckdb").unlink()
    shutil.copy(shards(mine)[0], shards(mine)[0].with_name("0007.duckdb"))
    transfer(here, "a", mine)
    assert len(shards(mine)) == OF
    same(mine.run("a"), here.run("a"))
    mine.rename("a", "x")
    (mine.path / "runs" / "x.duckdb").rename(tmp_path / "kept.duckdb")
    transfer(here, "a", mine)
    mine.rename("a", "x")
    same(mine.run("x"), here.run("a"))


KILLED = """
import os, signal, sys
import qkstore
from qkstore.store import arrival, moves, transfer
here, there, act, moment = qkstore.open(sys.argv[1]), qkstore.open(sys.argv[2]), sys.argv[3], int(sys.argv[4])
steps = iter(range(1000))

def counted(function):
    def step(*given, **more):
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        done = function(*given, **more)
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return step

for module, names in (
    (arrival, ("_fill", "_publish", "sync")),
    (transfer, ("place_shards",)),
    (moves, ("_link_shards", "_name_too", "_drop", "sync")),
):
    for name in names:
        setattr(module, name, counted(getattr(module, name)))
for name in ("unlink", "rename", "link"):
    setattr(os, name, counted(getattr(os, name)))
moves.shutil.rmtree = counted(moves.shutil.rmtree)
if act == "push":
    transfer.transfer(here, "a", there)
else:
    here.rename("a", "x") if act == "rename" else here.remove("a")
"""


@pytest.mark.slow
@pytest.mark.parametrize("act", ["push", "rename", "remove"])
def test_killed_at_any_step_it_is_whole_or_absent_and_the_same_call_ends_it(mine, here, there, act):
    moments = 0
    for moment in range(1000):
        words = [sys.executable, "-c", KILLED, str(mine.path), str(there.path), act, str(moment)]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
        for store in (mine, there):
            runs, errors = store.scan()
            assert errors == []
            for run in runs:
                if run.shards:
                    for number in range(OF):
                        run.shards.file(number)  # each is there
                    same(run, here.run("a"))
        if ended.returncode != -signal.SIGKILL:
            break
        moments += 1
    assert moments > 4
    assert ended.returncode == 0 or "no run 'a'" in ended.stderr, ended.stderr
    assert mine.names() == {"push": ["a", "one"], "rename": ["one", "x"], "remove": ["one"]}[act]
    assert there.names() == (["a"] if act == "push" else [])
    for store in (mine, there):
        left = {path.name for path in (store.path / "runs").glob("*.shards")}
        assert left == {f"{name}.shards" for name in store.names() if name != "one"}, "no shards of no run"


SENT = """
import sys
from pathlib import Path
import qkstore
from qkstore.store import Store, arrival
from qkstore.store.bucket import Bucket
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer
here, cache, url, endpoint = sys.argv[1:]
arrival.PIECE = 5 << 20
print("begun", flush=True)
transfer(qkstore.open(here), "a", Store(Path(cache), bucket=Bucket(url, Path(cache), endpoint)))
"""


@pytest.mark.slow
def test_killed_while_it_is_sent_to_a_bucket_it_is_whole_or_absent_and_goes_on(here, s3, tmp_path):
    (tmp_path / "cache" / "runs").mkdir(parents=True)
    bucket = Bucket(f"s3://lab/killed/{tmp_path.name}", tmp_path / "cache", s3.endpoint)
    words = [sys.executable, "-c", SENT, str(here.path), str(bucket.cache), bucket.url, bucket.endpoint]
    seen = []
    for moment in (0.1, 0.3, 0.5, 0.8, 1.2, 60):
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | servers.KEYS) as process:
            process.stdout.readline()
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
        seen.append((len(bucket.objects.listed("a.shards/")), bucket.names()))
        assert seen[-1] == (OF, ["a"]) or bucket.names() == [], "no run without its shards"
    assert process.returncode == 0
    assert seen[0][1] == [], "it was killed before it was whole"
    same(Store(bucket.cache, bucket=bucket).run("a"), here.run("a"))


def test_an_archive_holds_it_and_gives_it_back(here, tmp_path):
    out = archive.backup(here, tmp_path / "b.tar")
    with tarfile.open(out) as tar:
        assert "runs/a.shards/0002.duckdb" in tar.getnames()
    back = qkstore.open(archive.restore(tmp_path / "back", out))
    assert back.names() == ["a", "one"]
    same(back.run("a"), here.run("a"))
    assert archive.check(back)[1] == []
    assert not shards(back)[0].stat().st_mode & 0o222


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda runs: (runs / "a.shards" / "0001.duckdb").unlink(), "lacks its shard 1"),
        (lambda runs: (runs / "a.duckdb").unlink(), "a.shards has no run that it belongs to"),
        (lambda runs: (runs / "a.shards" / "0003.txt").touch(), "does not belong in a backup"),
        (lambda runs: (runs / "a.shards" / "x").mkdir(), "does not belong in a backup"),
        (lambda runs: (runs / "a.shards" / "0001.duckdb").write_bytes(b"x" * 9000), "damaged"),
    ],
)
def test_an_archive_whose_shards_are_none_restores_nothing(mine, tmp_path, spoil, says):
    for path in shards(mine):  # the links of the others stay as they are
        shutil.copy(path, path.with_suffix(".own"))
        path.with_suffix(".own").rename(path)
    spoil(mine.path / "runs")
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        for path in sorted(mine.path.rglob("*")):
            if path.is_file() or path.name == "x":
                tar.add(path, path.relative_to(mine.path))
    with pytest.raises(StoreError, match=says):
        archive.restore(tmp_path / "back", tmp_path / "odd.tar")
    assert not (tmp_path / "back").exists()


def test_its_size_is_that_of_all_its_files(here):
    run = here.run("a")
    total = sum(path.stat().st_size for path in (run.path, *shards(here)))
    assert inventory.entry(run).n_bytes == total
    sizes = {table: (rows, size) for table, rows, size in inventory.sizes(run)}
    assert sizes["key_vector"][0] == run.n_keys * run.n_kv_heads * len(run.layers)
    assert sizes["query_vector"][0] == run.n_queries * run.n_heads * len(run.layers)
    assert sizes["key_vector"][1] > sizes["key_vector"][0] * 64 * 4 * 0.9
    assert 0.9 * total < sum(size for _, size in sizes.values()) <= total + (OF + 1) * (BLOCK + HEADER)
    assert f"{total / 1e6:,.0f}"[:2] in inventory.lost(here, "a")
