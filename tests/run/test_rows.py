"""A run's rows: in the order asked for, all of them or an error, from any number of batches."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError, RunError, StoreError
from qkstore.run.reader import READ_ROWS


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "a", data=synthetic(8))
    return qkstore.open(tmp_path)


@pytest.mark.parametrize("rows", [[2, 1, 0], [6, 7, 5], [0, 0, 1, 2], [1, 1], []])
def test_rows_that_look_like_a_range_come_as_asked(store, rows):
    rows = np.array(rows, np.int64)
    assert np.array_equal(store.run("a").queries(1, 2, rows), synthetic(8).q[1, 2, rows])
    assert np.array_equal(store.run("a").keys(1, 2, rows), synthetic(8).k[1, 1, rows])


def test_more_rows_than_one_batch(tmp_path):
    data = write(tmp_path, "long", data=synthetic(2500, n_layers=1))
    run, rows = qkstore.open(tmp_path).run("long"), np.random.default_rng(0).permutation(10_000)[:3000]
    assert run.n_keys > READ_ROWS
    assert np.array_equal(run.keys(0, 3), data.k[0, 1])
    assert np.array_equal(run.keys(0, 3, rows), data.k[0, 1, rows])
    assert np.array_equal(run.queries(0, 3, rows // 4), data.q[0, 3, rows // 4])


def test_vectors_that_are_missing_are_no_silent_zeros(store):
    store.run("a").close()
    with duckdb.connect(str(store.path / "runs/a.duckdb")) as con:
        con.execute("DELETE FROM query_vector WHERE layer = 1 AND head = 2 AND row = 3")
    run = qkstore.open(store.path).run("a")
    for rows in (None, np.array([2, 3, 4]), np.array([3])):
        with pytest.raises(StoreError, match="layer 1 head 2 has .* vectors where .* were expected; run `check`"):
            run.queries(1, 2, rows)
    assert run.queries(1, 2, np.array([0, 1])).shape == (2, 8)


@pytest.mark.parametrize("prompt", [-1, 8, 10**20])
def test_prompts_end_where_they_end(store, prompt):
    run = store.run("a")
    for act in (run.prompt, run.tokens):
        with pytest.raises(RunError, match="its prompts are 0 to 7"):
            act(prompt)
    assert run.prompt(7)["id"] == "p7"
    assert run.prompt_id("p7") == run.prompt_id("7") == run.prompt_id(7) == 7
    assert [t["pos"] for t in run.tokens(7)] == list(range(len(run.tokens(7))))


def test_values_are_sorted_and_cut(store):
    run = store.run("a")
    for column in ("entity", "box", "order_id"):
        values = run.values(column)
        assert values == sorted(set(values))
        assert len(values) > 3
        assert run.values(column, most=2) == values[:2]
    assert list(run.layers) == [0, 1]
    assert run.splits == ["train", "test"]


@pytest.mark.parametrize(
    ("query", "key", "says"),
    [
        (8, 0, "query_row 8; run 'a' has 0 to 7"),
        (-1, 0, "query_row -1; run 'a'"),
        (0, 32, "key_row 32; run 'a' has 0 to 31"),
        (0, -1, "key_row -1"),
        (7, 31, None),
    ],
)
def test_a_whole_select_may_name_the_last_row_and_none_beyond(store, query, key, says):
    select = f"select 0 as query_row, 0 as key_row, 1 as sign union all select {query}, {key}, -1"
    if says is None:
        assert pairs(store.run("a"), Contrast(name="w", pairs=select)).counts.n_k == 2
        return
    with pytest.raises(ContrastError, match=says):
        pairs(store.run("a"), Contrast(name="w", pairs=select))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            "q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign, k.order_id - 1 as weight",
            "a weight that is not a positive number",
        ),
        (
            (
                "q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign, "
                "nullif(k.order_id, 2) as weight"
            ),
            "selects a NULL weight",
        ),
        ("q.query_row, k.key_row, unnest([1, -1, 1]) as sign", "query_row 0 with key_row 0; use SELECT DISTINCT"),
        (
            "q.query_row, nullif(k.key_row, 5) as key_row, case when k.order_id = 1 then 1 else -1 end as sign",
            "selects a NULL key_row",
        ),
        ("q.query_row, k.key_row, case k.order_id when 1 then 1 when 2 then -1 end as sign", "selects a NULL sign"),
        ("q.query_row, k.key_row + 0.5::double as key_row, 1 as sign", "key_row of type double; whole numbers"),
    ],
)
def test_a_value_that_is_no_row_sign_or_weight_is_named(store, columns, says):
    with pytest.raises(ContrastError, match=says):
        pairs(store.run("a"), Contrast(name="w", pairs=f"select {columns} from q join k using (prompt_id)"))


@pytest.mark.parametrize("order", ["1, 2", "1 desc, 2 desc", "hash(2), hash(1)", "3, 2 desc"])
def test_a_pair_on_both_sides_is_found_in_any_order(store, order):
    both = (
        "select 7 as query_row, 1 as key_row, 1 as sign union all select 0, 31, -1 union all select 3, 9, 1 "
        "union all select 5, 2, 1 union all select 3, 9, -1 union all select 1, 30, -1"
    )
    with pytest.raises(ContrastError, match="1 pairs are positive and negative, such as query_row 3 with key_row 9"):
        pairs(store.run("a"), Contrast(name="w", pairs=f"select * from ({both}) order by {order}"))
    apart = both.replace("select 3, 9, -1", "select 9 - 6, 8, -1")
    assert len(pairs(store.run("a"), Contrast(name="w", pairs=f"select * from ({apart}) order by {order}"))) == 6
