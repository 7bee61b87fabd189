"""What lies in a bucket and is of no run that is there: it is in nobody's way, and goes in time."""

from __future__ import annotations

import sys

import pytest
import sharded
import synthetic
from test_ranges import bucket, team
from test_sharded import OF, here, same, shards

import qkstore
from qkstore.errors import RunError
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer

__all__ = ["bucket", "here", "team"]  # fixtures


def test_what_another_run_of_that_name_left_is_not_in_the_way(here, team, bucket, tmp_path):
    """Its sending was given up: its shards are there, and more of them."""
    sharded.publish(tmp_path / "other", "a", synthetic.synthetic(32), OF + 2, size=4)
    other = qkstore.open(tmp_path / "other")
    transfer(other, "a", team)
    bucket.objects.remove("a.duckdb", "run 'a'")
    assert bucket.names() == []
    left = bucket.objects.listed("a.shards/")
    transfer(here, "a", team)
    own = set(bucket.objects.listed("a.shards/")) - set(left)
    assert (len(left), len(own)) == (OF + 2, OF), "they may be those of somebody who sends now"
    same(team.run("a"), here.run("a"))
    with pytest.raises(RunError, match="run 'a' is in s3://.* already, and is another one"):
        transfer(other, "a", team)
    assert set(bucket.objects.listed("a.shards/")) == own, "whoever sent them takes them back"
    same(team.run("a"), here.run("a"))


def test_what_was_given_up_goes_in_time(here, team, bucket, s3, monkeypatch):
    key = bucket.objects.at("a.shards/0123456789abcdef/0000.duckdb")
    s3.client().put_object(**key, Body=b"x")
    transfer(here, "a", team)
    assert "a.shards/0123456789abcdef/0000.duckdb" in bucket.objects.listed("a.shards/")
    team.remove("a")
    assert bucket.objects.listed() == ["a.shards/0123456789abcdef/0000.duckdb"]
    monkeypatch.setattr(sys.modules[Bucket.__module__], "GIVEN_UP_S", 0)
    transfer(here, "a", team)
    assert len(bucket.objects.listed("a.shards/")) == OF
    same(team.run("a"), here.run("a"))


def test_what_is_left_of_a_run_that_is_gone_is_removed_by_its_name(here, team, bucket):
    transfer(here, "a", team)
    bucket.objects.remove("a.duckdb", "run 'a'")
    assert bucket.names() == []
    team.remove("a")
    assert bucket.objects.listed() == []


def test_a_run_that_was_put_there_by_other_means_has_its_shards_beside_it(here, team, bucket, s3):
    """As `aws s3 cp --recursive` puts a folder there."""
    for path in (here.run("a").path, *shards(here)):
        s3.client().upload_file(str(path), **bucket.objects.at(str(path.relative_to(here.path / "runs"))))
    same(team.run("a"), here.run("a"))
    team.rename("a", "x")
    same(team.run("x"), here.run("a"))
    team.remove("x")
    assert bucket.objects.listed() == []
