"""Pairs of tables with millions of rows, where DuckDB itself would never end."""

from __future__ import annotations

import duckdb
import pytest

from qkstore.contrast import Contrast
from qkstore.contrast.selection import gathered
from qkstore.sql import worker

ROWS, TOKENS = 8 << 20, 512
BEFORE = Contrast(
    name="tokens before",
    where="k.prompt_id = q.prompt_id and q.pos % 64 = 63",
    positive="k.pos = q.pos - 1",
    negative="k.pos < q.pos - 1 and k.pos >= q.pos - 10",
)
COLUMNS = {side: [row, "prompt_id", "pos"] for side, row in (("q", "query_row"), ("k", "key_row"))}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("many") / "run.duckdb"
    with duckdb.connect(str(file)) as con:
        for side, (row, prompt, pos) in COLUMNS.items():
            places = f"(i // {TOKENS})::INTEGER AS {prompt}, (i % {TOKENS})::INTEGER AS {pos}"
            con.execute(f"CREATE TABLE {side} AS SELECT i::INTEGER AS {row}, {places} FROM range({ROWS}) AS t(i)")
    return file


def test_pairs_of_eight_million_rows_are_all_there(path):
    """With DuckDB 1.5.5 the SQL as it is does not end: the two sides, each a join, come as one UNION ALL."""
    found = worker.query(path, gathered(BEFORE.sql(COLUMNS)), limit_s=60, max_rows=20_000_000)
    queries = ROWS // 64
    assert found.num_rows == queries * 10
    signs = found.column("sign").to_numpy()
    assert ((signs > 0).sum(), (signs < 0).sum()) == (queries, 9 * queries)
    distance = found.column("query_row").to_numpy() - found.column("key_row").to_numpy()
    assert (distance[signs > 0] == 1).all()
    assert (distance[signs < 0].min(), distance[signs < 0].max()) == (2, 10)


def test_more_than_may_be_gathered_are_cut_where_they_were(path):
    every = BEFORE.replace(where="true", negative="k.pos <> q.pos - 1").sql(COLUMNS)
    found = worker.query(path, gathered(every), limit_s=60, max_rows=20_000_000)
    assert worker.truncated(found)
    assert found.num_rows == 20_000_000
