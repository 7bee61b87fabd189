"""What gives other rows at another reading is no contrast: it is refused, with what to write instead."""

from __future__ import annotations

import pytest
from queries import columns_of, made

from qkstore.errors import GuardError
from qkstore.sql import guard, worker

UNSTABLE = {  # a SELECT: what its refusal says
    "select pos from q where random() < 0.5": "random() is another value at each reading",
    "select pos from q limit 5": "LIMIT without ORDER BY",
    "select pos from q limit 10%": "LIMIT without ORDER BY",
    "select * from (select pos from q limit 5) order by 1": "LIMIT without ORDER BY",
    "with t as (select pos from q offset 3) select * from t order by 1": "LIMIT without ORDER BY",
    "(select pos from q limit 3) union all select 1": "LIMIT without ORDER BY",
    "select distinct on (role) role, pos from q": "DISTINCT ON without ORDER BY",
    "select row_number() over () from q": "row_number() needs an order",
    "select pos from q qualify row_number() over (partition by role) = 1": "row_number() needs an order",
    "select first_value(pos) over (partition by role) from q": "first_value() needs an order",
    "select lag(pos) over () from q": "lag() needs an order",
    "select ntile(2) over () from q": "ntile() needs an order",
    "select first(pos) from q": "first() is of the order in which rows happen to come",
    "select any_value(pos) from q group by role": "any_value() is of the order",
    "select last(pos) from q": "last() is of the order",
    "select arbitrary(pos) from q": "arbitrary() is of the order",
    "select list(pos)[1] from q": "list() is of the order",
    "select array_agg(pos)[1] from q": "array_agg() is of the order",
    "select string_agg(role, ',') from q": "string_agg() is of the order",
    "select approx_quantile(pos, 0.5) from q": "approx_quantile() is of the order",
    "select pos from q using sample 3": "a sample is another at each reading",
    "select pos from q using sample reservoir(3 rows)": "a sample is another at each reading",
    "select pos from q tablesample 10%": "a sample is another at each reading",
    "select age(timestamp '2020-01-01') from q": "age() is another value at each reading",
}

STABLE = [
    "select pos from q order by query_row limit 5",
    "select distinct on (role) role, pos from q order by role, query_row",
    "select row_number() over (order by query_row) n from q order by n",
    "select sum(pos) over (partition by role) s, query_row from q order by query_row",
    "select list(pos order by query_row), string_agg(role, ',' order by query_row) from q",
    "select first(pos order by query_row), min(pos), max(box), mode(role) from q",
    "select query_row from q where hash(query_row) % 3 = 0 order by 1",
    "select count(*) from (select pos from q using sample reservoir(5 rows) repeatable (7))",
    "select age(timestamp '2020-01-02', timestamp '2020-01-01')",
    "select distinct role from q order by role",
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return made(tmp_path_factory.mktemp("stability") / "small.duckdb")


@pytest.fixture(scope="module")
def columns(path):
    return columns_of(path)


@pytest.mark.parametrize(("sql", "words"), UNSTABLE.items())
def test_what_may_differ_is_refused_for_a_contrast_and_not_for_a_look(sql, words, columns):
    with pytest.raises(GuardError) as refused:
        guard.select(sql, columns, stable=True)
    assert words in str(refused.value)
    assert guard.select(sql, columns)


@pytest.mark.parametrize("sql", STABLE)
def test_what_has_an_order_is_the_same_at_every_reading(sql, path, columns):
    rebuilt = guard.select(sql, columns, stable=True)
    first = worker.query(path, rebuilt)
    assert first.num_rows
    assert all(worker.query(path, rebuilt).equals(first) for _ in range(5))


@pytest.mark.parametrize(("sql", "words"), UNSTABLE.items())
def test_a_condition_is_stable_within_its_sub_queries_too(sql, words, columns):
    inner = sql.replace(" q", " token").replace("query_row", "pos")
    with pytest.raises(GuardError):
        guard.predicate(f"exists ({inner})", columns)
