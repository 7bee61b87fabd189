"""SQL typed by a person: what may run gives the right answer, and all else is refused with one line that says why.

Hostile inputs (hostile.py) must be refused, benign ones (queries.py) must run. Only the benign ones show an allow-list
that refuses by accident; the controls show that the hostile ones do harm where nothing guards.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import time
from pathlib import Path

import duckdb
import pytest
from benign import ANALYSES, PAIRED
from hostile import COSTLY, DEAR, HOSTILE, HOSTILE_PREDICATES
from queries import BENIGN, PREDICATES, SCHEMA, columns_of, made

from qkstore.errors import GuardError
from qkstore.sql import grammar, guard, syntax, worker


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return made(tmp_path_factory.mktemp("guard") / "small.duckdb")


@pytest.fixture(scope="module")
def columns(path):
    return columns_of(path)


def rows(table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns))) if table.num_rows else []


@pytest.mark.parametrize("sql", HOSTILE + COSTLY, ids=lambda sql: repr(sql[:60]))
def test_hostile_sql_is_refused_at_once_and_in_one_line(sql, columns):
    start = time.process_time()  # of this process alone: the machine may have other things to do
    with pytest.raises(GuardError) as refused:
        guard.select(sql, columns)
    assert time.process_time() - start < 1
    assert "\n" not in str(refused.value)
    assert 10 < len(str(refused.value)) < 300


@pytest.mark.parametrize("sql", DEAR, ids=lambda sql: repr(sql[:60]))
def test_dear_sql_is_stopped_at_its_limit_and_costs_this_process_nothing(sql, path, columns):
    rebuilt, before = guard.select(sql, columns), resident()
    start = time.monotonic()
    with pytest.raises(GuardError, match="stopped after 1 s|needs more than|is larger than|ended its process") as said:
        worker.query(path, rebuilt, limit_s=1, memory="200MB")
    assert time.monotonic() - start < 20, "without the limit it takes minutes; a process may have to start for it"
    assert resident() - before < 20 << 20
    assert "\n" not in str(said.value)


def resident() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_control_the_hostile_table_does_harm_where_nothing_guards(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = 0
    for sql in HOSTILE:
        if "httpfs" not in sql:  # would ask the network
            with duckdb.connect() as connection:
                connection.execute(SCHEMA)
                with contextlib.suppress(duckdb.Error, UnicodeError):
                    ran += connection.execute(sql) is not None and connection.fetchall() is not None
    assert ran > 80


@pytest.mark.parametrize(
    ("sql", "answer"), BENIGN + ANALYSES, ids=lambda value: value[:60] if isinstance(value, str) else ""
)
def test_benign_sql_gives_the_right_answer(sql, answer, path, columns):
    assert rows(worker.query(path, guard.select(sql, columns))) == answer


def test_the_tables_are_as_large_as_promised():
    assert len(set(HOSTILE)) >= 60
    assert len({sql for sql, _ in BENIGN + ANALYSES + PREDICATES + PAIRED}) >= 150


def test_what_is_rebuilt_holds_nothing_that_was_not_parsed(columns):
    rebuilt = guard.select("select /* hidden */ 1 -- more", columns)
    assert "hidden" not in rebuilt
    assert "more" not in rebuilt
    assert guard.select(rebuilt, columns) == rebuilt


def test_every_allowed_function_exists_and_none_is_known_to_reach_out():
    known = {name for (name,) in duckdb.connect().execute("SELECT function_name FROM duckdb_functions()").fetchall()}
    assert not grammar.ALLOWED - known
    banned = "read_ duckdb_ pragma_ pg_ json current_ setting sleep env secret query glob".split()
    assert not [name for name in grammar.ALLOWED for part in banned if part in name]


@pytest.mark.parametrize("name", sorted(grammar.CALLED_BY_NAME))
def test_a_function_that_is_called_by_its_name_alone_is_no_column(name, columns):
    for text in (f"select {name}", f'select "{name.upper()}" from q', f"select max({name}) from q group by {name}"):
        with pytest.raises(GuardError, match=f"(?i){name} is a function, .* a column is written table.{name}"):
            guard.select(text, columns)
    assert guard.select(f"select t.{name} from (select 1 as {name}) as t", columns)
    own = columns | {"q": [*columns["q"], name]}
    assert guard.select(f"select {name} from q", own)
    with pytest.raises(GuardError, match="is a function"):
        guard.select(f"select {name} from q", own, stable=True)


def test_no_other_name_calls_a_function():
    """Of all that DuckDB has; true and false are values."""
    with duckdb.connect() as con:
        names = con.execute(
            "SELECT function_name FROM duckdb_functions() UNION SELECT keyword_name FROM duckdb_keywords()"
        )
        called = set()
        for (name,) in names.fetchall():
            with contextlib.suppress(duckdb.Error):
                con.execute(f'SELECT "{name.replace(chr(34), chr(34) * 2)}" FROM (SELECT 1 AS x)')
                called.add(name)
    assert called <= grammar.CALLED_BY_NAME


def test_messages_name_the_thing_and_what_is_possible(columns):
    for sql, words in [
        ("select * from tokens", "no table 'tokens': did you mean 'token'"),
        ("select lenght(text) from prompt", "no function 'lenght' here: did you mean 'length'"),
        ("select 1; select 2", "one statement is expected, there are 2"),
        ("drop table q", "only one SELECT is possible here"),
        ("select * frm prompt", 'syntax error at or near "prompt" (character 14)'),
        ("select * from read_csv('x')", "the table function read_csv() is not possible here"),
        ("select 'x'::regclass", "the type regclass is not possible here"),
        ("with q as (select 1) from q", "WITH q: a table has that name"),
        ("select '\0'", "control character U+0000 at character 9"),
        ("select " + "x" * 30_000, "30,007 characters; 20,000 are allowed"),
    ]:
        with pytest.raises(GuardError) as refused:
            guard.select(sql, columns)
        assert words in str(refused.value)


# ---- conditions over q and k


@pytest.mark.parametrize(("text", "n"), PREDICATES + PAIRED)
def test_a_condition_selects_the_right_pairs(text, n, path, columns):
    sql = f"SELECT count(*) FROM q, k WHERE {guard.predicate(text, columns)} AND true"
    assert rows(worker.query(path, sql)) == [(n,)]


@pytest.mark.parametrize("text", HOSTILE_PREDICATES, ids=lambda text: repr(text[:60]))
def test_a_hostile_condition_is_refused(text, columns):
    with pytest.raises(GuardError) as refused:
        guard.predicate(text, columns)
    assert "\n" not in str(refused.value)


def test_control_pasting_a_condition_would_leak(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        pasted = f"SELECT k.pos FROM q, k WHERE ({HOSTILE_PREDICATES[0]})"
        assert (42,) in connection.execute(pasted).fetchall()


def test_a_condition_s_message_names_the_column_and_near_ones(columns):
    for text, words in [
        ("k.ordre_id = 1", "no column 'ordre_id' in k: did you mean 'order_id'? there are: box, key_row"),
        ("kk.pos = 1", "no alias 'kk': did you mean 'k'? there are: k, q"),
        ("pos = 1", "which pos? write q.pos or k.pos"),
        ("queried_order = 1", "which queried_order? write q.queried_order"),
        ("k.role = box", "which box? write q.box or k.box"),
        ("k.role = entity", "texts are written in single quotes: 'entity'"),
        ("count(*) > 1", "reads many rows"),
        ("random() < 1", "random() is another value at each reading"),
        ("true limit 1", "one condition is expected here"),
        ("k.pos = = 1", 'syntax error at or near "=" (character 9)'),
        ("exists (select 1 from q)", "q is the pair's own here"),
    ]:
        with pytest.raises(GuardError) as refused:
            guard.predicate(text, columns)
        assert words in str(refused.value)


def test_columns_used_are_those_of_the_pair_also_within_sub_queries():
    text = "Q.role = 'x' and k.pos = 1 and exists (select 1 from token as t where t.pos = k.order_id)"
    assert guard.columns_used(text) == {("q", "role"), ("k", "pos"), ("k", "order_id")}
    assert guard.columns_used("true") == set()


def test_the_tree_is_the_condition_s_own():
    assert syntax.condition("k.pos = 1")["type"] == "COMPARE_EQUAL"
    assert syntax.expression(syntax.condition("k.pos = 1 and q.pos=2")) == "((k.pos = 1) AND (q.pos = 2))"


def test_eight_threads_get_their_own_answers(columns):
    def rebuilt(i: int) -> str:
        return guard.predicate(f"k.pos = {i}", columns)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(rebuilt, range(400))) == [f"((k.pos = {i}))" for i in range(400)]
