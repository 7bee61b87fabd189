"""A run file that somebody made in bad faith: it is refused in one line when it is opened, and hides no other run."""

from __future__ import annotations

import re
import subprocess
import sys

import duckdb
import pytest
import spoilt

import qkstore
from qkstore.sql import trust

OBJECTS = {  # what is no table of plain columns
    "a view": ("CREATE VIEW extra AS SELECT 1", "a view, 'extra'"),
    "a view as k": ("DROP TABLE k; CREATE VIEW k AS SELECT * FROM read_text('CANARY')", "a view, 'k'"),
    "a view as q, of a table": ("ALTER TABLE q RENAME TO q2; CREATE VIEW q AS SELECT * FROM q2", "a view, 'q'"),
    "a view as run": ("ALTER TABLE run RENAME TO run2; CREATE VIEW run AS SELECT * FROM run2", "a view, 'run'"),
    "a view behind a macro that hides views": (
        "CREATE VIEW extra AS SELECT * FROM read_text('CANARY'); CREATE MACRO duckdb_views() AS TABLE "
        "SELECT '' AS view_name, true AS internal",
        "a view, 'extra'",
    ),
    "a macro that hides macros": (
        "CREATE MACRO duckdb_functions() AS TABLE SELECT '' AS function_name, true AS internal",
        "a macro, 'duckdb_functions'",
    ),
    "a macro that hides tables": (
        "CREATE MACRO duckdb_tables() AS TABLE SELECT 'q' AS table_name, '' AS sql, true AS internal",
        "a macro, 'duckdb_tables'",
    ),
    "a schema system with such macros": (
        "CREATE SCHEMA system; CREATE MACRO bad.system.duckdb_views() AS TABLE SELECT 1 AS a",
        "a schema, 'system'",
    ),
    "a macro in a schema": ("CREATE SCHEMA more; CREATE MACRO more.f() AS 1", "a schema, 'more'"),
    "a macro count": ("CREATE MACRO count(x) AS 8", "a macro, 'count'"),
    "a macro for +": ('CREATE MACRO "+"(a, b) AS 666', r"a macro, '\+'"),
    "a macro for like": ('CREATE MACRO "~~"(a, b) AS true', "a macro, '~~'"),
    "a macro strlen that reads": (
        "CREATE MACRO strlen(x) AS (SELECT content FROM read_text('CANARY'))",
        "a macro, 'strlen'",
    ),
    "a macro stats": ("CREATE MACRO stats(x) AS 'Max String Length: 1]'", "a macro, 'stats'"),
    "a table macro q": ("CREATE MACRO q() AS TABLE SELECT 1", "a macro, 'q'"),
    "a sequence": ("CREATE SEQUENCE s", "a sequence, 's'"),
    "an enum": ("CREATE TYPE mood AS ENUM ('a', 'b')", "a type, 'mood'"),
    "a type with a name of our own": ("CREATE TYPE integer2 AS INTEGER", "a type, 'integer2'"),
    "an index": ("CREATE INDEX i ON q (query_row)", "an? index, 'i'"),
    "an index of an expression": ("CREATE INDEX i ON q ((query_row + 1))", "an? index, 'i'"),
    "a schema alone": ("CREATE SCHEMA more", "a schema, 'more'"),
    "a table of run in a schema": ("CREATE SCHEMA s; CREATE TABLE s.run AS SELECT 1 AS a", "a schema, 's'"),
    "a name of several lines": ('CREATE VIEW "a\nb\x1b[31m" AS SELECT 1', r"a view, 'a\\nb\\x1b\[31m'"),
    "a name of a page": (f'CREATE VIEW "{"x" * 5000}" AS SELECT 1', "a view, 'xxx.*…'"),
    "a table more": ("CREATE TABLE secret (a INTEGER)", "table secret, which no run has"),
    "a table with a name that is SQL": ('CREATE TABLE "a(b INTEGER); --" (c INTEGER)', "whose name is no identifier"),
    "a table in Chinese": ('CREATE TABLE "表" (a INTEGER)', "whose name is no identifier"),
}

COLUMNS = {  # of the right tables
    "a column that is SQL": (
        'ALTER TABLE token ADD COLUMN "token"" FROM k LIMIT 0; COPY (SELECT 1) TO \'OUT\'; SELECT text AS ""b" VARCHAR',
        "a column that a run cannot have",
    ),
    "the same of q": (
        'ALTER TABLE q ADD COLUMN "x"" FROM read_text(\'CANARY\') --" VARCHAR',
        "a column that a run cannot have",
    ),
    "a column with a space": ('ALTER TABLE k ADD COLUMN "a b" VARCHAR', "a column that a run cannot have"),
    "a column that looks like two": (
        'ALTER TABLE k ADD COLUMN "a VARCHAR, b" VARCHAR',
        "a column that a run cannot have",
    ),
    "a column with no name in ASCII": ('ALTER TABLE k ADD COLUMN "ß" VARCHAR', "a column that a run cannot have"),
    "a column of 64 letters": (f"ALTER TABLE k ADD COLUMN {'a' * 64} VARCHAR", "a column that a run cannot have"),
    "a column more": ("ALTER TABLE q ADD COLUMN secret VARCHAR", "column secret of table q, which no run has"),
    "a column less": ("ALTER TABLE k DROP COLUMN role", "column role of its table k is not there"),
    "a default": ("ALTER TABLE token ALTER COLUMN text SET DEFAULT 'x'", "a column that a run cannot have"),
    "a default that calls": (
        "ALTER TABLE token ALTER COLUMN text SET DEFAULT current_setting('threads')",
        "a column that a run cannot have",
    ),
    "NOT NULL": ("ALTER TABLE prompt ALTER COLUMN split SET NOT NULL", "a column that a run cannot have"),
    "a check": (
        "CREATE TABLE m2 (name VARCHAR, value DOUBLE, CHECK (value > 0)); DROP TABLE measure; "
        "ALTER TABLE m2 RENAME TO measure",
        "a column that a run cannot have",
    ),
    "a computed column": (
        "DROP TABLE measure; CREATE TABLE measure (name VARCHAR, value DOUBLE AS (random()))",
        "a column that a run cannot have",
    ),
    "a key": (
        "DROP TABLE measure; CREATE TABLE measure (name VARCHAR PRIMARY KEY, value DOUBLE)",
        "a column that a run cannot have",
    ),
    "a collation": (
        "DROP TABLE measure; CREATE TABLE measure (name VARCHAR COLLATE NOCASE, value DOUBLE)",
        "a column that a run cannot have",
    ),
    "a struct": ("ALTER TABLE k ADD COLUMN s STRUCT(a INTEGER, b VARCHAR)", "a column that a run cannot have"),
    "a nameless enum": (
        "ALTER TABLE k ALTER COLUMN role TYPE ENUM('box', 'entity')",
        "a column that a run cannot have",
    ),
    "a decimal": ("ALTER TABLE measure ALTER COLUMN value TYPE DECIMAL(9, 2)", "a column that a run cannot have"),
    "a map": ("ALTER TABLE k ADD COLUMN m MAP(VARCHAR, INTEGER)", "a column that a run cannot have"),
    "vectors as text": (
        "ALTER TABLE query_vector ALTER COLUMN v TYPE VARCHAR",
        "column v of .*query_vector is VARCHAR",
    ),
    "vectors as lists": (
        "ALTER TABLE key_vector ALTER COLUMN v TYPE FLOAT[]",
        r"key_vector is FLOAT\[\], not FLOAT\[8\]",
    ),
    "vectors of doubles": ("ALTER TABLE key_vector ALTER COLUMN v TYPE DOUBLE[8]", r"is DOUBLE\[8\], not FLOAT\[8\]"),
    "longer vectors": ("UPDATE run SET d_head = 16", r"is FLOAT\[8\], not FLOAT\[16\]"),
    "rows as fractions": (
        "ALTER TABLE query_vector ALTER COLUMN row TYPE DOUBLE",
        "column row .* is DOUBLE, not INTEGER",
    ),
    "huge row numbers": ("ALTER TABLE query_vector ALTER COLUMN row TYPE HUGEINT", "column row .* is HUGEINT"),
    "log-sum-exps as text": ("ALTER TABLE row_stat ALTER COLUMN logsumexp TYPE VARCHAR", "logsumexp .* is VARCHAR"),
    "a scaling as text": ("ALTER TABLE layer ALTER COLUMN scaling TYPE VARCHAR", "scaling .* is VARCHAR, not DOUBLE"),
    "a label as a blob": (
        "ALTER TABLE token ALTER COLUMN entity TYPE BLOB; ALTER TABLE q ALTER COLUMN entity TYPE BLOB; "
        "ALTER TABLE k ALTER COLUMN entity TYPE BLOB",
        "its label entity of token .* BLOB",
    ),
    "a label of two types": ("ALTER TABLE q ALTER COLUMN order_id TYPE VARCHAR", "order_id of its table q is VARCHAR"),
    "answers as text": (
        "ALTER TABLE prompt ADD COLUMN answered VARCHAR; ALTER TABLE q ADD COLUMN answered VARCHAR; "
        "ALTER TABLE k ADD COLUMN answered VARCHAR; UPDATE run SET prompt_labels = prompt_labels || ['answered']",
        "its label answered of prompt .* VARCHAR",
    ),
    "no q": ("DROP TABLE q", "it has no table q"),
    "no vectors": ("DROP TABLE key_vector", "it has no table key_vector"),
    "no prompts": ("DROP TABLE prompt", "it has no table prompt"),
    "no token": ("DROP TABLE token", "it has no table token"),
    "a weight without a shape": ("ALTER TABLE weight DROP COLUMN shape", "column shape of its table weight"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return spoilt.place(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize(("sql", "says"), (OBJECTS | COLUMNS).values(), ids=(OBJECTS | COLUMNS).keys())
def test_a_file_of_another_make_is_refused_in_one_line(place, sql, says):
    place.spoil(sql)
    error = place.scanned()
    assert "run file bad.duckdb" in error
    assert re.search(says, error), error


def test_control_the_same_file_as_it_was_published_is_read(place):
    place.spoil("SELECT 1")
    assert place.scanned() == ""
    assert place.read() == []


@pytest.mark.parametrize("name", ["system", "temp", "main", "file", "memory", "q", "run"])
def test_control_a_run_may_be_called_as_databases_are(tmp_path, name):
    place = spoilt.place(tmp_path)
    place.put(place.store.path / "runs" / f"{name}.duckdb")
    run = place.store.run(name)
    assert run.queries(1, 2).shape == (8, 8)


def test_control_a_run_is_read_wherever_it_lies(place, tmp_path):
    """By a link, below a link, and below a name that is hard to quote."""
    folder = tmp_path / "it's [a] 'folder'*? \" ; -- é%20"
    folder.mkdir()
    place.put(folder / "run.duckdb")
    (tmp_path / "below").symlink_to(folder)
    (tmp_path / "link.duckdb").symlink_to(folder / "run.duckdb")
    for path in (
        folder / "run.duckdb",
        tmp_path / "below" / "run.duckdb",
        tmp_path / "link.duckdb",
        tmp_path / "below" / ".." / "link.duckdb",
    ):
        run = qkstore.Run(path)
        assert run.queries(1, 2).shape == (8, 8)
        run.close()


def test_a_run_reaches_no_other_file_and_no_setting(place):
    run = place.store.run("good")
    for sql in (
        f"SELECT * FROM read_text('{place.canary}')",
        f"COPY (SELECT 1) TO '{place.out}'",
        "SET enable_external_access = true",
        "SET threads = 4",
        "LOAD httpfs",
        f"ATTACH '{place.canary}' AS other",
    ):
        with pytest.raises(Exception, match="disabled|locked|Permission|configuration"):
            run.cursor().execute(sql)
    assert not place.out.exists()


def test_a_notebook_of_the_same_process_is_free_beside_it(place):
    run = place.store.run("good")
    before = run.queries(1, 1)
    with duckdb.connect(str(run.path), read_only=True) as own:
        own.execute(f"COPY (SELECT 1 AS a) TO '{place.out}'")
        own.execute("SET threads = 2")
        assert own.execute("SELECT count(*) FROM q").fetchone() == (8,)
        assert (run.queries(1, 1) == before).all()
    place.out.unlink()
    assert (run.queries(1, 1) == before).all()
    again = qkstore.Run(run.path)
    again.close()
    assert (run.queries(1, 1) == before).all()


def test_a_log_of_changes_beside_a_file_is_held_to_the_same(place):
    place.spoil("SELECT 1")
    code = (
        f"import duckdb, os; con = duckdb.connect({str(place.bad)!r}); con.execute('CREATE VIEW extra AS SELECT 1')\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    log = place.bad.with_name("bad.duckdb.wal")
    assert log.exists()
    try:
        assert "a view, 'extra'" in place.scanned()
    finally:
        log.unlink()


def test_the_check_calls_only_functions_of_the_system():
    """Whatever else it called could be a macro of the file."""
    called = re.findall(r"([\w.\"]+)\(", trust.OBJECTS + trust.TABLES)
    assert len(called) == 7
    assert all(name.startswith("system.main.duckdb_") for name in called)
