"""A run in shards in a bucket: of its shards only the ranges that are needed are read; it goes wherever a run goes."""

from __future__ import annotations

import os
import shutil

import duckdb
import numpy as np
import pytest
import sharded
import synthetic
from test_sharded import OF, Stop, here, same, shards, there

import qkstore
from qkstore.errors import StoreError
from qkstore.sql.distant import BLOCK
from qkstore.store import Store, archive, arrival
from qkstore.store.arrival import ARRIVING
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer

__all__ = ["here", "there"]  # fixtures


@pytest.fixture
def bucket(s3, tmp_path) -> Bucket:
    return Bucket(f"s3://lab/sharded/{tmp_path.name}", tmp_path / "cache", s3.endpoint)


@pytest.fixture
def team(bucket) -> Store:
    (bucket.cache / "runs").mkdir(parents=True)
    return Store(bucket.cache, bucket=bucket)


def key(bucket: Bucket, number: int) -> str:
    """Where a shard of run a lies."""
    return next(key for key in bucket.objects.listed("a.shards/") if key.endswith(f"/{number:04d}.duckdb"))


@pytest.fixture
def asked(bucket, monkeypatch):
    """(key, from, to) of each range that the server was asked for."""
    client, ranges = bucket.objects.client, []
    real = client.get_object

    def get_object(**given):
        start, end = given["Range"].removeprefix("bytes=").split("-")
        ranges.append((given["Key"].rpartition("/")[2], int(start), int(end) + 1))
        return real(**given)

    monkeypatch.setattr(client, "get_object", get_object)
    return ranges


def test_only_the_ranges_and_the_shards_that_are_needed_are_read(here, team, asked):
    transfer(here, "a", team)
    asked.clear()
    run, own = team.run("a"), here.run("a")
    assert asked == [], "its file, with the labels, is here since it was sent"
    run.table("SELECT count(*) FROM q")
    assert asked == []
    rows = np.flatnonzero(own.shard_of("key", np.arange(own.n_keys)) == 1)
    assert run.keys(1, 0, rows).tobytes() == own.keys(1, 0, rows).tobytes()
    assert {key for key, _, _ in asked} == {"0001.duckdb"}, "no other shard was touched"
    came, wanted = sum(end - start for _, start, end in asked), len(rows) * 64 * 4
    whole = shards(here)[1].stat().st_size
    assert wanted < came < 2 * wanted + 3 * BLOCK
    assert came < whole / 3, "the control: what fetching it whole would have read"
    asked.clear()
    run.keys(1, 0, rows)
    team.run("a").keys(1, 0, rows[:100])
    assert asked == [], "what came is kept"
    same(run, own)
    assert sum(end - start for _, start, end in asked) + came <= sum(path.stat().st_size for path in shards(here))
    assert not shards(team), "no shard is here whole"


def test_another_process_finds_what_came(here, team, asked, bucket):
    transfer(here, "a", team)
    team.run("a").keys(1, 0)
    asked.clear()
    again = Store(bucket.cache, bucket=Bucket(bucket.url, bucket.cache, bucket.endpoint))
    again.bucket.__dict__["objects"] = bucket.objects  # which counts
    assert again.run("a").keys(1, 0).tobytes() == here.run("a").keys(1, 0).tobytes()
    assert asked == []


def test_what_came_is_read_while_the_server_is_away(here, team, bucket, s3):
    transfer(here, "a", team)
    team.run("a").keys(1, 0)
    s3.stop()
    try:
        again = Store(bucket.cache, bucket=Bucket(bucket.url, bucket.cache, bucket.endpoint))
        run = again.run("a")
        assert run.keys(1, 0).tobytes() == here.run("a").keys(1, 0).tobytes()
        with pytest.raises(StoreError, match=r"shard 0 of run 'a' was not fetched from s3://.*: Could not connect"):
            run.keys(0, 1)
    finally:
        s3.start()
        s3.client().create_bucket(Bucket="lab")


def test_a_shard_that_changed_or_is_gone_or_is_another_is_one_line(here, team, bucket, s3, tmp_path):
    transfer(here, "a", team)
    run, at = team.run("a"), bucket.objects.at(key(bucket, 1))
    run.keys(1, 0)
    s3.client().put_object(**at, Body=shards(here)[2].read_bytes())
    with pytest.raises(
        StoreError, match=r"shard 1 of run 'a' was not fetched from s3://.*: another of its name"
    ) as said:
        run.keys(2, 1)
    assert "\n" not in str(said.value)
    run.keys(1, 0)  # what came is that of the run
    for opened in (team.run("a"), Store(bucket.cache, bucket=bucket).run("a")):
        opened.shards.close()
        with pytest.raises(StoreError, match=r"shard 1 of run 'a' is another one: its shard is '2'"):
            opened.keys(2, 1)
        assert opened.keys(2, 1, np.arange(4)).shape == (4, 64), "of shard 0, which is as it was"
    s3.client().delete_object(**at)
    with pytest.raises(StoreError, match="shard 1 of run 'a' is not in s3://"):
        Store(bucket.cache, bucket=bucket).run("a").keys(2, 1)


def test_a_server_that_knows_no_conditions_is_not_believed(here, team, bucket, s3, monkeypatch):
    transfer(here, "a", team)
    run, client = team.run("a"), bucket.objects.client
    run.keys(1, 0)
    real = client.get_object
    monkeypatch.setattr(client, "get_object", lambda IfMatch, **given: real(**given))
    run.keys(1, 1)
    s3.client().put_object(**bucket.objects.at(key(bucket, 1)), Body=shards(here)[1].read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="shard 1 of run 'a' was not fetched from .*: another of its name has come"):
        run.keys(2, 1)


def test_a_run_that_was_made_here_is_not_fetched_and_another_of_its_name_is(here, team, bucket, asked, tmp_path):
    shutil.copytree(here.path / "runs" / "a.shards", team.path / "runs" / "a.shards")
    shutil.copy(here.run("a").path, team.path / "runs")
    team.publish("a")
    assert bucket.names() == ["a"]
    same(team.run("a"), here.run("a"))
    assert asked == []
    sharded.publish(tmp_path / "other", "a", synthetic.synthetic(32), OF)
    for key in bucket.objects.listed():
        bucket.objects.remove(key, "it")
    other = qkstore.open(tmp_path / "other")
    bucket.send(other.run("a").path, shards=shards(other))
    same(team.run("a"), other.run("a"))
    assert asked
    assert not shards(team), "those of the run before are gone"


def test_a_server_that_forbids_or_gives_no_ranges_is_one_line(here, team, bucket, monkeypatch):
    from botocore.exceptions import ClientError

    transfer(here, "a", team)
    run, client = team.run("a"), bucket.objects.client
    real = client.get_object

    def forbids(**_):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "GetObject")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match=r"shard 0 .*: Access Denied \(AccessDenied\)"):
        patch.setattr(client, "get_object", forbids)
        run.keys(1, 0)
    with (
        monkeypatch.context() as patch,
        pytest.raises(StoreError, match=r"asked for 12,288 bytes|12,288 bytes that were"),
    ):
        patch.setattr(client, "get_object", lambda **given: real(Bucket=given["Bucket"], Key=given["Key"]))
        run.keys(1, 0)
    assert run.keys(1, 0).tobytes() == here.run("a").keys(1, 0).tobytes()


def test_a_line_that_breaks_while_bytes_come_is_tried_again(here, team, bucket, monkeypatch):
    from botocore.exceptions import IncompleteReadError

    transfer(here, "a", team)
    run, client = team.run("a"), bucket.objects.client
    real, breaks = client.get_object, iter([1, 0, 1, 1] + [0] * 1000)

    class Broken:
        def read(self):
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

    def get_object(**given):
        return {"Body": Broken()} if next(breaks) else real(**given)

    with monkeypatch.context() as patch:
        patch.setattr(client, "get_object", get_object)
        assert run.keys(1, 0).tobytes() == here.run("a").keys(1, 0).tobytes()
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="shard 0 of run 'a' was not fetched"):
        patch.setattr(client, "get_object", lambda **_: {"Body": Broken()})
        run.keys(2, 1)


def test_what_is_kept_of_shards_is_bounded(here, bucket, team):
    transfer(here, "a", team)
    small = Bucket(bucket.url, bucket.cache, bucket.endpoint, most=2 << 20)
    run = Store(bucket.cache, bucket=small).run("a")
    own = here.run("a")
    for layer in own.layers:
        for head in range(own.n_heads):
            assert run.keys(layer, head).tobytes() == own.keys(layer, head).tobytes()
    copies = list((bucket.cache / "runs" / "a.shards").glob(".*.duckdb"))
    assert len(copies) == OF
    taken = [copy.stat().st_blocks * 512 for copy in copies]
    assert sum(taken) < (2 << 20) + max(taken)
    assert sum(copy.stat().st_size for copy in copies) > 4 * (2 << 20)


def test_duckdb_knows_no_secret_and_reaches_no_server(here, team):
    transfer(here, "a", team)
    shard = team.run("a").shards.file(0)
    assert shard.read(lambda cursor: cursor.execute("FROM duckdb_secrets()").fetchall()) == []
    with pytest.raises(duckdb.Error, match="requires the extension httpfs|disabled by configuration"):
        shard.read(lambda cursor: cursor.execute("FROM read_blob('s3://lab/a.duckdb')").fetchall())


def test_a_sending_that_was_interrupted_is_not_seen_and_goes_on(here, team, bucket, monkeypatch):
    monkeypatch.setattr(arrival, "PIECE", 5 << 20)
    sizes = [path.stat().st_size for path in shards(here)]

    def stop(done: int, total: int) -> None:
        assert total == sum(sizes) + here.run("a").path.stat().st_size
        if done > sizes[0]:
            raise Stop

    with pytest.raises(Stop):
        transfer(here, "a", team, stop)
    assert bucket.names() == []
    assert [k.rpartition("/")[2] for k in bucket.objects.listed("a.shards/")] == ["0000.duckdb"]
    sent = []
    real = bucket.objects.client.upload_part
    monkeypatch.setattr(bucket.objects.client, "upload_part", lambda **g: (sent.append(g["Key"]), real(**g))[1])
    transfer(here, "a", team)
    assert bucket.names() == ["a"]
    assert not any("0000" in key for key in sent), "what was there is not sent again"
    assert any("0002" in key for key in sent)
    same(team.run("a"), here.run("a"))


def test_it_goes_from_one_bucket_into_another_and_a_folder(here, team, bucket, there, tmp_path):
    transfer(here, "a", team)
    second = Bucket(f"{bucket.url}-second", tmp_path / "second", bucket.endpoint)
    (second.cache / "runs").mkdir(parents=True)
    other = Store(second.cache, bucket=second)
    transfer(team, "a", other)
    shutil.rmtree(bucket.cache / "runs" / "a.shards", ignore_errors=True)
    transfer(team, "a", there)
    for copy in (other, there):
        same(copy.run("a"), here.run("a"))
    assert not shards(team), "what was fetched for it is put away"
    assert [path.name for path in (bucket.cache / "runs" / ARRIVING).iterdir()] == []
    assert not os.access(shards(there)[0], os.W_OK) or os.getuid() == 0
    assert not shards(there)[0].stat().st_mode & 0o222


@pytest.mark.parametrize("act", ["rename", "remove"])
def test_in_a_bucket_it_is_renamed_and_removed_with_its_shards(here, team, bucket, act):
    transfer(here, "a", team)
    team.run("a").keys(1, 0)
    if act == "rename":
        team.rename("a", "x")
        assert bucket.names() == ["x"]
        assert bucket.objects.listed("a.") == []
        same(team.run("x"), here.run("a"))
    else:
        team.remove("a")
        assert bucket.objects.listed() == []
    left = [path.name for path in (bucket.cache / "runs").glob("a*")]
    assert left == []


def test_an_archive_of_a_bucket_holds_it_too(here, team, tmp_path):
    transfer(here, "a", team)
    back = qkstore.open(archive.restore(tmp_path / "back", archive.backup(team, tmp_path / "b.tar")))
    same(back.run("a"), here.run("a"))
    assert not shards(team)


def test_what_check_finds_in_a_bucket_is_what_is_there(here, team):
    transfer(here, "a", team)
    well, ill = archive.check(team)
    assert ill == []
    assert any("run 'a': 2,048 queries" in line for line in well)
