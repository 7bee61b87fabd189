"""Check: what is wrong with a file is found and named, and hides nothing that is well."""

from __future__ import annotations

import threading

import duckdb
import numpy as np
import pytest
from synthetic import two_runs, write

import qkstore
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.run import schema
from qkstore.run.incoming import Incoming
from qkstore.store import archive

MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.fixture
def store(tmp_path):
    return two_runs(tmp_path / "store", MINE)


def spoil(store, sql, name="synthetic"):
    store.run(name).close()
    with duckdb.connect(str(store.path / f"runs/{name}.duckdb")) as con:
        con.execute(sql)
    return archive.check(qkstore.open(store.path))


def test_a_whole_store_is_well(store):
    well, ill = archive.check(store)
    assert ill == []
    assert well == [
        "run 'synthetic': 16 queries, 64 keys, 2 layers",
        "run 'v1.2-b': 8 queries, 32 keys, 2 layers",
        "catalogue: 1 contrasts",
    ]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "DELETE FROM key_vector WHERE layer = 1 AND kv_head = 1 AND row = 5",
            "layer 1 kv_head 1 has 63 vectors for 63 of 64 rows",
        ),
        ("DELETE FROM query_vector WHERE layer = 0 AND head = 3", "layer 0 head 3 has 0 vectors for 0 of 16 rows"),
        (
            "UPDATE query_vector SET row = 4 WHERE layer = 0 AND head = 3 AND row = 5",
            "layer 0 head 3 has 16 vectors for 15 of 16 rows",
        ),
        (
            "UPDATE query_vector SET row = 16 WHERE layer = 0 AND head = 3 AND row = 5",
            "layer 0 head 3 has 16 vectors for 15 of 16 rows",
        ),
        (
            (
                "UPDATE key_vector SET v = [1, 2, 'inf'::FLOAT, '-inf'::FLOAT, 5, 6, 7, 8]::FLOAT[8] WHERE layer = 0 "
                "AND kv_head = 1 AND row = 5"
            ),
            "layer 0 kv_head 1 has 1 vectors with NaN or Inf",
        ),
        (
            "UPDATE row_stat SET logsumexp = 'nan'::DOUBLE WHERE layer = 0 AND head = 1 AND row < 3",
            "layer 0 head 1 has 3 log-sum-exps with NaN or Inf",
        ),
        (
            "UPDATE row_stat SET logsumexp = NULL WHERE layer = 0 AND head = 1 AND row < 3",
            "layer 0 head 1 has 3 log-sum-exps with NaN or Inf",
        ),
        (
            "DELETE FROM row_stat WHERE layer = 1 AND head = 2 AND row = 7",
            "layer 1 head 2 has 15 log-sum-exps for 15 of 16 rows",
        ),
        ("DELETE FROM token WHERE prompt_id = 3 AND pos = 0", "token has "),
        ("DELETE FROM q WHERE query_row = 3", "q has 15 rows of 16"),
        ("DELETE FROM key_row WHERE key_row = 3", "key_row has 63 rows of 64"),
        ("DROP TABLE row_stat", "cannot be read"),
        ("DROP TABLE layer", "cannot be read"),
        (f"UPDATE run SET schema_version = {schema.NEWEST_VERSION + 1}", f"is of version {schema.NEWEST_VERSION + 1}"),
        ("ALTER TABLE run DROP COLUMN schema_version", "was not made by qkstore"),
        ("DROP TABLE run", "damaged or unfinished"),
    ],
)
def test_what_is_wrong_with_a_run_is_found_and_the_others_are_well(store, sql, says):
    well, ill = spoil(store, sql)
    assert any(says in line for line in ill), ill
    assert not any("\n" in line for line in ill), ill
    assert "run 'v1.2-b': 8 queries, 32 keys, 2 layers" in well
    assert not any("'synthetic'" in line for line in well)


def test_an_unsorted_file_is_slow_and_right(store):
    run = store.run("synthetic")
    expected = [run.queries(1, h) for h in range(4)] + [run.keys(1, h) for h in range(4)]
    _, ill = spoil(
        store,
        (
            "CREATE TABLE t AS SELECT * FROM query_vector ORDER BY hash(row, head); DELETE FROM query_vector; "
            "INSERT INTO query_vector SELECT * FROM t; DROP TABLE t"
        ),
    )
    run = qkstore.open(store.path).run("synthetic")
    assert ill == []
    assert [r["row"] for r in run.table("SELECT row FROM query_vector").to_pylist()] != sorted(range(16)) * 8
    assert all(
        np.array_equal(a, b)
        for a, b in zip(expected, [run.queries(1, h) for h in range(4)] + [run.keys(1, h) for h in range(4)])
    )


def test_a_block_that_went_bad_on_disk_is_named_when_it_is_read(tmp_path):
    write(tmp_path, n=1500)
    path = tmp_path / "runs" / "synthetic.duckdb"
    whole = path.read_bytes()
    found = 0
    for at in range(700_000, len(whole), 250_000):
        data = bytearray(whole)
        data[at : at + 64] = bytes(64 * [0xA5])
        path.unlink()
        path.write_bytes(data)
        store = qkstore.open(tmp_path)
        _, ill = archive.check(store)
        try:
            run = store.run("synthetic")
            for head in range(4):
                for layer in range(2):
                    run.queries(layer, head), run.keys(layer, head)
        except StoreError as error:
            found += 1
            assert "synthetic.duckdb is damaged" in str(error), at
            assert "\n" not in str(error), at
            assert ill, at
        [r.close() for r in store.runs()]
    assert found > 1


def test_a_left_over_ingest_is_told_with_what_to_do(store):
    with Incoming(store.path, "half", {}):
        pass
    (store.path / "runs" / ".incoming" / "synthetic").mkdir()
    well, ill = archive.check(store)
    assert ill == []
    assert "unfinished ingest 'half': repeat its command to finish it" in well
    assert "unfinished ingest 'synthetic': its run is there, delete the folder" in well


def test_a_check_beside_readers(store):
    """Threads of one process share a run: none gets another's rows."""
    expected, wrong = store.run("synthetic").queries(1, 2), []

    def read():
        for _ in range(20):
            if not np.array_equal(store.run("synthetic").queries(1, 2), expected):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(3)]
    [t.start() for t in threads]
    assert archive.check(store)[1] == []
    [t.join() for t in threads]
    assert not wrong
