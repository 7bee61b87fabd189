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


SHAPES = {  # every clause that a SELECT may end in, and what is written around one
    "select order_id as a from k limit 0": [],
    "select distinct order_id as a from k order by order_id limit 2": [1, 2],
    "select distinct order_id as a from k order by order_id desc limit 2 offset 1": [3, 2],
    "select distinct order_id as a from k order by 1 offset 2": [3, 4],
    "select distinct order_id as a from k order by all limit 1": [1],
    "select order_id as a from k where order_id < 3 group by order_id having count(*) > 1 order by a": [1, 2],
    "select 2 as a union select 1 order by a": [1, 2],
    "select 2 as a union all select 1 union all select 2 order by 1 limit 2": [1, 2],
    "(select 2 as a limit 1) union all (select 1 order by 1) limit 2": [2, 1],
    "select 1 as a except select 2": [1],
    "select 1 as a intersect select 1 limit 3": [1],
    "with t as (select order_id as a from k limit 9) select distinct a from t where a < 0 order by a": [],
    "with t as (select distinct order_id as a from k), u as (from t) select a from u order by a limit 1": [1],
    "from k select distinct order_id as a order by a limit 1": [1],
    "select * from (values (2), (1)) as t(a) order by a": [1, 2],
    "(select 1 as a)": [1],
    "select 1 as a;": [1],
    "select 1 as a ; ": [1],
    "select 1 as a limit 1;": [1],
    "select 1 as a -- x": [1],
    "select 1 as a limit 1 -- x": [1],
    "select 1 as a; -- x": [1],
    "select 1 as a /* x */ limit 1 /* y */;": [1],
    "-- x\nselect 1 as a\nlimit 1\n-- y\n": [1],
}


@pytest.mark.parametrize(("select", "values"), SHAPES.items())
def test_a_select_may_end_in_any_clause_semicolon_or_comment(store, capsys, select, values):
    assert main(["sql", "--store", str(store), "--run", "a", select]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"columns": ["a"], "rows": [[value] for value in values], "truncated": False}


@pytest.mark.parametrize("end", ["limit 1", "order by 1", "order by 1 offset 0", "union select '2026-01-02', 1, 1", ""])
def test_names_and_types_that_json_has_not_stay_whatever_the_select_ends_in(store, capsys, end):
    select = f"select date '2026-01-02' as a, 1 as A, 1::hugeint as a {end}"
    assert main(["sql", "--store", str(store), "--run", "a", select]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"columns": ["a", "A", "a_1"], "rows": [["2026-01-02", 1, 1]], "truncated": False}


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
