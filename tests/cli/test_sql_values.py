"""What `qkstore sql` prints of values that Python, Arrow or JSON have not: each as DuckDB means it, in one line."""

from __future__ import annotations

import json

import pytest
from synthetic import synthetic, write

from qkstore.__main__ import main
from qkstore.cli.answer import _plain, answer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "a", data=synthetic(64))
    return path


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("'infinity'::timestamp", "infinity"),
        ("'-infinity'::date", "-infinity"),
        ("'infinity'::timestamptz", "infinity"),
        ("'0044-03-15 (BC)'::date", "0044-03-15 (BC)"),
        ("'290000-01-01'::timestamp", "290000-01-01 00:00:00"),
        ("['infinity'::date, null]", ["infinity", None]),
        ("TIME '24:00:00'", "24:00:00"),
        ("{'a': TIME '24:00:00'}", {"a": "24:00:00"}),
        ("interval '1 month 3 days'", "1 month 3 days"),
        ("340282366920938463463374607431768211455::uhugeint", 2**128 - 1),
        ("170141183460469231731687303715884105727::hugeint", 2**127 - 1),
        ("[1::uhugeint]", [1]),
        ("18446744073709551615::ubigint", 2**64 - 1),
        ("1.50::decimal(38, 2)", 1.5),
        ("'ab'::blob", "ab"),
        ("null::timestamp", None),
        ("date '2026-01-02'", "2026-01-02"),
        ("timestamp '2026-01-02 10:00:00.5'", "2026-01-02 10:00:00.5"),
        ("'nan'::double", None),
        ("[1.5::double, 'inf'::double]", [1.5, None]),
        ("0.1::double", 0.1),
        ("true", True),
        ("'text'", "text"),
    ],
)
def test_a_value_is_printed_as_it_is_meant(store, capsys, value, printed):
    assert main(["sql", "--store", str(store), "--run", "a", f"select {value} as a, 1 as A"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"columns": ["a", "A"], "rows": [[printed, 1]], "truncated": False}
    assert not err


def test_sums_are_numbers_and_the_order_of_rows_stays(store, capsys):
    select = (
        "select order_id, sum(pos) as total, sum(pos * 1.5) as half, count(*) as n from k group by 1 order by 2 desc"
    )
    assert main(["sql", "--store", str(store), "--run", "a", select]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    totals = [row[1] for row in rows]
    assert totals == sorted(totals, reverse=True)
    assert all(type(total) is int and half == 1.5 * total and n == 64 for _, total, half, n in rows)


def test_a_cut_answer_says_so_in_either_way_of_reading(store):
    path = store / "runs" / "a.duckdb"
    for select in ("SELECT pos FROM k", "SELECT pos::HUGEINT AS pos FROM k"):
        told = answer(path, select, 10, 5)
        assert (len(told["rows"]), told["truncated"]) == (5, True)


def test_a_number_of_more_digits_than_python_reads_is_its_digits(store):
    digits = "9" * 6000
    (row,) = answer(store / "runs" / "a.duckdb", f"SELECT '{digits}'::BIGNUM AS a", 10, 5)["rows"]
    assert row == [digits]


def test_the_types_that_stay_are_those_that_python_has():
    import pyarrow as pa

    assert all(map(_plain, (pa.int64(), pa.float32(), pa.string(), pa.bool_(), pa.list_(pa.float32()), pa.null())))
    assert not any(map(_plain, (pa.decimal128(38), pa.date32(), pa.timestamp("us"), pa.list_(pa.time64("us")))))
    assert not any(map(_plain, (pa.binary(), pa.struct([("a", pa.date32())]), pa.month_day_nano_interval())))
