"""Two people send runs of one name into a bucket at once: one is there, whole, the other is told and leaves nothing.

The second acts between any two requests of the first: sends the whole of its run, or as much as a kill let it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import count

import pytest
import servers
import sharded
import synthetic
from conftest import ROOT
from test_sharded import OF, same

import qkstore
from qkstore.errors import QKStoreError, RunError
from qkstore.store import Store
from qkstore.store.arrival import digest_of
from qkstore.store.bucket import Bucket

STEPS = {"head_object", "get_paginator", "create_multipart_upload", "upload_part", "complete_multipart_upload"}
STEPS |= {"delete_object", "abort_multipart_upload", "copy", "list_parts"}
ANOTHER = "run 'a' is in s3://.* already, and is another one; rename one of the two"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs called a, one of them of more shards."""
    found = {}
    for name, n, of in (("first", 24, OF), ("second", 32, OF + 1)):
        path = tmp_path_factory.mktemp(name)
        sharded.publish(path, "a", synthetic.synthetic(n), of)
        found[name] = qkstore.open(path).run("a")
    return found


@pytest.fixture
def place(s3, tmp_path):
    """Gives the bucket of a moment as somebody has it, each with copies of their own and one client for all."""
    client = Bucket("s3://lab", tmp_path, s3.endpoint).objects.client

    def of(moment: str, who: str) -> Bucket:
        made = Bucket(f"s3://lab/two/{tmp_path.name}/{moment}", tmp_path / who / moment, s3.endpoint)
        made.objects.__dict__["client"] = client
        return made

    return of


class Killed(BaseException):
    """What no code of ours catches."""


class Stepping:
    """A client of S3 that acts before its n-th request."""

    def __init__(self, client, moment: int, act):
        self.client, self.moment, self.act, self.n = client, moment, act, 0

    def __getattr__(self, name):
        real = getattr(self.client, name)

        def step(*given, **more):
            self.n += 1
            if self.n == self.moment:
                self.act()
            return real(*given, **more)

        return step if name in STEPS else real


def stepping(bucket: Bucket, moment: int, act) -> Bucket:
    bucket.objects.__dict__["client"] = Stepping(bucket.objects.client, moment, act)
    return bucket


def send(bucket: Bucket, run) -> str:
    """What the sender is told; '' where the run is there."""
    try:
        bucket.send(run.path, None, run.shards.paths)
    except RunError as error:
        return str(error)
    return ""


def store(bucket: Bucket) -> Store:
    (bucket.cache / "runs").mkdir(parents=True, exist_ok=True)
    return Store(bucket.cache, bucket=bucket)


def check(bucket: Bucket, run) -> None:
    """A run is there, whole, and nothing else."""
    whole(bucket, run)
    assert bucket.names() == ["a"]
    assert len(bucket.objects.listed()) == 1 + run.n_shards
    uploads = bucket.objects.client.list_multipart_uploads(Bucket="lab")
    mine = [one["Key"] for one in uploads.get("Uploads", ()) if one["Key"].startswith(bucket.objects.at("")["Key"])]
    assert mine == [], "the server keeps no piece"


def whole(bucket: Bucket, run, name: str = "a") -> None:
    """What whoever reads the run there gets is its files."""
    assert digest_of(bucket.file(name)) == digest_of(run.path)
    there = [bucket.coming(name, number).digest for number in range(run.n_shards)]
    assert there == [digest_of(path) for path in run.shards.paths]


def moments(first: Bucket) -> bool:
    """Whether its moment came: the last one is behind its last request."""
    return first.objects.client.n >= first.objects.client.moment


# -- two runs -------------------------------------------------------------------------------------------------------


def test_the_second_comes_between_any_two_requests_of_the_first(runs, place):
    won = []
    for moment in count(1, 2):
        told = []
        mine, theirs = (place(f"whole{moment}", who) for who in ("first", "second"))
        stepping(mine, moment, lambda theirs=theirs, told=told: told.append(send(theirs, runs["second"])))
        told.insert(0, send(mine, runs["first"]))
        if not moments(mine):
            break
        lost = [name for name, said in zip(runs, told, strict=True) if said]
        assert len(lost) == 1, told
        assert "another one; rename one of the two" in "".join(told)
        won += set(runs) - set(lost)
        check(place(f"whole{moment}", "third"), runs[won[-1]])
    assert moment > 15
    assert won == ["second"] * won.count("second") + ["first"] * won.count("first"), "until the first run file is there"
    assert set(won) == set(runs)


def test_control_shards_of_one_place_are_no_run_s(runs, place, monkeypatch):
    """As it was before: who comes second finds shards there, or puts its own over them."""
    monkeypatch.setattr(sys.modules[Bucket.__module__], "_folder", lambda name, digest: f"{name}.shards")
    broken = 0
    for moment in range(2, 20, 4):
        mine, theirs = (place(f"flat{moment}", who) for who in ("first", "second"))
        stepping(mine, moment, lambda theirs=theirs: send(theirs, runs["second"]))
        send(mine, runs["first"])
        try:
            check(place(f"flat{moment}", "third"), runs["second"])
        except (QKStoreError, AssertionError):
            broken += 1
    assert broken


@pytest.mark.parametrize("act", ["removed", "renamed"])
def test_the_second_comes_and_goes_meanwhile(runs, place, act):
    """The first then is there, whole: nobody took its shards for those of the second."""
    for moment in count(1, 4):
        mine, theirs = (place(f"{act}{moment}", who) for who in ("first", "second"))

        def gone(theirs=theirs):
            if not send(theirs, runs["second"]):
                store(theirs).remove("a") if act == "removed" else store(theirs).rename("a", "x")

        assert send(stepping(mine, moment, gone), runs["first"]) == ""
        if not moments(mine):
            break
        third = store(place(f"{act}{moment}", "third"))
        whole(third.bucket, runs["first"])
        if "x" in third.names():
            whole(third.bucket, runs["second"], "x")
            third.remove("x")
        check(third.bucket, runs["first"])


def test_a_run_that_comes_while_another_gets_its_name_stays(runs, place):
    """A run is renamed to a; the second is sent as a between any two requests of that."""
    came = 0
    for moment in count(1, 4):
        mine, theirs = (place(f"named{moment}", who) for who in ("first", "second"))
        mine.send(runs["first"].path, None, runs["first"].shards.paths)
        store(mine).rename("a", "x")
        told: list[str] = []
        stepping(mine, moment, lambda theirs=theirs, told=told: told.append(send(theirs, runs["second"])))
        try:
            mine.copy("x", "a")
        except RunError as error:
            assert "another run 'a' has come there meanwhile" in str(error)
            assert told == [""]
            whole(place(f"named{moment}", "third"), runs["second"])
            came += 1
        if not moments(mine):
            break
    whole(place(f"named{moment}", "third"), runs["first"])
    assert came


@pytest.mark.slow
def test_a_second_that_is_killed_harms_nobody_and_repeats(runs, place):
    """At any request of its own, between any two of the first."""
    ways = 0
    for moment in (1, 6, 14, 19):
        for kill in count(1, 3):
            where = f"killed{moment}.{kill}"
            mine, theirs = (place(where, who) for who in ("first", "second"))

            def killed() -> None:
                raise Killed

            def part(theirs=theirs, kill=kill, killed=killed):
                with suppress(Killed):
                    send(stepping(theirs, kill, killed), runs["second"])

            told = send(stepping(mine, moment, part), runs["first"])
            ended = not moments(theirs)
            winner = "second" if told else "first"
            whole(place(where, "third"), runs[winner])
            again = send(place(where, "second"), runs["second"])
            assert bool(told) != bool(again), (told, again)
            check(place(where, "fourth"), runs[winner])
            ways += 1
            if ended:
                break
    assert ways > 20


def test_the_same_run_sent_by_two_is_there_and_neither_is_refused(runs, place):
    for moment in count(1, 4):
        mine, theirs, told = place(f"same{moment}", "first"), place(f"same{moment}", "second"), []
        stepping(mine, moment, lambda theirs=theirs, told=told: told.append(send(theirs, runs["first"])))
        told.append(send(mine, runs["first"]))
        if not moments(mine):
            break
        assert told == ["", ""]
        check(place(f"same{moment}", "third"), runs["first"])


def test_shards_that_are_gone_come_again_with_the_run(runs, place):
    mine = place("gone", "first")
    send(mine, runs["first"])
    mine.objects.remove(mine.objects.listed("a.shards/")[1], "it")
    assert send(mine, runs["first"]) == ""
    check(place("gone", "second"), runs["first"])
    same(store(place("gone", "third")).run("a"), runs["first"])


def test_whoever_comes_later_sends_nothing(runs, place):
    send(place("later", "first"), runs["first"])
    theirs = place("later", "second")
    stepping(theirs, 0, None)
    with pytest.raises(RunError, match=ANOTHER):
        theirs.send(runs["second"].path, None, runs["second"].shards.paths)
    assert theirs.objects.client.n == 2, "it asks what is there, and what it has left before"


# -- a process that is killed ---------------------------------------------------------------------------------------

SENDER = """
import os, signal, sys
from pathlib import Path
import qkstore
sys.path[:0] = [sys.argv[6]]
from test_two_senders import send, stepping
from qkstore.store.bucket import Bucket
run, url, cache, endpoint, moment = sys.argv[1:6]
bucket = stepping(Bucket(url, Path(cache), endpoint), int(moment), lambda: os.kill(os.getpid(), signal.SIGKILL))
sys.exit(send(bucket, qkstore.open(run).run("a")) or 0)
"""


@pytest.mark.slow
def test_a_sender_that_is_killed_at_any_request(runs, place):
    """The second comes whole, then the first is told, and nothing of it is left."""
    for moment in count(1, 2):
        mine = place(f"kill9.{moment}", "first")
        words = [sys.executable, "-c", SENDER, str(runs["first"].path.parent.parent), mine.url, str(mine.cache)]
        words += [mine.endpoint, str(moment), os.path.dirname(__file__)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        ended = subprocess.run(
            words, cwd=ROOT, capture_output=True, env=os.environ | servers.KEYS | {"PYTHONPATH": path}, timeout=120
        )
        if ended.returncode != -signal.SIGKILL:
            break
        won = "second" if not send(place(f"kill9.{moment}", "second"), runs["second"]) else "first"
        assert bool(send(mine, runs["first"])) == (won == "second")
        check(place(f"kill9.{moment}", "third"), runs[won])
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert moment > 15
