"""SQL typed by a person: what may run gives the right answer, and all else is refused with one line that says why.

Two tables: hostile inputs, each of which must be refused, and benign ones, each of which must run. The benign table is
what shows an allow-list that refuses by accident; the control shows that the hostile one does harm where nothing guards.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import time
from decimal import Decimal as D

import duckdb
import pytest

from qkstore import grammar, guard, worker
from qkstore.errors import GuardError

SCHEMA = """
    CREATE TABLE prompt (prompt_id INTEGER, text VARCHAR, split VARCHAR, queried_order INTEGER, started DATE, cost DECIMAL(6, 2));
    INSERT INTO prompt VALUES (0, 'jam in Z', 'train', 1, '2026-01-31', 1.50), (1, 'hat in O', 'train', 2, '2026-02-01', -2.25),
                              (2, '日本 😀', 'test', 2, NULL, 3.00);
    CREATE TABLE token (prompt_id INTEGER, pos INTEGER, role VARCHAR, box VARCHAR, order_id INTEGER, span_last BOOLEAN);
    INSERT INTO token SELECT p::INTEGER, pos::INTEGER, CASE pos WHEN 4 THEN 'answer_slot' ELSE 'box' END,
        CASE WHEN pos < 4 THEN chr((65 + pos)::INTEGER) END, CASE WHEN pos < 4 THEN pos + 1 END, pos % 2 = 1
        FROM range(3) a(p), range(5) b(pos);
    CREATE TABLE key_vector (layer INTEGER, head INTEGER, "row" INTEGER, v FLOAT[4]);
    INSERT INTO key_vector SELECT 0, 0, i, [i, 1, 0, -i]::FLOAT[4] FROM range(3) r(i);
    CREATE VIEW q AS SELECT prompt_id * 5 + pos AS query_row, token.*, text, split, queried_order FROM token JOIN prompt USING (prompt_id);
    CREATE VIEW k AS SELECT prompt_id * 5 + pos AS key_row, token.*, split FROM token JOIN prompt USING (prompt_id);
    CREATE TABLE secret (x INTEGER); INSERT INTO secret VALUES (42);
"""
OPEN = ("prompt", "token", "key_vector", "q", "k")  # `secret` is there and not for users


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("guard") / "small.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(SCHEMA)
    return file


@pytest.fixture(scope="module")
def columns(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        return {t: [c[0] for c in connection.execute(f"SELECT * FROM {t} LIMIT 0").description] for t in OPEN}


def rows(table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns))) if table.num_rows else []


HOSTILE = [
    # other statements, or more than one
    "drop table q", "insert into prompt values (1)", "update prompt set text = ''", "delete from prompt", "create table t (i int)",
    "create macro m() as 1", "alter table prompt add column c int", "copy prompt to 'out.csv'", "copy prompt from '/etc/passwd'",
    "export database 'out'", "import database 'in'", "attach 'other.db'", "detach small", "use small", "pragma database_list",
    "pragma table_info('prompt')", "set threads = 8", "set variable x = 1", "reset threads", "install httpfs", "load httpfs",
    "begin", "checkpoint", "vacuum", "call pragma_version()", "explain select 1", "explain analyze select 1", "describe q", "show tables",
    "summarize prompt", "prepare p as select 1", "execute p", "select 1; drop table q", "select 1; select 2",
    "select 1 /* ; */ ; -- \n delete from prompt", "select * from q for update", "with t as (delete from q returning *) select * from t",
    "", " ", ";", "-- nothing", "selec 1", "select 'open",
    # tables that are not for users
    "select * from secret", "from secret", "table secret", 'select * from "SECRET"', "select * from main.secret",
    "select * from small.main.secret", "select * from main.q", "select * from sqlite_master", "select * from information_schema.tables",
    "select * from pg_catalog.pg_tables", "select * from pg_tables", "select * from duckdb_tables", "select * from secret as q",
    "select 1 union all select x from secret", "select (select max(x) from secret)", "select * from q where exists (from secret)",
    "select * from q join secret on true", "select 1 order by (select x from secret)", "select 1 limit (select x from secret)",
    "select count(*) filter ((select true from secret)) from q", "select * replace ((select x from secret) as text) from prompt",
    "select case when true then (select x from secret) end", "select sum(pos) over (order by (select x from secret)) from q",
    "from (values ((select x from secret)))", "select 1 group by (select x from secret)", "select * from q, lateral (from secret)",
    "ѕelect * from secret", "select * from ѕecret", "(describe secret)", "select * from (summarize secret)", "select * from (show tables)",
    # a CTE that lends its name
    "with secret as (select * from secret) from secret", "with recursive t as (select 1 union all select * from t) from t",
    "select * from (with secret as (select 1 x) from secret), secret", "with q as (select 1 as x) select * from q",
    "with a as (with secret as (select 1) from secret), b as (from secret) from b", "with b as (from a), a as (select 1) from b, secret",
    "select 1 union (with secret as (select 1 as x) from secret) union select x from secret",
    # files and functions that read
    "select * from 'other.csv'", "select * from '/etc/passwd'", "select * from \"small.duckdb\"", "select * from read_csv('/etc/passwd')",
    "select * from read_text('/etc/passwd')", "select * from read_blob('*')", "select * from read_parquet('x.parquet')",
    "select * from parquet_scan('x')", "select * from read_json('x.json')", "select * from glob('*')", "select * from sniff_csv('x')",
    "select * from query('select * from secret')", "select * from query_table('secret')", "select * from query_table(['q', 'secret'])",
    "select * from json_execute_serialized_sql(json_serialize_sql('from secret'))", "select * from duckdb_settings()",
    "select * from duckdb_secrets()", "select * from duckdb_databases()", "select * from pragma_table_info('secret')",
    "select * from pragma_storage_info('secret')", "select * from pragma_database_size()", "select * from seq_scan('secret')",
    "select * from test_all_types()", "select * from which_secret('x', 's3')", "select * from python_map_function()",
    "select getenv('HOME')", "select getvariable('x')", "select current_setting('memory_limit')", "select current_query()", "select version()",
    "select json_serialize_sql('select 1')", "select nextval('s')", "select txid_current()", "select current_database()", "select write_log('x')",
    "select pg_get_viewdef(1)", "select 'secret'::regclass", "select q.role.lower() from q", "select small.main.abs(1)",
    # cost that the text does not bound
    "select repeat('x', 1000000000)", "select lpad('x', 1000000000, 'y')", "select rpad('x', 1000000000, 'y')", "select bitstring('1', 1000000000)",
    "select '1'::bit", "select levenshtein(text, text) from q", "select damerau_levenshtein(text, text) from q", "select jaccard(text, 'a') from q",
    "select * from range(1000000000)", "select range(1000000000)", "select generate_series(1, 1000000000)", "from generate_series(1, 1000000000)",
    "select unnest(range(1000000000))", "select * from unnest([1, 2])", "select * from repeat('x', 1000000000)", "select flatten([[1]])",
    "select list_transform([1], lambda x: x + 1)", "select list_transform([1], x -> list_transform([1], y -> x + y))", "select [x for x in [1]]",
    "select list_reduce([1], (a, b) -> a + b)", "select list_aggregate([1], 'sum')", "select regexp_replace(text, '(a+)+', 'b') from q",
    "select text ~ '(a+)+$' from q", "select text similar to 'a%' from q", "select format('{:>1000000000}', 1)", "select printf('%1000000000d', 1)",
    "select replace(text, 'a', 'aaaaaaaaaa') from q", "select list_resize([1], 1000000000)", "select null::float[100000]", "select null::float[9][9]",
    "select sleep_ms(100000)", "select pg_sleep(100)", "select 1" + " + 1" * 3000, "select " + "(select " * 400 + "1" + ")" * 400,
    "select " + "[" * 900 + "]" * 900, "select 1" + " union select 1" * 2000, "select '" + "x" * 1_000_000 + "'", "select 1 as " + "x" * 21_000,
    # what the grammar has and no one here needs
    "select ?", "select $1", "select $name", "select #1 from q", "select columns('.*') from q", "select columns(c -> true) from q",
    "select * from q tablesample 10%", "select * from q using sample 1", "from q at (version => 1)", "pivot q on role using count(*)",
    "from (unpivot q on pos, prompt_id)", "select text collate nocase from q", "select {'a': 1}::json", "select 1::foo.bar", "select map {'a': 1}",
    "select 1e400",
    # characters
    "select 1\0", "select '\0'", "select 'a\x1b[31m'", "select '\x07'", "select '\ud800'", "select \x7f1",
]  # fmt: skip


@pytest.mark.parametrize("sql", HOSTILE, ids=lambda sql: repr(sql[:60]))
def test_hostile_sql_is_refused_at_once_and_in_one_line(sql, columns):
    start = time.perf_counter()
    with pytest.raises(GuardError) as refused:
        guard.select(sql, columns)
    assert time.perf_counter() - start < 1
    assert "\n" not in str(refused.value) and 10 < len(str(refused.value)) < 300


def test_control_the_hostile_table_does_harm_where_nothing_guards(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = 0
    for sql in HOSTILE:
        if not any(costly in sql for costly in ("000000", "sleep", "httpfs", " union select 1 union")):
            with duckdb.connect() as connection:
                connection.execute(SCHEMA)
                try:
                    ran += connection.execute(sql) is not None and connection.fetchall() is not None
                except (duckdb.Error, UnicodeError):
                    pass
    print(ran)
    assert ran > 80


BENIGN = [
    ("select 1", [(1,)]),
    ("select 1;", [(1,)]),
    ("select 1 -- a comment; drop table q", [(1,)]),
    ("(select 2 as x)", [(2,)]),
    ("from prompt select prompt_id order by all", [(0,), (1,), (2,)]),
    ("select -3, +4, 1.5, -1.50, 1e3, 12345678901, 12345678901234567890123", [(-3, 4, D("1.5"), D("-1.50"), 1000.0, 12345678901, D(12345678901234567890123))]),
    ("select true, false, null, not true, '', 'it''s', 'a -- b; c', '日本 😀', $$raw$$", [(True, False, None, False, "", "it's", "a -- b; c", "日本 😀", "raw")]),
    ("select date '2026-01-31', timestamp '2026-01-31 10:00:00', interval 2 day, time '10:00'", [(datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 10), (0, 2, 0), datetime.time(10))]),
    ("select [1, 2], [1.5, null], [], ['a', 'b'], [[1], [2]], {'a': 1}", [([1, 2], [D("1.5"), None], [], ["a", "b"], [[1], [2]], {"a": 1})]),
    ("select 1e-300, 0.1::double, 0.1::float, 1/3, 7 // 2, 7 % 3, 2 ** 10", [(1e-300, 0.1, pytest.approx(0.1), 1 / 3, 3, 1, 1024.0)]),
    ("select 1 + 2 * 3, (1 + 2) * 3, 10 - 4 - 3, 2 - (3 - 4), -(-1), 5 & 3, 5 | 3, 1 << 4", [(7, 9, 3, 3, 1, 1, 7, 16)]),
    ("select count(*) from q", [(15,)]),
    ("select COUNT(*) FROM Q WHERE Role = 'box'", [(12,)]),
    ("select count(*) from q where role in ('box', 'entity') and order_id between 2 and 3", [(6,)]),
    ("select count(*) from q where role not in ('box') or order_id not between 1 and 3", [(6,)]),
    ("select count(*) from q where box is null and role is not null", [(3,)]),
    ("select count(*) from q where not span_last and not (pos = 0 or pos = 2)", [(3,)]),
    ("select count(*) from q where box is distinct from 'A' and span_last is true and span_last is not false", [(6,)]),
    ("select text from prompt where text like 'j%' or text ilike 'HAT%' order by text", [("hat in O",), ("jam in Z",)]),
    ("select text from prompt where text not like '%in%'", [("日本 😀",)]),
    ("select prompt_id from prompt where cost > 1.5", [(2,)]),
    ("select prompt_id from prompt where cost < 0 or started < date '2026-02-01' order by 1", [(0,), (1,)]),
    ("select started + interval 1 month from prompt where prompt_id = 0", [(datetime.datetime(2026, 2, 28),)]),
    ("select extract(year from started), date_part('month', started), date_trunc('year', started)::date from prompt where prompt_id = 1", [(2026, 2, datetime.date(2026, 1, 1))]),
    ("select case when cost > 2 then 'dear' when cost > 0 then 'cheap' else 'gift' end from prompt order by prompt_id", [("cheap",), ("gift",), ("dear",)]),
    ("select case split when 'test' then 1 else 0 end from prompt order by prompt_id", [(0,), (0,), (1,)]),
    ("select coalesce(box, '?'), nullif(pos, 0), ifnull(order_id, -1), if(pos > 3, 'last', 'not') from q where prompt_id = 0 and pos in (0, 4) order by pos", [("A", None, 1, "not"), ("?", 4, -1, "last")]),
    ("select pos::varchar || '-' || cast(prompt_id as text), try_cast(role as int), pos::double, cost::int from token join prompt using (prompt_id) where prompt_id = 1 and pos = 2", [("2-1", None, 2.0, -2)]),
    ("select upper(text), lower(text), length(text), substr(text, 1, 3), left(text, 1), right(text, 1), trim('  a ') from prompt where prompt_id = 0", [("JAM IN Z", "jam in z", 8, "jam", "j", "Z", "a")]),
    ("select position('in' in text), substring(text from 1 for 3), text[1], text[1:3], starts_with(text, 'jam'), contains(text, 'in'), split_part(text, ' ', 3) from prompt where prompt_id = 0", [(5, "jam", "j", "jam", True, True, "Z")]),
    ("select concat(text, '!', null), concat_ws('/', 'a', 'b'), reverse('abc'), ascii('A'), strip_accents('é') from prompt where prompt_id = 0", [("jam in Z!", "a/b", "cba", 65, "e")]),
    ("select round(2.567, 1)::double, abs(-2), sqrt(9.0), floor(1.5)::int, ceil(1.5)::int, greatest(1, 3, 2), least(1, 3, 2), sign(-3)", [(2.6, 2, 3.0, 1, 2, 3, 1, -1)]),
    ("select split, count(*) as n, sum(cost), min(text), avg(queried_order) from prompt group by split having count(*) > 1", [("train", 2, D("-0.75"), "hat in O", 1.5)]),
    ("select split, count(*) from prompt group by all order by 2 desc, 1 limit 1", [("train", 2)]),
    ("select count(distinct box), count(box) filter (where pos > 1), string_agg(distinct box, ',' order by box desc) from q", [(4, 6, "D,C,B,A")]),
    ("select list(pos order by pos desc), median(pos), arg_max(box, pos), quantile_cont(pos, 0.5), mode(role), bool_or(span_last) from q where prompt_id = 0", [([4, 3, 2, 1, 0], 2.0, "D", 2.0, "box", True)]),
    ("select corr(pos, order_id), stddev_pop(pos), var_samp(pos) from q where prompt_id = 0 and pos < 4", [(pytest.approx(1.0), pytest.approx(1.118, abs=1e-3), pytest.approx(5 / 3))]),
    ("select split, grouping(split), count(*) from prompt group by rollup (split) order by 2, 1", [("test", 0, 1), ("train", 0, 2), (None, 1, 3)]),
    ("select prompt_id, row_number() over (partition by split order by cost desc) from prompt order by 1", [(0, 1), (1, 2), (2, 1)]),
    ("select sum(pos) over (order by pos rows between 1 preceding and current row), lag(pos, 1, -1) over w, first_value(box) over w, rank() over w from q where prompt_id = 0 window w as (order by pos) order by pos limit 2", [(0, -1, "A", 1), (1, 0, "A", 2)]),
    ("select box from q where prompt_id = 0 qualify row_number() over (order by pos desc) = 2", [("D",)]),
    ("select q.box, k.box from q join k on k.prompt_id = q.prompt_id and k.order_id = q.order_id + 1 where q.prompt_id = 1 order by 1", [("A", "B"), ("B", "C"), ("C", "D")]),
    ("select p.prompt_id, t.box from prompt p left join token t on t.prompt_id = p.prompt_id and t.pos = p.queried_order + 2 order by 1", [(0, "D"), (1, None), (2, None)]),
    ("select count(*) from q, k where k.prompt_id = q.prompt_id and q.role = 'answer_slot' and k.role = 'box' and k.order_id = q.queried_order", [(3,)]),
    ("select a.prompt_id from prompt a semi join token t on t.prompt_id = a.prompt_id order by 1", [(0,), (1,), (2,)]),
    ("select a.prompt_id from prompt a anti join (select 1 as prompt_id) b using (prompt_id) order by 1", [(0,), (2,)]),
    ("with boxes as (select * from token where role = 'box'), n(prompt_id, c) as (select prompt_id, count(*) from boxes group by 1) select * from n order by 1", [(0, 4), (1, 4), (2, 4)]),
    ("with a as materialized (select 1 as x) select (with b as (select x + 1 as y from a) select y from b), x from a", [(2, 1)]),
    ("with secret as (select 7 as x) select x from secret", [(7,)]),
    ("select prompt_id from prompt where cost = (select max(cost) from prompt)", [(2,)]),
    ("select prompt_id from prompt p where exists (select 1 from token t where t.prompt_id = p.queried_order and t.pos = 0) order by 1", [(0,), (1,), (2,)]),
    ("select prompt_id from prompt where prompt_id in (select queried_order from prompt) and prompt_id not in (select 2)", [(1,)]),
    ("select count(*) from token where (prompt_id, pos) in (select prompt_id, queried_order from prompt)", [(3,)]),
    ("select n from prompt p, lateral (select p.prompt_id * 2 as n) order by n desc limit 1", [(4,)]),
    ("select split from prompt union select 'dev' order by 1", [("dev",), ("test",), ("train",)]),
    ("select prompt_id from prompt except select 1 intersect select 1 order by 1", [(0,), (2,)]),
    ("select distinct split from prompt order by split desc", [("train",), ("test",)]),
    ("select distinct on (split) split, prompt_id from prompt order by split, prompt_id desc", [("test", 2), ("train", 1)]),
    ("select * exclude (text, started, cost), text as \"the text\" from prompt order by prompt_id desc limit 1", [(2, "test", 2, "日本 😀")]),
    ("select * replace (upper(split) as split) from (select prompt_id, split from prompt) order by 1 limit 1 offset 1", [(1, "TRAIN")]),
    ("select p.* from (select prompt_id, split from prompt) as p order by 1 nulls last limit 1", [(0, "train")]),
    ("select * from (values (1, 'a'), (2, 'b')) as t(x, y) order by x desc", [(2, "b"), (1, "a")]),
    ("select \"row\", v from key_vector where layer = 0 and head = 0 and \"row\" = 2", [(2, [2.0, 1.0, 0.0, -2.0])]),
    ("select array_inner_product(v, v), array_inner_product(v, [1, 2, 3, 4]::float[4]), v[1], list_sum(v::float[]) from key_vector order by \"row\" desc limit 1", [(9.0, -4.0, 2.0, 1.0)]),
    ("select array_cosine_similarity(a.v, b.v), array_distance(a.v, b.v), a.v <-> b.v from key_vector a, key_vector b where a.\"row\" = 0 and b.\"row\" = 1", [(pytest.approx(3**-0.5), pytest.approx(2**0.5), pytest.approx(2**0.5))]),
    ("select unnest(v) from key_vector where \"row\" = 1", [(1.0,), (1.0,), (0.0,), (-1.0,)]),
    ("select 2 in [1, 2], list_contains([1, 2], 3), len([1, 2, 3]), [3, 4][2], list_position(['a', 'b'], 'b'), list_sort([2, 1])", [(True, False, 3, 4, 2, [1, 2])]),
    ("select hash(pos) % 2 = hash(pos) % 2 and random() < 1 from q limit 1", [(True,)]),
    ("select x: 1, 'a' as \"weird \"\"name\"\"\"", [(1, "a")]),
    ("select 1 where null is null and 1 = any(select 1) and 2 > all(select 1)", [(1,)]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "answer"), BENIGN, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_benign_sql_gives_the_right_answer(sql, answer, path, columns):
    assert rows(worker.query(path, guard.select(sql, columns))) == answer


def test_the_tables_are_as_large_as_promised():
    assert len(HOSTILE) >= 60 and len(BENIGN) >= 40 and len(set(HOSTILE)) == len(HOSTILE)


def test_what_is_rebuilt_holds_nothing_that_was_not_parsed(columns):
    rebuilt = guard.select("select /* hidden */ 1 -- more", columns)
    assert "hidden" not in rebuilt and "more" not in rebuilt and guard.select(rebuilt, columns) == rebuilt


def test_every_allowed_function_exists_and_none_is_known_to_reach_out_or_to_run_on():
    known = {name for (name,) in duckdb.connect().execute("SELECT function_name FROM duckdb_functions()").fetchall()}
    assert not grammar.ALLOWED - known
    banned = ("read_", "regexp", "duckdb_", "pragma_", "levenshtein", "pad", "pg_", "json", "current_", "range", "setting", "sleep", "transform")
    assert not [name for name in grammar.ALLOWED for part in banned if part in name]


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


PREDICATES = [
    ("k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot' and k.order_id = q.queried_order", 3),
    ("q.query_row = 0", 15),
    ("K.Prompt_ID = Q.prompt_id and q.pos = 0 -- same prompt", 15),
    ("true", 225),
    ("q.pos = 0 and k.box in ('A', 'B') or q.pos = 1 and not k.span_last and k.pos = 4", 18 + 9),
    ("q.pos = 0 and q.prompt_id = 0 and k.order_id between 2 and 3", 6),
    ("q.prompt_id = 0 and q.pos = 4 and hash(k.key_row) = hash(k.key_row)", 15),
    ("q.query_row = (select min(p.prompt_id) from prompt as p)", 15),
    ("q.query_row = 4 and exists (select 1 from k as other where other.key_row = k.key_row + 1 and other.prompt_id = k.prompt_id)", 12),
    ("q.query_row = 4 and k.prompt_id in (select p.prompt_id from prompt as p where p.split = q.split)", 10),
    ("q.text = '日本 😀' and k.pos + 1 = 1", 15),
    ("q.text like 'jam%' and q.pos = 4 and case when k.pos > 2 then k.split = 'test' else k.split <> 'test' end", 8),
]


@pytest.mark.parametrize(("text", "n"), PREDICATES)
def test_a_condition_selects_the_right_pairs(text, n, path, columns):
    sql = f"SELECT count(*) FROM q, k WHERE {guard.predicate(text, columns)} AND true"
    assert rows(worker.query(path, sql)) == [(n,)]


HOSTILE_PREDICATES = [
    "1=1) UNION ALL SELECT * FROM secret --", "1=1) UNION ALL SELECT * FROM secret; --", "true) or (true", "true UNION ALL SELECT 1, 2",
    "true; select 1", "true; drop table q", "true limit 1", "true order by 1", "true group by all", "true having true", "true offset 1",
    "true qualify true", "true using sample 1", "true intersect select 1", "", "  ", "--", "/*", "true /*", "'", "(", ")",
    "q.pos = ?", "q.pos = $1", "#1 = 1", "columns(*) = 1", "q.* = 1", "*", "exists (from secret)", "(select x from secret) = 42",
    "q.pos in (select secret.x from secret)", "q.pos in (with secret as (select 1 x) select secret.x from secret)  and (select secret.x from secret) = 42",
    "exists (select 1 from read_csv('/etc/passwd') as f)", "exists (select 1 from 'x.csv' as f)", "exists (select 1 from range(1000000000) as r)",
    "count(*) > 1", "sum(k.pos) > 1", "row_number() over () = 1", "random() < 0.5", "unnest([true])", "getenv('HOME') = ''", "repeat('x', 1000000000) = ''",
    "current_setting('threads') = '1'", "list_transform([1], x -> x) = [1]", "q.text ~ '(a+)+$'", "q.pos::regclass = 1", "q.role.lower() = 'a'",
    "pos = 1", "role = 'box'", "q.catgory = 'x'", "z.pos = 1", "secret.x = 42", "main.q.pos = 1", "q.pos.x = 1", "k.role = \"box\"",
    "exists (select 1 from q)", "exists (select 1 from token as k)", "exists (select 1 from token where prompt_id = 1)",
    "exists (select 1 from token as t where t.nothing = 1)", "q.pos = 1\0", "q.pos = 1" + " + 1" * 2000, "q.role = '" + "x" * 30_000 + "'",
]  # fmt: skip


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
        ("random() < 1", "random() is not possible in a condition"),
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
    assert guard.tree("k.pos = 1")["type"] == "COMPARE_EQUAL"
    assert guard.expression(guard.tree("k.pos = 1 and q.pos=2")) == "((k.pos = 1) AND (q.pos = 2))"


def test_eight_threads_get_their_own_answers(columns):
    def rebuilt(i: int) -> str:
        return guard.predicate(f"k.pos = {i}", columns)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(rebuilt, range(400))) == [f"((k.pos = {i}))" for i in range(400)]
