"""A run dealt out to other shards, or put back into one file, is the same run."""

from __future__ import annotations

import numpy as np
import pytest
import sharded
import synthetic

import qkstore
from qkstore.errors import RunError
from qkstore.run.incoming.reshard import reshard
from qkstore.store.archive import check

N, OF = 64, 3


@pytest.fixture
def copied(tmp_path):
    """A store of one's own."""
    synthetic.write(tmp_path, "one", data=synthetic.synthetic(N))
    sharded.publish(tmp_path, "several", synthetic.synthetic(N), OF)
    sharded.publish(tmp_path, "small", synthetic.synthetic(N, store_dtype="int16"), OF)
    return tmp_path


def attached(run) -> set[int]:
    return set(run.shards._files)


def vectors(run) -> bytes:
    """All that a run has of vectors, as bytes."""
    rows = np.arange(run.n_queries)
    heads = [(layer, head) for layer in run.layers for head in range(run.n_heads)]
    read = run.queries, run.keys, lambda layer, head: run.logsumexp(layer, head, rows)
    return b"".join(ask(*at).tobytes() for at in heads for ask in read)


@pytest.mark.parametrize(("name", "into"), [("one", 5), ("several", 1), ("several", 2), ("small", 4)])
def test_a_run_dealt_out_anew_has_the_same_vectors_and_the_same_results(copied, name, into):
    store = qkstore.open(copied)
    run = store.run(name)
    reshard(run, into, "other")
    made = store.run("other")
    assert made.n_shards == into
    assert made.identity == run.identity
    assert made.digest == run.digest
    assert vectors(made) == vectors(run)
    for table in ("prompt", "token", "q", "k", "measure"):
        assert made.table(f"SELECT * FROM {table}").equals(run.table(f"SELECT * FROM {table}"))
    assert check(store)[1] == []
    assert store.catalog is not None
    assert not (copied / "runs" / ".incoming" / "other").exists()


def test_prompts_that_follow_each_other_come_into_one_shard(copied):
    store = qkstore.open(copied)
    reshard(store.run("several"), 4, "other")
    made = store.run("other")
    assert [set(np.diff(shard.prompts)) for shard in made.shards.shards] == [{1}] * 4
    assert all(10 < len(shard.prompts) < 22 for shard in made.shards.shards)  # of 64
    made.queries(1, 0, np.arange(5))
    assert len(attached(made)) == 1
    several = qkstore.open(copied).run("several")
    several.queries(1, 0, np.arange(5))
    assert len(attached(several)) == 2  # the control: as the ranks dealt them


@pytest.mark.parametrize(
    ("into", "name", "says"),
    [
        (0, "other", "0 shards: run 'one' has 64 prompts; possible is 1 to that"),
        (65, "other", "65 shards"),
        (2, "several", "there is a run 'several' already"),
        (2, "a/b", "run name 'a/b'"),
    ],
)
def test_what_cannot_be_dealt_out_is_one_line(copied, into, name, says):
    store = qkstore.open(copied)
    before = sorted(store.names())
    with pytest.raises(RunError, match=says):
        reshard(store.run("one"), into, name)
    assert sorted(store.names()) == before


def test_it_begins_anew_where_it_was_killed(copied):
    store = qkstore.open(copied)
    folder = copied / "runs" / ".incoming" / "other" / "shards"
    folder.mkdir(parents=True)
    (folder / "0000.duckdb").write_bytes(b"half")
    reshard(store.run("one"), 3, "other")
    assert vectors(store.run("other")) == vectors(store.run("one"))
