"""SQL that must be refused: over the run-like database of queries.py, where `secret` is not for users."""

from __future__ import annotations

HOSTILE = [
    # other statements, or more than one
    "drop table q", "insert into prompt values (1)", "update prompt set text = ''", "delete from prompt",
    "create table t (i int)", "create macro m() as 1", "alter table prompt add column c int",
    "copy prompt to 'out.csv'", "copy prompt from '/etc/passwd'", "export database 'out'", "import database 'in'",
    "attach 'other.db'", "detach small", "use small", "pragma database_list", "pragma table_info('prompt')",
    "set threads = 8", "set variable x = 1", "reset threads", "install httpfs", "load httpfs", "begin", "checkpoint",
    "vacuum", "call pragma_version()", "explain select 1", "explain analyze select 1", "describe q", "show tables",
    "summarize prompt", "prepare p as select 1", "execute p", "select 1; drop table q", "select 1; select 2",
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
    "select q.role.lower() from q", "select small.main.abs(1)",
    # what the grammar has and no one here needs
    "select ?", "select $1", "select $name", "select #1 from q", "select columns('.*') from q",
    "select columns(c -> true) from q", "select * from q tablesample 10%", "select * from q using sample 1",
    "from q at (version => 1)", "pivot q on role using count(*)", "from (unpivot q on pos, prompt_id)",
    "select text collate nocase from q", "select {'a': 1}::json", "select 1::foo.bar", "select map {'a': 1}",
    "select 1e400",
    # characters
    "select 1\0", "select '\0'", "select 'a\x1b[31m'", "select '\x07'", "select '\ud800'", "select \x7f1",
]  # fmt: skip

COSTLY = [  # their text does not bound their cost
    "select repeat('x', 1000000000)", "select lpad('x', 1000000000, 'y')", "select rpad('x', 1000000000, 'y')",
    "select bitstring('1', 1000000000)", "select '1'::bit", "select levenshtein(text, text) from q",
    "select damerau_levenshtein(text, text) from q", "select jaccard(text, 'a') from q",
    "select * from range(1000000000)", "select range(1000000000)", "select generate_series(1, 1000000000)",
    "from generate_series(1, 1000000000)", "select unnest(range(1000000000))", "select * from unnest([1, 2])",
    "select * from repeat('x', 1000000000)", "select flatten([[1]])", "select list_transform([1], lambda x: x + 1)",
    "select list_transform([1], x -> list_transform([1], y -> x + y))", "select [x for x in [1]]",
    "select list_reduce([1], (a, b) -> a + b)", "select list_aggregate([1], 'sum')",
    "select regexp_replace(text, '(a+)+', 'b') from q", "select text ~ '(a+)+$' from q",
    "select text similar to 'a%' from q", "select format('{:>1000000000}', 1)", "select printf('%1000000000d', 1)",
    "select replace(text, 'a', 'aaaaaaaaaa') from q", "select list_resize([1], 1000000000)",
    "select null::float[100000]", "select null::float[9][9]", "select sleep_ms(100000)", "select pg_sleep(100)",
    "select 1" + " + 1" * 250, "select 1" + " + 1" * 3000, "select " + "(select " * 400 + "1" + ")" * 400,
    "select " + "[" * 900 + "]" * 900,
    "select 1" + " union select 1" * 2000, "select '" + "x" * 1_000_000 + "'", "select 1 as " + "x" * 21_000,
    "with recursive t as (select 1 union all select * from t) from t",
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
    "exists (select 1 from range(1000000000) as r)", "count(*) > 1", "sum(k.pos) > 1", "row_number() over () = 1",
    "random() < 0.5", "unnest([true])", "getenv('HOME') = ''", "repeat('x', 1000000000) = ''",
    "current_setting('threads') = '1'", "list_transform([1], x -> x) = [1]", "q.text ~ '(a+)+$'",
    "q.pos::regclass = 1", "q.role.lower() = 'a'", "pos = 1", "role = 'box'", "q.catgory = 'x'", "z.pos = 1",
    "secret.x = 42", "main.q.pos = 1", "q.pos.x = 1", "k.role = \"box\"", "exists (select 1 from q)",
    "exists (select 1 from token as k)", "exists (select 1 from token where prompt_id = 1)",
    "exists (select 1 from token as t where t.nothing = 1)", "q.pos = 1\0", "q.pos = 1" + " + 1" * 250,
    "q.pos = 1" + " + 1" * 2000,
    "q.role = '" + "x" * 30_000 + "'",
]  # fmt: skip
