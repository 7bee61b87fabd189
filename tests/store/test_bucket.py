"""Runs on S3-compatible storage: sent and fetched in pieces, whole or not to be seen, and read from a copy."""

from __future__ import annotations

import shlex

import pytest
import servers
import stores

import qkstore
from ingest import demo, job
from ingest.model import load
from ingest.prompts import lists
from qkstore.__main__ import main
from qkstore.errors import RunError, StoreError
from qkstore.store import arrival, team
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer


@pytest.fixture
def server(s3):
    return s3


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A store with a run of some megabytes."""
    path = tmp_path_factory.mktemp("sent")
    stores.write(path, "a", stores.boxes(n=2600))
    return qkstore.open(path)


@pytest.fixture
def bucket(server, tmp_path, request) -> Bucket:
    return Bucket(f"s3://lab/{request.node.name[:40]}", tmp_path / "cache", server.endpoint)


class Stop(Exception):
    pass


def test_a_run_is_sent_and_fetched_as_it_was(bucket, sent, tmp_path):
    assert bucket.names() == []
    seen = []
    bucket.send(sent.run("a").path, lambda done, total: seen.append((done, total)))
    assert bucket.names() == ["a"]
    assert seen[-1] == (sent.run("a").path.stat().st_size,) * 2
    path = bucket.file("a")
    assert path.read_bytes() == sent.run("a").path.read_bytes()
    assert not path.stat().st_mode & 0o222
    before = path.stat()
    assert bucket.file("a") == path
    assert path.stat() == before, "it is fetched once"
    bucket.send(sent.run("a").path)
    assert bucket.names() == ["a"]


def test_a_sending_that_was_interrupted_is_not_seen_and_goes_on_at_the_missing_piece(bucket, sent, monkeypatch):
    path, times = sent.run("a").path, []
    assert path.stat().st_size > 5 << 20
    monkeypatch.setattr(arrival, "PIECE", 5 << 20)

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        bucket.send(path, stop)
    assert bucket.names() == []
    client = bucket.objects.client
    real = client.upload_part
    monkeypatch.setattr(client, "upload_part", lambda **given: (times.append(given["PartNumber"]), real(**given))[1])
    bucket.send(path)
    assert times == [2]
    assert bucket.file("a").read_bytes() == path.read_bytes()


def test_a_fetching_that_was_interrupted_goes_on_at_the_missing_piece(bucket, sent, monkeypatch):
    bucket.send(sent.run("a").path)
    monkeypatch.setattr(arrival, "PIECE", 1 << 20)
    ranges = []
    real = bucket.objects.client.get_object
    monkeypatch.setattr(
        bucket.objects.client, "get_object", lambda **given: (ranges.append(given["Range"]), real(**given))[1]
    )

    def stop(done: int, total: int) -> None:
        if done >= 3 << 20:
            raise Stop

    with pytest.raises(Stop):
        bucket.file("a", stop)
    assert not list((bucket.cache / "runs").glob("*.duckdb"))
    assert len(ranges) == 3
    assert bucket.file("a").read_bytes() == sent.run("a").path.read_bytes()
    assert ranges[3] == f"bytes={3 << 20}-{(4 << 20) - 1}"
    assert len(ranges) == -(-sent.run("a").path.stat().st_size // (1 << 20)), "no piece twice"


def test_what_was_spoilt_on_the_way_is_not_shown(bucket, sent, server):
    bucket.send(sent.run("a").path)
    key = bucket.objects.at("a.duckdb")
    body = bytearray(sent.run("a").path.read_bytes())
    body[len(body) // 2] ^= 1
    server.client().put_object(**key, Body=bytes(body), Metadata=server.client().head_object(**key)["Metadata"])
    with pytest.raises(StoreError, match="run 'a' did not arrive as it was sent"):
        bucket.file("a")
    assert not list((bucket.cache / "runs").glob("*.duckdb"))


def test_a_file_that_is_no_run_is_one_line_and_the_others_are_there(bucket, sent, server):
    bucket.send(sent.run("a").path)
    server.client().put_object(**bucket.objects.at("b.duckdb"), Body=b"no database" * 1000)
    (bucket.cache / "runs").mkdir(parents=True, exist_ok=True)
    store = qkstore.store.Store(bucket.cache, bucket=bucket)
    runs, errors = store.scan()
    assert [run.name for run in runs] == ["a"]
    assert len(errors) == 1
    assert "b" in str(errors[0])


def test_another_run_of_that_name_is_never_replaced(bucket, sent, tmp_path):
    bucket.send(sent.run("a").path)
    stores.write(tmp_path / "other", "a", stores.boxes(n=16))
    other = qkstore.open(tmp_path / "other")
    with pytest.raises(RunError, match="run 'a' is in s3://lab/.* already, and is another one"):
        bucket.send(other.run("a").path)
    assert bucket.file("a").read_bytes() == sent.run("a").path.read_bytes()


def test_a_copy_follows_what_the_bucket_names(bucket, sent, server, tmp_path):
    """Somebody deleted a run and sent another of its name: the copy is fetched anew."""
    bucket.send(sent.run("a").path)
    bucket.file("a")
    server.client().delete_object(**bucket.objects.at("a.duckdb"))
    with pytest.raises(RunError, match="no run 'a' in s3://lab"):
        bucket.file("a")
    stores.write(tmp_path / "other", "a", stores.boxes(n=16))
    other = qkstore.open(tmp_path / "other").run("a")
    bucket.send(other.path)
    assert bucket.file("a").read_bytes() == other.path.read_bytes()


def test_a_server_that_is_away_or_refuses_is_one_line_and_copies_are_read(bucket, sent, server, monkeypatch):
    bucket.send(sent.run("a").path)
    bucket.file("a")
    store = qkstore.store.Store(bucket.cache, bucket=bucket)
    server.stop()
    try:
        runs, errors = store.scan()
        assert [run.name for run in runs] == ["a"]
        assert "cannot be read: Could not connect to the endpoint URL" in str(errors[0])
        assert "\n" not in str(errors[0])
        assert store.run("a").n_prompts == sent.run("a").n_prompts
        with pytest.raises(StoreError, match="Could not connect"):
            store.run("b")
    finally:
        server.start()
        server.client().create_bucket(Bucket="lab")
    nowhere = Bucket("s3://nowhere/x", bucket.cache, server.endpoint)
    with pytest.raises(StoreError, match=r"runs in s3://nowhere/x cannot be read: .*NoSuchBucket"):
        nowhere.names()
    for name in servers.KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(StoreError, match="Unable to locate credentials"):
        Bucket("s3://lab/x", bucket.cache, server.endpoint).names()


def test_stores_push_to_it_and_pull_from_it(bucket, sent, tmp_path):
    (bucket.cache / "runs").mkdir(parents=True, exist_ok=True)
    shared = qkstore.store.Store(bucket.cache, bucket=bucket)
    assert transfer(sent, "a", shared).read_bytes() == sent.run("a").path.read_bytes()
    assert shared.names() == ["a"]
    mine = qkstore.open(tmp_path / "mine", create=True)
    assert transfer(shared, "a", mine).read_bytes() == sent.run("a").path.read_bytes()


def test_a_run_that_was_made_and_not_sent_is_not_lost(bucket, tmp_path, monkeypatch, capsys):
    file = tmp_path / "team.toml"
    file.write_text(
        f'catalogue = "postgresql://ed@127.0.0.1:1/qk"\nruns = "{bucket.url}"\n'
        f'endpoint = "{bucket.endpoint}"\ncache = "{tmp_path / "copies"}"\n'
    )
    small, prompts = load(str(demo.MODEL)), lists.build(4, 0, 2)

    def away(*_):
        raise StoreError("the server is away")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="the server is away"):
        patch.setattr(Bucket, "send", away)
        job.ingest(file, "mine", small, prompts, task="lists")
    assert bucket.names() == []
    with pytest.raises(RunError, match="was made here and did not reach s3://lab.* send it with `qkstore push") as said:
        job.ingest(file, "mine", small, prompts, task="lists")
    told = shlex.split(str(said.value).split("`")[1])
    assert main(told[1:]) == 0
    assert bucket.names() == ["mine"]
    with pytest.raises(RunError, match="run 'mine' is in s3://lab/.* already"):
        job.ingest(file, "mine", small, prompts, task="lists")
    capsys.readouterr()


# -- a team's file ---------------------------------------------------------------------------------------------------

GOOD = 'catalogue = "postgresql://ed@db/qk"\nruns = "s3://lab/x"\nendpoint = "http://127.0.0.1:1"\ncache = "here"\n'
BAD = {  # what is wrong: (text, what the line says)
    "no TOML": ("catalogue = ", "is not TOML"),
    "no catalogue": ('runs = "x"', "has no catalogue: write catalogue = "),
    "no runs": ('catalogue = "postgresql://ed@db/qk"', "has no runs: write runs = "),
    "another field": (GOOD + 'rusn = "x"', "has a field 'rusn'; did you mean 'runs'"),
    "a number": ('catalogue = 1\nruns = "x"', "has no catalogue"),
    "a password": ('catalogue = "postgresql://ed:secret@db/qk"\nruns = "x"', "holds a password"),
    "another server": ('catalogue = "mysql://ed@db/qk"\nruns = "x"', "is no URL of PostgreSQL"),
    "no bucket": ('catalogue = "postgresql://ed@db/qk"\nruns = "s3:///x"', "names no bucket"),
    "no size": (GOOD + 'cache_size = "some"', "cache_size 'some' is no size; write one such as 20GB"),
    "an empty endpoint": (GOOD.replace("http://127.0.0.1:1", " "), "has no endpoint"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_a_team_s_file_that_is_none_is_one_line(text, says, tmp_path, capsys):
    file = tmp_path / "team.toml"
    file.write_text(text)
    assert main(["runs", "--store", str(file)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert "secret" not in error


def test_a_team_s_file_that_is_not_there(tmp_path, capsys):
    assert main(["runs", "--store", str(tmp_path / "none.toml")]) == 2
    assert "store file none.toml cannot be read: No such file" in capsys.readouterr().err


def test_copies_of_two_buckets_do_not_meet(tmp_path):
    (tmp_path / "team.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD.replace("lab/x", "lab/y"))
    a, b = (team.Team.read(tmp_path / name) for name in ("team.toml", "b.toml"))
    assert a.runs.parent == b.runs.parent == tmp_path / "here"
    assert a.runs != b.runs
    assert a.bucket.endpoint == "http://127.0.0.1:1"
    assert a.bucket.most == 20 << 30
    (tmp_path / "b.toml").write_text(GOOD + 'cache_size = "1.5 GB"\n')
    assert team.Team.read(tmp_path / "b.toml").bucket.most == 1_500_000_000
