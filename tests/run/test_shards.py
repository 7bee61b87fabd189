"""A run in shards is read as one of one file is: the same vectors, of the shards that are needed and no others."""

from __future__ import annotations

import os
import shutil
import threading

import duckdb
import numpy as np
import pytest
import sharded
import synthetic

import qkstore
from qkstore.analysis.heads import heads
from qkstore.contrast import Contrast
from qkstore.errors import GuardError, RunError, StoreError
from qkstore.run.incoming.shard import Share
from qkstore.sql import guard
from qkstore.store.archive import check

N, OF = 64, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    synthetic.write(path, "one", data=synthetic.synthetic(N))
    sharded.publish(path, "several", synthetic.synthetic(N), OF)
    sharded.publish(path, "small", synthetic.synthetic(N, store_dtype="int16"), OF)
    return path


@pytest.fixture
def store(folder):
    return qkstore.open(folder)


@pytest.fixture
def copied(folder, tmp_path):
    """A store of one's own, to spoil."""
    shutil.copytree(folder / "runs", tmp_path / "runs")
    return tmp_path


def attached(run) -> set[int]:
    return set(run.shards._files)


def test_it_has_the_vectors_of_the_run_of_one_file_to_the_bit(store):
    one, several = store.run("one"), store.run("several")
    assert (one.n_shards, several.n_shards) == (1, OF)
    assert several.manifest.schema_version == 4
    rows = np.random.default_rng(0).permutation(one.n_queries)[:40]
    for layer in one.layers:
        for head in range(one.n_heads):
            for wanted in (None, rows, np.arange(5, 9), np.array([7, 7, 3]), np.array([], int)):
                for read in ("queries", "keys"):
                    mine = getattr(several, read)(layer, head, wanted)
                    assert mine.tobytes() == getattr(one, read)(layer, head, wanted).tobytes()
            mine = several.logsumexp(layer, head, rows)
            assert mine.tobytes() == one.logsumexp(layer, head, rows).tobytes()
    assert several.queries(1, 0)[0].tobytes() != one.queries(1, 1)[0].tobytes()  # the control: another head


def test_only_the_shards_of_the_rows_are_attached(store):
    run = qkstore.open(store.path).run("several")
    assert attached(run) == set()
    run.table("SELECT count(*) FROM q")
    run.tokens(0)
    assert attached(run) == set()  # labels are in the run's own file
    prompts = sharded.prompts(synthetic.synthetic(N), OF)
    run.queries(1, 0, prompts[2][:3])  # a query a prompt
    assert attached(run) == {2}
    rows = np.arange(run.n_queries)
    assert [set(run.query_places[0][rows[run.shard_of("query", rows) == i]]) for i in range(OF)] == [
        set(own) for own in prompts
    ]
    run.keys(1, 0)
    assert attached(run) == {0, 1, 2}


def test_every_score_is_that_of_the_run_of_one_file(store):
    runs = store.run("one"), store.run("several")
    within = {"where": "k.prompt_id = q.prompt_id and k.role = 'box'"}
    order = Contrast("o", **within, positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
    across = order.replace(name="x", where="k.prompt_id = q.counterfactual_id and k.role = 'box'")
    for contrast in (order, across):
        one, several = (heads(run, contrast) for run in runs)
        assert sharded.same(one, several)
        assert not sharded.same(one, several[::-1])


def test_what_was_published_is_what_check_finds(copied):
    store = qkstore.open(copied)
    assert check(store)[1] == []
    for run in store.runs():
        run.close()
    path = copied / "runs" / "several.shards" / "0001.duckdb"
    path.chmod(0o644)
    with duckdb.connect(str(path)) as con:
        con.execute(
            "UPDATE row_stat SET logsumexp = logsumexp + 1 WHERE layer = 1 AND head = 2 AND row = "
            "(SELECT max(row) FROM row_stat)"
        )
    assert "changed after it was published: layer 1 of shard 1" in check(qkstore.open(copied))[1][0]


def other(file: str):
    """Put another file in the place of shard 1."""
    return lambda shards: shutil.copy(shards.parent / file, shards / "0001.duckdb")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda shards: (shards / "0001.duckdb").unlink(), "lacks its shard 1 of 3: no file 0001.duckdb"),
        (other("several.shards/0000.duckdb"), "is another one: its shard is '0'"),
        (other("small.shards/0001.duckdb"), "damaged: its table '(query|key)_vector' is not a shard's"),
        (other("one.duckdb"), "is not a shard's"),
        (lambda shards: (shards / "0001.duckdb").write_bytes(b"x" * 5000), "damaged"),
        (lambda shards: os.truncate(shards / "0001.duckdb", 20_000), "damaged"),
    ],
)
def test_a_shard_that_is_none_is_one_line(copied, spoil, says):
    shards = copied / "runs" / "several.shards"
    for file in shards.iterdir():
        file.chmod(0o644)
    spoil(shards)
    run = qkstore.open(copied).run("several")
    assert np.isfinite(run.queries(1, 0, np.array([0]))).all()  # of shard 0, which is whole
    with pytest.raises(StoreError, match=says) as error:
        run.queries(1, 0)
    assert "\n" not in str(error.value)


def edit(path, sql):
    path.chmod(0o644)
    with duckdb.connect(str(path)) as con:
        con.execute(sql)


def test_sql_does_not_take_vectors_in_shards_for_none(store):
    sql = "SELECT count(*) AS n FROM query_vector"
    with pytest.raises(GuardError, match="no table 'query_vector'"):
        guard.select(sql, store.run("several").columns)
    assert guard.select(sql, store.run("one").columns)  # the control


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM shard WHERE shard = 1", "shards have 44 prompts of 64"),
        ("UPDATE shard SET prompts = list_transform(prompts, x -> x + 1000) WHERE shard = 1", "a prompt twice"),
        ("UPDATE shard SET prompts = list_transform(prompts, x -> 0) WHERE shard = 1", "a prompt twice"),
        ("UPDATE shard SET shard = 7 WHERE shard = 1", "not numbered from 0"),
        ("UPDATE shard SET n_keys = 1 WHERE shard = 1", "of n_keys 256"),
        ("UPDATE shard SET n_keys = NULL WHERE shard = 1", "no shard's"),
        ("UPDATE shard SET content = 'x' WHERE shard = 1", "no JSON"),
        ("UPDATE shard SET content = '{}' WHERE shard = 1", "digests of its layers are not those of its shards"),
        ("UPDATE shard SET prompts = NULL WHERE shard = 1", "shards have 44 prompts of 64"),
        ("CREATE VIEW v AS SELECT 1", "holds a view"),
    ],
)
def test_a_run_file_that_lists_its_shards_wrongly_is_one_line(copied, sql, says):
    edit(copied / "runs" / "several.duckdb", sql)
    with pytest.raises(StoreError, match=says) as error:
        qkstore.open(copied).run("several")
    assert "\n" not in str(error.value)


def test_threads_read_one_run_at_once(store):
    run, one = qkstore.open(store.path).run("several"), store.run("one")
    wanted, found = one.keys(1, 2), []

    def read():
        found.append(run.keys(1, 2))

    threads = [threading.Thread(target=read) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 6
    assert all(k.tobytes() == wanted.tobytes() for k in found)


# -- made ------------------------------------------------------------------------------------------------------------


def test_a_run_is_there_when_its_last_shard_is(tmp_path):
    data, store = synthetic.synthetic(N), qkstore.open(tmp_path, create=True)
    for incoming, batches in sharded.ranks(tmp_path, "r", data, OF):
        with incoming:
            assert store.names() == []
            assert not incoming.complete
            for batch in batches:
                incoming.put(*batch)
            incoming.publish_shard(data.layers, "float32")
    assert incoming.complete
    assert store.names() == []
    sharded.assemble(incoming, data)
    assert store.names() == ["r"]
    assert not incoming.whole.exists()
    assert sharded.assemble(incoming, data).exists()  # another rank, that comes to it later


def test_a_rank_goes_on_where_it_was_and_no_two_hold_one_shard(tmp_path):
    data = synthetic.synthetic(N)
    several = sharded.ranks(tmp_path, "r", data, OF)
    (incoming, batches), (second, _) = next(several), next(several)
    with second, incoming:
        incoming.put(*batches[0])
        with pytest.raises(RunError, match="being ingested by another process"):
            type(incoming)(tmp_path, "r", data.plan, None, Share(0, OF))
    again = type(incoming)(tmp_path, "r", data.plan, None, Share(0, OF))
    with again:
        assert again.done() == {batches[0][0]}


@pytest.mark.parametrize(("plan", "of", "says"), [({"n": 1}, OF, "n 64 → 1"), ({}, 2, "shards 3 → 2")])
def test_ranks_of_another_plan_are_refused(tmp_path, plan, of, says):
    data = synthetic.synthetic(N)
    incoming, _ = next(sharded.ranks(tmp_path, "r", data, OF))
    with incoming, pytest.raises(RunError, match=says):
        type(incoming)(tmp_path, "r", data.plan | plan, None, Share(1, of))


def test_a_folder_of_its_name_is_not_overwritten(tmp_path):
    (tmp_path / "runs" / "r.shards").mkdir(parents=True)
    (tmp_path / "runs" / "r.shards" / "mine").write_text("x")
    with pytest.raises(RunError, match=r"there is a folder r\.shards; delete it first"):
        sharded.publish(tmp_path, "r", synthetic.synthetic(N))
    assert (tmp_path / "runs" / "r.shards" / "mine").read_text() == "x"
    assert qkstore.open(tmp_path).names() == []
