"""SQL that must be refused: over the run-like database of queries.py, where `secret` is not for users."""

from __future__ import annotations


def nested(n: int, case: str = "case", whens: int = 2) -> str:
    """A simple CASE in the operand of another, n deep: each level doubles the text that the parser writes out."""
    text = "1"
    for _ in range(n):
        text = f"{case} {text} {' '.join(f'when {i} then {i}' for i in range(whens))} end"
    return text


def terms(n: int) -> str:
    return ", ".join(f"pos + {i}" for i in range(n))


HOSTILE = [
    # other statements, or more than one
    "drop table q", "insert into prompt values (1)", "update prompt set text = ''", "delete from prompt",
    "create table t (i int)", "create macro m() as 1", "alter table prompt add column c int",
    "copy prompt to 'out.csv'", "copy prompt from '/etc/passwd'", "export database 'out'", "import database 'in'",
    "attach 'other.db'", "detach small", "use small", "pragma database_list", "pragma table_info('prompt')",
    "set threads = 8", "set variable x = 1", "reset threads", "install httpfs", "load httpfs", "begin", "checkpoint",
    "vacuum", "call pragma_version()", "explain select 1", "explain analyze select 1", "describe secret",
    "show all tables", "summarize secret", "show databases", "describe", "show secret", "prepare p as select 1",
    "execute p", "select 1; drop table q", "select 1; select 2",
    "select 1 /* ; */ ; -- \n delete from prompt", "select * from q for update",
    "with t as (delete from q returning *) select * from t", "", " ", ";", "-- nothing", "selec 1", "select 'open",
    # tables that are not for users
    "select * from secret", "from secret", "table secret", 'select * from "SECRET"', "select * from main.secret",
    "select * from small.main.secret", "select * from main.q", "select * from sqlite_master",
    "select * from information_schema.tables", "select * from pg_catalog.pg_tables", "select * from pg_tables",
    "select * from duckdb_tables", "select * from secret as q", "select 1 union all select x from secret",
    "select (select max(x) from secret)", "select * from q where exists (from secret)",
    "select * from q join secret on true", "select 1 order by (select x from secret)",
    "select 1 limit (select x from secret)", "select count(*) filter ((select true from secret)) from q",
    "select * replace ((select x from secret) as text) from prompt",
    "select case when true then (select x from secret) end",
    "select sum(pos) over (order by (select x from secret)) from q", "from (values ((select x from secret)))",
    "select 1 group by (select x from secret)", "select * from q, lateral (from secret)",
    "ѕelect * from secret",  # noqa: RUF001 -- not an s, that is the attack
    "select * from ѕecret",  # noqa: RUF001 -- nor is this one
    "(describe secret)", "select * from (summarize secret)", "select * from (show tables)",
    # a CTE that lends its name
    "with secret as (select * from secret) from secret",
    "select * from (with secret as (select 1 x) from secret), secret", "with q as (select 1 as x) select * from q",
    "with a as (with secret as (select 1) from secret), b as (from secret) from b",
    "with b as (from a), a as (select 1) from b, secret",
    "select 1 union (with secret as (select 1 as x) from secret) union select x from secret",
    # files and functions that read
    "select * from 'other.csv'", "select * from '/etc/passwd'", "select * from \"small.duckdb\"",
    "select * from read_csv('/etc/passwd')", "select * from read_text('/etc/passwd')",
    "select * from read_blob('*')", "select * from read_parquet('x.parquet')", "select * from parquet_scan('x')",
    "select * from read_json('x.json')", "select * from glob('*')", "select * from sniff_csv('x')",
    "select * from query('select * from secret')", "select * from query_table('secret')",
    "select * from query_table(['q', 'secret'])",
    "select * from json_execute_serialized_sql(json_serialize_sql('from secret'))",
    "select * from duckdb_settings()", "select * from duckdb_secrets()", "select * from duckdb_databases()",
    "select * from pragma_table_info('secret')", "select * from pragma_storage_info('secret')",
    "select * from pragma_database_size()", "select * from seq_scan('secret')", "select * from test_all_types()",
    "select * from which_secret('x', 's3')", "select * from python_map_function()", "select getenv('HOME')",
    "select getvariable('x')", "select current_setting('memory_limit')", "select current_query()",
    "select version()", "select json_serialize_sql('select 1')", "select nextval('s')", "select txid_current()",
    "select current_database()", "select write_log('x')", "select pg_get_viewdef(1)", "select 'secret'::regclass",
    "select q.role.getenv() from q", "select system.getenv('HOME')",
    # what the grammar has and no one here needs
    "select ?", "select $1", "select $name", "select #1 from q",
    "from q at (version => 1)", "pivot q on role using count(*)",
    "select text collate nocase from q", "select {'a': 1}::json", "select 1::foo.bar",
    "select 1e400",
    # what hides in lambdas, samples, pivots, table functions and methods
    "select list_transform([1], (select x from secret) -> 1)", "select list_transform([1], x -> getenv('HOME'))",
    "select list_transform([1], x -> (select max(x) from secret))", "select (select x from secret) -> 'a'",
    "select list_reduce([1], row(a, b) filter ((select true from secret)) -> a)",
    "select [x for x in (select list(x) from secret)]", "select [x for x in [1] if (select true from secret)]",
    "from secret pivot (count(*) for x in (1, 2))", "from q pivot (count(*) for role in (select x from secret))",
    "from q pivot (max((select x from secret)) for role in ('a'))", "from (unpivot secret on x)",
    "pivot secret on x in (1) using count(*)", "pivot q on role in (getenv('HOME')) using count(*)",
    "select * from unnest((select list(x) from secret))", "from range((select x from secret))",
    "from generate_series(1, getenv('HOME')::int)", "from read_text('/etc/passwd') with ordinality",
    "select * from duckdb_tables() with ordinality", "from (summarize (select x from secret))",
    "describe (select getenv('HOME'))", "select columns(c -> getenv(c)) from q", "select columns(*) from secret",
    "select columns(list_filter((select list(x::varchar) from secret), c -> true)) from q",
    "select (select x from secret).lower()", "from q using sample (select x from secret)",
    "select 1 = any((select list(x) from secret))", "select 1 in (values ((select x from secret)))",
    "select map {'a': (select x from secret)}", "select list_aggregate([1], 'sum')",
    # characters
    "select 1\0", "select '\0'", "select 'a\x1b[31m'", "select '\x07'", "select '\ud800'", "select \x7f1",
]  # fmt: skip

COSTLY = [  # refused before, or while, they are read
    "select bitstring('1', 1000000000)", "select '1'::bit", "select null::float[100000]", "select null::float[9][9]",
    "select sleep_ms(100000)", "select pg_sleep(100)", "select * from repeat('x', 1000000000)",
    "select 1" + " + 1" * 250, "select 1" + " + 1" * 3000, "select " + "(select " * 400 + "1" + ")" * 400,
    "select " + "[" * 900 + "]" * 900, "select " + "not " * 4000 + "true",
    "select 1" + " union select 1" * 2000, "select '" + "x" * 1_000_000 + "'", "select 1 as " + "x" * 21_000,
    "with recursive t as (select 1 union all select * from t) from t",
    *(f"select {nested(n)}" for n in (12, 14, 17, 60)), f"select {nested(17, 'case /**/')}",
    f"select {nested(17, 'CASE --' + chr(10))}", f"select {nested(6, whens=9)}",
    *(f"select 1 from q group by rollup ({terms(n)})" for n in (60, 300, 1500)),
    *(f"select 1 from q group by cube ({terms(n)})" for n in (11, 15, 25, 300)),
    f"select 1 from q group by {', '.join(['cube (pos, role, box, prompt_id)'] * 4)}",
    f"select 1 from q group by {', '.join(['rollup (pos, role, box)'] * 7)}",
    f"select 1 from q group by grouping sets ({', '.join(['cube (pos, role, box)'] * 3)}), cube ({terms(6)})",
    f"select 1 from q group by grouping sets ({', '.join(['(pos)'] * 2000)})",
]  # fmt: skip

DEAR = [  # they may run, and are stopped at their limit of time or memory
    "select length(repeat('x', 2000000000))", "select length(lpad('x', 2000000000, 'y'))",
    "select length(rpad('x', 2000000000, 'y'))", "select length(repeat(repeat('x', 60000), 60000))",
    "select count(*) from range(1000000000000) a where a.range % 7 = 8", "select len(range(3000000000))",
    "select count(*) from generate_series(1, 100000000000)", "select len(generate_series(1, 3000000000))",
    "select count(*) from (select unnest(range(1000000)) from q a, q b, q c)",
    "select levenshtein(repeat('ab', 200000), repeat('ba', 200000))",
    "select damerau_levenshtein(repeat('ab', 20000), repeat('ba', 20000))",
    "select len(list_transform(range(100000), x -> list_sum(list_transform(range(100000), y -> x + y))))",
    "select list_reduce(range(100000000), (a, b) -> a + b)",
    "select len(list_filter(range(100000000), x -> x % 3 = 0 and sqrt(x) > 7))",
    "select len([x for x in range(200000000) if x > 1])",
    "select length(regexp_replace(repeat('a', 100000000), '(a+)+$', 'b', 'g'))",
    "select length(format('{:>2000000000}', 1))", "select length(printf('%2000000000d', 1))",
    "select length(replace(repeat('a', 100000000), 'a', repeat('b', 1000)))",
    "select len(list_resize([1], 3000000000))", "select len(flatten([range(1000000000), range(1000000000)]))",
    "select count(*) from q a, q b, q c, q d, q e, q f, q g, q h, q i where a.pos + b.pos + c.pos + i.pos = -1",
    "select list_sort(range(300000000))[1]",
    "select count(distinct a.range * b.range) from range(100000) a, range(100000) b",
    "select len(list(a.range)) from range(100000) a, range(100000) b",
    "with t as (select a.range x from range(1000000) a, range(1000000) b) select max(x) over (order by x) from t",
    "select string_agg(repeat('x', 100000), '') from range(1000000)",
    "from range(1000000) a, range(1000000) b order by hash(a.range, b.range) limit 1",
]  # fmt: skip

HOSTILE_PREDICATES = [
    "1=1) UNION ALL SELECT * FROM secret --", "1=1) UNION ALL SELECT * FROM secret; --", "true) or (true",
    "true UNION ALL SELECT 1, 2", "true; select 1", "true; drop table q", "true limit 1", "true order by 1",
    "true group by all", "true having true", "true offset 1", "true qualify true", "true using sample 1",
    "true intersect select 1", "", "  ", "--", "/*", "true /*", "'", "(", ")", "q.pos = ?", "q.pos = $1", "#1 = 1",
    "columns(*) = 1", "q.* = 1", "*", "exists (from secret)", "(select x from secret) = 42",
    "q.pos in (select secret.x from secret)",
    "q.pos in (with secret as (select 1 x) select secret.x from secret)  and (select secret.x from secret) = 42",
    "exists (select 1 from read_csv('/etc/passwd') as f)", "exists (select 1 from 'x.csv' as f)",
    "exists (select 1 from glob('*') as r)", "count(*) > 1", "sum(k.pos) > 1", "row_number() over () = 1",
    "random() < 0.5", "unnest([true])", "getenv('HOME') = ''",
    "current_setting('threads') = '1'", "list_transform([1], x -> y) = [1]", "list_transform([1], x -> pos) = [1]",
    "list_transform([1], x -> secret.x) = [1]", "q.nothing.lower() = 'a'", "role.lower() = 'a'", "unnest([1]) = 1",
    "q.pos in (select t.pos from token as t limit 1)", "q.pos = (select first(t.pos) from token as t)",
    "q.pos in (select t.pos from token as t using sample 1)", "age(timestamp '2020-01-01') > interval 1 day",
    "q.pos = (select max(x.n) from (select row_number() over () as n from token as t) as x)",
    "q.pos::regclass = 1", "pos = 1", "role = 'box'", "q.catgory = 'x'", "z.pos = 1",
    "secret.x = 42", "main.q.pos = 1", "q.pos.x = 1", "k.role = \"box\"", "exists (select 1 from q)",
    "exists (select 1 from token as k)", "exists (select 1 from token where prompt_id = 1)",
    "exists (select 1 from token as t where t.nothing = 1)", "q.pos = 1\0", "q.pos = 1" + " + 1" * 250,
    "q.pos = 1" + " + 1" * 2000,
    "q.role = '" + "x" * 30_000 + "'",
]  # fmt: skip
