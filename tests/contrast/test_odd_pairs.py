"""A contrast's own SELECT: its columns in any letters, and values of every type as one line."""

from __future__ import annotations

import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError, GuardError

SIGN = "case when k.order_id = q.queried_order then 1 else -1 end"
FROM = "from q join k using (prompt_id)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "a", data=synthetic(16))
    return qkstore.open(path).run("a")


@pytest.mark.parametrize("weight", ["", ", 2 as weight", ", 2 as WEIGHT"])
@pytest.mark.parametrize(
    ("query", "key", "sign"),
    [("query_row", "key_row", "sign"), ("QUERY_ROW", "Key_Row", "SIGN"), ("query_row", '"KEY_ROW"', '"Sign"')],
)
@pytest.mark.parametrize("split", [None, "test"])
def test_columns_may_be_written_in_any_letters(run, query, key, sign, weight, split):
    plain = pairs(run, Contrast("x", pairs=f"select q.query_row, k.key_row, {SIGN} as sign {FROM}"), split)
    select = f"select q.query_row as {query}, k.key_row as {key}, {SIGN} as {sign}{weight} {FROM}"
    found = pairs(run, Contrast("x", pairs=select), split)
    assert found.counts == plain.counts
    assert set(found.weight) == {2.0 if weight else 1.0}


@pytest.mark.parametrize(
    "value",
    [
        "TIME '24:00:00'", "interval 1 month", "'infinity'::timestamp", "'0044-03-15 (BC)'::date", "true", "[1]",
        "{'a': 1}", "'1'", "'a'::blob", "340282366920938463463374607431768211455::uhugeint", "'nan'::double",
        "18446744073709551615::ubigint", "null", "1.5::double",
    ],
)  # fmt: skip
def test_what_is_no_sign_and_no_row_is_one_line(run, value):
    for columns in (f"q.query_row, k.key_row, {value} as sign", f"{value} as query_row, k.key_row, {SIGN} as sign"):
        with pytest.raises((ContrastError, GuardError)) as error:
            pairs(run, Contrast("x", pairs=f"select {columns} {FROM}"))
        assert "\n" not in str(error.value)


def test_a_column_that_is_missing_is_named(run):
    with pytest.raises(GuardError, match="sign"):
        pairs(run, Contrast("x", pairs=f"select q.query_row, k.key_row, 1 as sing {FROM}"))
