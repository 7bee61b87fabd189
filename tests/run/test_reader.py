"""Vectors of several heads, read together: those that each head has by itself, from one file and from shards."""

from __future__ import annotations

import numpy as np
import pytest
import stores

import qkstore
from qkstore.errors import StoreError
from qkstore.run import reader, vectors
from qkstore.run.incoming.reshard import reshard

HEADS = range(1, 4)  # of four, two a KV head


@pytest.fixture(scope="module", params=[1, 3], ids=["one file", "three shards"])
def run(request, tmp_path_factory):
    store = qkstore.open(stores.write(tmp_path_factory.mktemp("store"), n=40))
    if request.param > 1:
        reshard(store.run("boxes"), request.param, "sharded")
    return qkstore.open(store.path).run("boxes" if request.param == 1 else "sharded")


def alone(run, rows):
    """Of each head by itself."""
    keys = [run.keys(1, head, rows) for head in (1, 2)]
    return (
        [run.queries(1, head, rows) for head in HEADS],
        keys,
        [run.logsumexp(1, head, rows) for head in HEADS],
    )


@pytest.mark.parametrize("rows", [range(40), range(7, 20), (31, 2, 2, 17), (5,)], ids=["all", "some", "any", "one"])
@pytest.mark.parametrize("together", [1, 1 << 30], ids=["one at a time", "all at once"])
def test_heads_together_are_the_heads_one_by_one(run, monkeypatch, rows, together):
    rows = np.array(rows)
    q, k, total = alone(run, rows)
    monkeypatch.setattr(reader, "AT_ONCE", together)
    assert np.array_equal(run.reader.queries(1, HEADS, rows), q)
    assert np.array_equal(run.reader.keys(1, HEADS, rows), k)
    assert np.array_equal(run.reader.logsumexp(1, HEADS, rows), total)
    assert not np.array_equal(q[0], q[1]), "the control: heads differ"


def test_all_rows_where_none_are_given_and_nothing_of_none(run):
    assert run.reader.queries(0, HEADS).shape == (3, run.n_queries, run.d_head)
    assert run.reader.keys(0, HEADS).shape == (2, run.n_keys, run.d_head)
    assert run.reader.queries(0, HEADS, np.array([], int)).shape == (3, 0, run.d_head)


def test_few_rows_of_many_heads_are_one_question(run, monkeypatch):
    asked = []
    read = reader.file.read
    monkeypatch.setattr(reader.file, "read", lambda *arguments: asked.append(1) or read(*arguments))
    run.reader.queries(0, range(4), np.arange(run.n_queries))
    assert len(asked) == run.n_shards
    monkeypatch.setattr(reader, "AT_ONCE", 2 * 4 * run.d_head * -(-run.n_queries // run.n_shards))
    run.reader.queries(0, range(4), np.arange(run.n_queries))
    assert len(asked) == run.n_shards + 2 * run.n_shards, "two heads at a time"


def table(head, row, values):
    """Vectors as SQL gives them."""
    import pyarrow as pa

    v = np.array(values, np.float32).reshape(-1, 1)
    return pa.table({"row": row, "v": vectors.columns(v, "float32")["v"], "head": head}).to_batches()


def test_heads_that_were_not_asked_for_or_come_twice_are_refused():
    good = vectors.stacked(table([3, 2, 2, 3], [5, 5, 6, 6], [1, 2, 3, 4]), range(2, 4), range(5, 7), 1, "x")
    assert good[..., 0].tolist() == [[2, 3], [1, 4]]
    for heads, line in (([3, 2, 2, 4], "rows that are not there"), ([3, 2, 2, 2], "of one more than once")):
        with pytest.raises(StoreError, match=f"x has .*{line}"):
            vectors.stacked(table(heads, [5, 5, 6, 6], [1, 2, 3, 4]), range(2, 4), range(5, 7), 1, "x")
