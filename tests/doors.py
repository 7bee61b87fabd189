# ruff: noqa: RUF001 -- letters that look like others are the attack
"""What hostile people give at every door, written after the mending: tests/project/test_doors.py tries it.

Older lists (hostile.py and the tables of test_hostile_*.py) are tried where they stand. SQL is over queries.py, where
`secret` is not for users; CANARY stands for the path of a file that nothing may read, OUT for one to be written.
"""

from __future__ import annotations

import json

OLDER = {  # {door: the lists tried elsewhere, in their own file; those of hostile.py in sql/test_guard.py}
    "typed SQL": {"hostile.py": "HOSTILE COSTLY DEAR"},
    "conditions": {"hostile.py": "HOSTILE_PREDICATES"},
    "names": {"contrast/test_name.py": "REFUSED"},
    "addresses": {"dashboard/test_server.py": "FOREIGN"},
    "run files": {"run/test_hostile_files.py": "OBJECTS COLUMNS", "run/test_hostile_rows.py": "REFUSED READ"},
    "catalogues": {"store/test_hostile_archives.py": "CATALOGUES"},
    "archives": {"store/test_hostile_archives.py": "ARCHIVES RAW"},
    "prompt files": {"ingest/test_prompts.py": "BROKEN"},
    "model folders": {"ingest/test_own_code.py": "OWN", "ingest/test_model_files.py": "UNUSED UNREADABLE"},
}
NEW = {  # {door: the lists of this file}
    "typed SQL": "SQL DEARER",
    "conditions": "PREDICATES BOUNDED",
    "pairs": "PAIRS",
    "names": "NAMES RUNS",
    "addresses": "URLS",
    "run files": "RUN_FILES BYTES",
    "catalogues": "CATALOGUES",
    "archives": "MEMBERS",
    "prompt files": "LINES",
    "model folders": "CONFIGS MODEL_FILES",
}

SQL = [
    # `secret` by other joins, sub-queries and clauses
    "select x from q semi join secret on true", "select * from q anti join secret on pos = x",
    "from q natural join secret", "from q positional join secret", "from q asof join secret on q.pos >= secret.x",
    "from q cross join (table secret)", "select distinct on ((select x from secret)) pos from q",
    "select 1 offset (select x from secret)",
    "select max(pos) over w from q window w as (partition by (select x from secret))",
    "select pos from q qualify row_number() over () < (select x from secret)",
    "select count(*) from q having count(*) < (select x from secret)", "select array(select x from secret)",
    "select 42 = all (select x from secret)", "select not exists (table secret)", "select (table secret)::varchar",
    "select try_cast((from secret) as varchar)", "select if(true, (from secret), 1)", "select [(from secret)][1]",
    "select {'a': (from secret)}.a", "select struct_pack(a := (from secret))", "select (a).x from secret as a",
    "select * exclude (x) from secret", "select * rename (x as pos) from secret", "select secret from secret",
    "with recursive t(n) as (select x from secret union all select n from t where false) from t",
    "with t as materialized (from secret) from t",
    "with t(a) as not materialized (select x from secret) select a from t", "from (pivot (from secret) on x)",
    "from (from secret) unpivot (v for n in (x))", "select 1 from q, secret s(y) where y",
    "select columns('x') from secret", "select unnest(l) from (select list(x) as l from secret)",
    "from secret tablesample 100%", "select * from temp.secret", "select * from \"small\".\"secret\"",
    "select * from sеcret", "select x from q left join lateral (select x from secret where x > pos) on true",
    "select 1 union all by name select x from secret", "(select pos from q) except all (select x from secret)",
    # files and settings by other functions
    "from read_csv_auto('CANARY')", "from read_ndjson('CANARY')", "from read_json_objects('CANARY')", "from 'CANARY'",
    "from read_parquet(['CANARY'])", "from parquet_metadata('x')", "from parquet_kv_metadata('x')",
    "from read_xlsx('x')", "from sqlite_scan('x', 'y')", "from postgres_scan('', '', '')", "from iceberg_scan('x')",
    "from st_read('x')", "from 's3://bucket/x.parquet'", "from 'https://example.org/x.csv'",
    "from read_duckdb('small.duckdb')", "from duckdb_functions()", "from duckdb_extensions()",
    "from duckdb_temporary_files()", "from duckdb_memory()", "from duckdb_views()", "from duckdb_columns()",
    "from duckdb_variables()", "from duckdb_logs()", "from duckdb_types()", "from pragma_version()",
    "from pragma_platform()", "from pragma_user_agent()", "from sql_auto_complete('s')", "from pragma_metadata_info()",
    "from checkpoint()", "from force_checkpoint()", "select current_schemas(true)", "select current_role",
    "select session_user", "select has_table_privilege('secret', 'select')", "select in_search_path('small', 'main')",
    "select setseed(0.5)", "select currval('s')", "select error((from secret))", "select error(getenv('HOME'))",
    "select parse_path(current_setting('home_directory'))", "select to_json(secret) from secret",
    # statements
    "create secret (type s3)", "drop secret x", "set global memory_limit = '1TB'", "comment on table prompt is 'x'",
    "copy (from secret) to '/dev/stdout'", "copy (select 1) to 'OUT' (format csv)", "update extensions", "commit",
    "merge into prompt using q on true when matched then delete", "truncate prompt", "analyze", "rollback",
    "create or replace temp view q as from secret", "create or replace table q as from secret", "deallocate p",
    "pragma enable_profiling = 'json'", "pragma profiling_output = 'OUT'", "set file_search_path = '/'",
    "create function f() as table from secret", "create schema s", "drop view if exists q",
    "insert into secret by name select 1",
]  # fmt: skip

DEARER = [  # may run, and are stopped at their limit of time or memory
    "select sum(hash(a.range) ^ hash(b.range)) from range(1000000) a, range(1000000) b",
    "select count(*) from range(30000000) a join range(30000000) b on a.range % 1000 = b.range % 1000",
    "select len(string_split(repeat('a,', 500000000), ','))",
    "select list_distinct(range(400000000))[1]",
    "select len(list_zip(range(200000000), range(200000000)))",
    "select md5(repeat('x', 1999999999) || 'y')",
    "select max(r) from (select rank() over (order by range % 7) r from range(2000000000))",
    "select count(*) from (from q a, q b, q c, q d, q e, q f, q g, q h group by all)",
]

PREDICATES = [
    "true) union (select 1", "true))) or ((((true", "true union all by name select 1", "; true",
    "exists (table secret)", "q.pos = any (select x from secret)", "q.pos > all (from secret)", "secret.x is not null",
    "(from secret) > 0", "q.pos = (with t as (from secret) select x from t)",
    "exists (values ((select x from secret)))", "q.pos in (select x from q semi join secret on true)",
    "exists (from 'CANARY')", "exists (from read_blob('CANARY'))", "q.text = (select content from read_text('CANARY'))",
    "exists (from duckdb_settings())", "version() like 'v%'", "current_setting('memory_limit') > ''",
    "getenv('PATH') like '/%'", "nextval('s') = 1", "uuid()::varchar > ''", "now() > timestamp '2020-01-01'",
    "first_value(q.pos) over () = 1", "list(q.pos) = [1]", "q.pos = $1::int",
    "q.pos = (select q2.pos from q as q2 order by random() limit 1)", "q.pos = ( select 1 ) ; drop table q",
    "q.\"pos\"\"\" = 1", "'\x1b[2J' = ''", "q.pos = 1 /* */ */", "q.pos = 1 \\g", "not", "case when true then",
]  # fmt: skip

BOUNDED = [  # conditions that run and tell nothing
    "1 = 1 -- ", "true; --", "q.pos = 1" + " or q.pos = 1" * 900, "(" * 700 + "true" + ")" * 700,
    "q.pos in (" + "1," * 3_000 + "1)", "q.text like '%' || repeat('_', 15000)", "q.pos / 0 = 1",
]  # fmt: skip

PAIRS = [  # as a contrast's own SELECT of query_row, key_row and sign
    "select query_row, key_row, 1 from secret", "select 1", "select 1, 2, 3", "drop table k", "select; select",
    "select query_row, key_row, 1 as sign from q, k limit 5",
    "select query_row, key_row, 1 as sign from q, k using sample 5",
    "select query_row, key_row, if(random() < 0.5, 1, -1) as sign from q, k",
    "select query_row, key_row, sign from 'CANARY'", "select * from read_csv('CANARY')", "copy (select 1) to 'OUT'",
    "select 1 as query_row, 1 as key_row, 2 as sign", "select -1 as query_row, 0 as key_row, 1 as sign",
    "select 99999999 as query_row, 0 as key_row, 1 as sign", "select null as query_row, null as key_row, null as sign",
    "select 'a' as query_row, 'b' as key_row, 'c' as sign", "select 0 as query_row, 0 as key_row, 1 as sign",
    "select 0.5 as query_row, 0 as key_row, 1 as sign union all select 1, 1, -1",
    "select query_row, key_row, 1 as sign, 'nan'::double as weight from q, k union all select 0, 0, -1, 1",
    "select query_row, key_row, 1 as sign, -1 as weight from q, k union all select 0, 0, -1, 1",
    "select query_row, key_row, unnest([1, -1]) as sign from q, k", "select q.*, k.*, 1 as sign from q, k",
    "select query_row, key_row, if(current_timestamp > '2020-01-01', 1, -1) as sign from q, k",
    "select query_row, key_row, if(LocalTime > '12:00', 1, -1) as sign from q, k",
    "select [1] as query_row, {'a': 1} as key_row, 1 as sign", "select 1 as \"query_row; drop table q\"",
    "select 9223372036854775807 as query_row, 170141183460469231731687303715884105727 as key_row, 1 as sign",
    "select query_row, key_row, getenv('HOME') as sign from q, k", "select current_setting('threads') as sign",
    "select 0 as query_row, 0 as key_row, sum(1) as sign from q a, q b, q c, q d, q e, q f, q g, q h, q i, k",
    "select 0 as query_row, 0 as key_row, max(range) as sign from range(1000000000000)",
]  # fmt: skip

NAMES = [  # of contrasts
    "a\x00b", "\u2066mine\u2069", "mine\u200d", "ⓜine", "𝐦𝐢𝐧𝐞", "mınе", "οrder", "оrdеr", "ORDER ", "authors/Order",
    "category:", "CATEGORY:x", "exact/z1", "Z1", "\u00adorder", "\uff33\uff25\uff34", "nυll", "Inline", "\ue000",
    "a\u2028b", "a\tb", "x" * 100_000, "\U000e0041", "mine\u2062",
]  # fmt: skip

RUNS = [  # names of runs
    "../good", "..", ".", "", "/etc/passwd", "good.duckdb/..", "good\x00", "good\n", "gооd", "-good", ".good",
    "good'; --", "file:good", "%2e%2e%2fgood", "good?mode=rw", "*", "g" * 600, ":memory:", "C:\\good", "good:stream",
    "~", "$HOME", "\udcff", "s3://bucket/good", "good.wal",
]  # fmt: skip

LONG = "9" * 5000
BAD = (
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "'; DROP TABLE q; --",
    "\u202egnp",
    LONG,
    "-1",
    "nan",
    "\0",
    "1e9",
)
URLS = [  # (page, what its address says)
    ("overview", {"run": BAD[0], "contrast": BAD[1]}), ("heads", {"run": BAD[1], "by": BAD[0], "layer": "-1"}),
    ("heads", {"contrast": BAD[2], "layer": LONG, "head": "1e9"}), ("heads", {"by": "-1", "head": "٣", "layer": "0x1"}),
    ("head", {"rank": BAD[2], "pair": LONG, "among": BAD[0], "layer": "1", "head": "0"}),
    ("head", {"pair": "-1", "shown": "1e9", "rank": "moved", "contrast": BAD[1]}),
    ("contrasts", {"run": "%00", "contrast": BAD[0], "shape": BAD[2]}),
    ("contrasts", {"shape": LONG, "contrast": BAD[3]}), ("subspaces", {"layer": "1", "head": "99", "and": BAD[1]}),
    ("subspaces", {"layer": "nan", "head": "0", "and": LONG}),
    ("projections", {"q": BAD[2], "k": "secret.x", "method": "../x", "plot": BAD[0]}),
    ("projections", {"q": LONG, "k": "*", "method": "\0", "plot": "3d'"}),
    ("interventions", {"side": BAD[2], "and": BAD[0], "show": LONG}), ("interventions", {"side": "\0", "show": BAD[1]}),
    ("attributions", {"prompt": LONG, "order": BAD[2], "and": "order"}),
    ("attributions", {"prompt": "-1", "order": LONG, "layer": "²"}),
    ("toy", {"latent": BAD[0], "basis": BAD[2], "seed": LONG, "d_head": "-1", "run": BAD[1]}),
]  # fmt: skip


def line(**fields) -> str:
    return json.dumps({"text": "the lime is a fruit"} | fields)


def span(**fields) -> str:
    return line(spans=[{"start": 4, "end": 8, "role": "item"} | fields])


LINES: dict[str, str] = {  # of prompt files
    "a list of objects": f"[{line()}]", "two objects in a line": line() + line(), "a page": "<html></html>",
    "a number": "1", "nothing": "", "blanks": " \n\t\n", "null": "null", "a text": '"text"', "deep": "[" * 100_000,
    "a comment": "// " + line(), "single quotes": "{'text': 'a'}", "a text of lists": line(text=["a"]),
    "a text of blanks in a span": span(start=3, end=3), "spans nested": line(spans=[[{"start": 0}]]),
    "a span of 2**63": span(end=2**63), "a span of text": span(start="4"), "a span of NULL": span(start=None),
    "a role of a list": span(role=["item"]), "a role of nothing": span(role=""),
    "a label of SQL": line(**{"x\" FROM q; --": 1}), "a label that hides": line(query_row=1), "a label v": span(v=1),
    "a label in Cyrillic": '{"text": "a", "оrder": 1}', "a label of 64 letters": line(**{"a" * 64: 1}),
    "a label of an object": line(x={}), "a label of 2**63": line(n=2**63), "a label -0x1": '{"text": "a", "n": -0x1}',
    "Infinity": '{"text": "a", "n": Infinity}', "a number of an exponent": '{"text": "a", "n": 1e400}',
    "a field twice": '{"text": "a", "text": "b"}', "a partner nowhere": line(counterfactual_of="CANARY"),
    "a partner of itself": line(id="a", counterfactual_of="a"), "a split of a path": line(split="../train"),
    "an id of a list": line(id=[1]), "a message of nothing": '{"messages": [{}]}',
    "messages of text": '{"messages": "hello"}', "a surrogate in a label": '{"text": "a", "x": "\\udcff"}',
    "a surrogate in a name": '{"text": "a", "\\ud800": 1}', "an answer of a path": line(answer=["/etc/passwd"]),
    "labels on both": line(box="A", spans=[{"start": 0, "end": 1, "role": "r", "BOX": "A"}]), "a lone brace": "{",
}  # fmt: skip

RUN_FILES = {  # a good run, changed
    "rows from elsewhere": "INSERT INTO token SELECT * REPLACE ('CANARY' AS text) FROM token",
    "a generated column": "DROP TABLE token; CREATE TABLE token (prompt_id INTEGER, pos INTEGER AS (prompt_id))",
    "a table of one's own name": "CREATE TABLE file (a INTEGER)",
    "a table duckdb_tables": "CREATE TABLE duckdb_tables (a INT)",
    "a foreign key": "CREATE TABLE p (a INTEGER PRIMARY KEY); CREATE TABLE c (a INTEGER REFERENCES p (a))",
    "a schema of the file's name": "CREATE SCHEMA file; CREATE TABLE file.run (a INTEGER)",
    "a macro that is called": "CREATE MACRO greatest(a, b) AS (SELECT content FROM read_text('CANARY'))",
    "a macro isfinite": "CREATE MACRO isfinite(x) AS true",
    "a macro strlen of tables": "CREATE MACRO strlen(x) AS TABLE SELECT 1",
    "a view of settings": "CREATE VIEW s AS SELECT * FROM duckdb_settings()",
    "a union": "ALTER TABLE k ADD COLUMN u UNION(a INT)", "a bit": "ALTER TABLE k ADD COLUMN u BIT",
    "a time zone": "ALTER TABLE run ALTER COLUMN created TYPE TIMESTAMPTZ",
    "a hundred columns": "; ".join(f"ALTER TABLE token ADD COLUMN c{i} VARCHAR" for i in range(100)),
    "a comment on a table": "COMMENT ON TABLE run IS 'CANARY'",
    "no rows at all": "; ".join(f"DELETE FROM {t}" for t in ( "token", "prompt", "q", "k", "run")),
    "a run named elsewhere": "UPDATE run SET run = '../../CANARY'",
    "a model of a script": "UPDATE run SET model = '<script>alert(1)</script>\n\u202e'",
    "a plan of lists": "UPDATE run SET plan = '[[1]]'",
    "a task of a page": "UPDATE run SET task = repeat('x', 1000000)", "a d_head of 1": "UPDATE run SET d_head = 1",
    "a word of 90 kB": "UPDATE token SET text = repeat('x', 90000) WHERE pos = 1",
    "roles of 90 kB": "UPDATE q SET role = repeat('r', 90000)",
}  # fmt: skip

BYTES = {  # what is no run, as a file of runs/
    "empty": b"", "a text": b"SELECT 1", "zeros": bytes(1 << 20), "an archive": b"PK\x03\x04" + bytes(5000),
    "SQLite": b"SQLite format 3\0" + bytes(5000), "Parquet": b"PAR1" + bytes(5000) + b"PAR1",
    "a pickle": b"cos\nsystem\n(S'true'\ntR.", "a name and no more": bytes(8) + b"DUCK" + bytes(8180),
    "an older version": bytes(8) + b"DUCK" + b"\x01" + bytes(20000), "a link to itself": b"-> bad.duckdb",
    "a link to a device": b"-> /dev/zero", "a link to nothing": b"-> nothing", "a link to the canary": b"-> CANARY",
    "a link to a folder": b"-> .", "a pipe": b"|", "a folder": b"/", "a log that is a pipe": b"wal |",
    "a log of another file": b"wal -> CANARY", "a log of zeros": b"wal zeros", "a log of a device": b"wal -> /dev/zero",
}  # fmt: skip

CATALOGUES = {  # a good catalogue, changed
    "a contrast of SQL that reads": "UPDATE contrast SET positive = 'k.pos = (SELECT 1 FROM read_text(''CANARY''))'",
    "a contrast of two statements": "UPDATE contrast SET negative = 'true; DROP TABLE q'",
    "a contrast of a page": "UPDATE contrast SET positive = repeat('(', 30000)",
    "a name of control": "UPDATE contrast SET name = chr(27)",
    "a weighting of its own": "UPDATE contrast SET weighting = 'none'",
    "a centring of its own": "UPDATE contrast SET centring = ''", "a macro coalesce": "CREATE MACRO coalesce2(a) AS 1",
    "a macro row_number": "CREATE MACRO row_number() AS 1",
    "a view that reads": "CREATE VIEW v AS SELECT * FROM read_text('CANARY')",
    "a table of secrets": "CREATE TABLE secrets (a INT)",
    "a version of the future": "INSERT INTO migration SELECT 9999, TIMESTAMP '2030-01-01'",
    "a type more": "CREATE TYPE word AS VARCHAR", "a sequence more": "CREATE SEQUENCE n",
    "an index more": "CREATE INDEX i ON contrast (name)", "a schema more": "CREATE SCHEMA temp2",
    "a trigger of defaults": "ALTER TABLE contrast ALTER COLUMN name SET DEFAULT current_setting('threads')",
}  # fmt: skip

MEMBERS = [  # of an archive: (name, size, kind)
    ("/etc/passwd", 1, b"0"), ("../catalog.duckdb", 1, b"0"), ("catalog.duckdb/../../x", 1, b"0"),
    ("runs/.a.duckdb", 1, b"0"), ("runs/a.duckdb.wal", 1, b"0"), ("catalog.duckdb.wal", 1, b"0"),
    ("runs/a\\b.duckdb", 1, b"0"), ("C:/a.duckdb", 1, b"0"), ("runs/a.duckdb", 0, b"1"), ("runs/a.duckdb", 0, b"2"),
    ("catalog.duckdb", 0, b"2"), ("runs/a.duckdb", 0, b"3"), ("runs/a.duckdb", 0, b"4"), ("runs/a.duckdb", 0, b"6"),
    ("runs", 0, b"5"), ("runs/x/a.duckdb", 1, b"0"), ("", 1, b"0"), ("runs/" + "a" * 94 + ".duckdb", 1, b"0"),
    ("team.toml", 1, b"0"), ("runs/a.DUCKDB", 1, b"0"), ("runs/a.duckdb\n", 1, b"0"), ("runs/a.duckdb", 1 << 62, b"0"),
    ("runs/a.duckdb", 4096, b"0"), ("catalog.duckdb", 4096, b"0"),
]  # fmt: skip

CONFIGS = {  # facts of a model's config.json, or of another JSON file of its folder, that are changed
    "layers without end": {"num_hidden_layers": 10**9, "layer_types": None},
    "layers below zero": {"num_hidden_layers": -1}, "heads of zero": {"num_attention_heads": 0},
    "a vocabulary of a terabyte": {"vocab_size": 10**12}, "a size of 2**80": {"hidden_size": 2**80},
    "a size of text": {"hidden_size": "CANARY"},
    "code as model": {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}},
    "code of the hub": {"model_type": "own", "auto_map": {"AutoConfig": "somebody/else--own.Own"}},
    "a type of a path": {"model_type": "../../own"}, "a type of a list": {"model_type": ["qwen3"]},
    "weights elsewhere": {"transformers_weights": "CANARY"},
    "a kernel of one's own": {"attn_implementation": "somebody/kernel"},
    "weights of a list": {"transformers_weights": ["a"]},
    "a quantiser": {"quantization_config": {"quant_method": "own"}},
    "a type of numbers": {"dtype": "__import__('os').system('true')"}, "a rope of text": {"rope_parameters": "CANARY"},
}  # fmt: skip


def safetensors(**header) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


MODEL_FILES = {  # (a file of a model folder, its bytes); weights take the place of the good ones
    "a pickle that calls": ("pytorch_model.bin", b"cposix\nsystem\n(S'touch OUT'\ntR."),
    "a newer pickle that calls": ("pytorch_model.bin", b"\x80\x04cposix\nsystem\n(Vtouch OUT\ntR."),
    "a pickle under another name": ("model.safetensors", b"cposix\nsystem\n(S'touch OUT'\ntR."),
    "a header of an exabyte": ("model.safetensors", (1 << 60).to_bytes(8, "little") + b"{}"),
    "a header of lists": ("model.safetensors", (50_000).to_bytes(8, "little") + b"[" * 50_000),
    "tensors beyond the file": (
        "model.safetensors",
        safetensors(a={"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}),
    ),
    "shards elsewhere": ("model.safetensors.index.json", b'{"weight_map": {"a": "CANARY"}}'),
    "shards of a list": ("model.safetensors.index.json", b'{"weight_map": {"a": ["b"]}}'),
    "a tokenizer of code": (
        "tokenizer_config.json",
        b'{"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": "own.Own"}}',
    ),
    "a tokenizer of lists": ("tokenizer.json", b"[" * 100_000),
    "a template of code": ("chat_template.jinja", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"),
}
