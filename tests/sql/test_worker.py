"""The process that runs guarded SQL: right answers from many threads, nothing written, nothing left running."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from qkstore.errors import GuardError
from qkstore.sql import child, worker

RUNAWAY = "SELECT count(*) FROM t a, t b, t c WHERE a.i + b.i + c.i = 7"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("worker") / "run.duckdb"
    make(file)
    return file


def make(file: Path, times: int = 2) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT i, i * {times} AS j, i::FLOAT AS w FROM range(27000) r(i)")


def one(path, sql: str, **limits):
    """The single value of an answer."""
    return worker.query(path, sql, **limits).column(0)[0].as_py()


@pytest.fixture
def unhurried(monkeypatch):
    """A query that a busy machine makes slow does not give way, so its process is not replaced for that."""
    monkeypatch.setattr(worker, "SLOW_S", 60)


def test_an_answer_is_duckdb_s_own(path):
    sql = "SELECT i, j, w, 'x' || i AS s, [w, w]::FLOAT[2] AS v FROM t WHERE i % 3 = 0 ORDER BY i DESC"
    with duckdb.connect(str(path), read_only=True) as connection:
        direct = connection.execute(sql).to_arrow_table()
    table = worker.query(path, sql)
    assert table.equals(direct)
    assert table.num_rows == 9000
    assert not worker.truncated(table)


def test_an_empty_answer_keeps_its_columns_and_types(path):
    table = worker.query(path, "SELECT i, w FROM t WHERE i < 0")
    assert table.num_rows == 0
    assert table.schema.types == [pa.int64(), pa.float32()]


def test_max_rows_cuts_and_says_so(path):
    cut, whole = (worker.query(path, "SELECT i FROM t ORDER BY i", max_rows=n) for n in (26_999, 27_000))
    assert (cut.num_rows, worker.truncated(cut)) == (26_999, True)
    assert (whole.num_rows, worker.truncated(whole)) == (27_000, False)
    assert cut.column("i").to_pylist() == list(range(26_999))
    assert worker.query(path, "SELECT i FROM t", max_rows=0).num_rows == 0


def test_an_answer_of_many_parts_arrives_whole(path):
    table = worker.query(path, "SELECT a.i, b.i AS k, a.w FROM t a, t b WHERE b.i < 100")  # 54 MB
    assert table.num_rows == 2_700_000
    assert table.nbytes > 3 * child.PART_BYTES
    assert table.column("k").to_numpy().sum() == 27_000 * 99 * 50
    assert table.column("i").to_numpy().max() == 26_999


def test_the_limit_ends_a_runaway_and_the_next_query_works(path):
    start = time.monotonic()
    with pytest.raises(GuardError, match=r"^stopped after 0\.5 s: narrow the query with WHERE or LIMIT$"):
        worker.query(path, RUNAWAY, limit_s=0.5)
    assert 0.5 <= time.monotonic() - start < 20
    assert one(path, "SELECT count(*) FROM t") == 27_000


@pytest.mark.parametrize("call", ["lpad('x', 2000000000, 'y')", "bitstring('1', 1000000000)"])
def test_the_limit_ends_functions_that_ignore_an_interrupt(call, path):
    start = time.monotonic()
    with pytest.raises(GuardError, match="stopped after 0.5 s"):
        one(path, f"SELECT {call}", limit_s=0.5)
    assert time.monotonic() - start < 20


def test_the_limit_is_the_query_s_own_not_the_worker_s(path, unhurried):
    one(path, "SELECT 0")  # a process is there
    assert one(path, "SELECT 1", limit_s=2) == 1
    time.sleep(2.3)  # a limit left running would end the idle worker here
    before = {w.process.pid for w in worker._queries.workers if w.alive()}
    assert one(path, "SELECT 2") == 2
    assert {w.process.pid for w in worker._queries.workers if w.alive()} == before


@pytest.mark.parametrize("sql", ["SELECT list(a.i) FROM t a, t b", "SELECT a.i, b.i FROM t a, t b"])
def test_too_much_memory_is_an_error_and_the_next_query_works(sql, path):
    start = time.monotonic()
    with pytest.raises(GuardError, match="(needs more|is larger) than 100MB"):
        worker.query(path, sql, limit_s=60, memory="100MB")
    assert time.monotonic() - start < 20
    assert one(path, "SELECT max(i) FROM t") == 26_999


def test_a_sort_too_large_for_memory_does_not_spill_beside_the_run(path):
    sort, seen = "SELECT a.i FROM t a, t b ORDER BY hash(a.i, b.i)", set()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: worker.query(path, sort, memory="100MB", limit_s=60))
        while not asked.done():
            time.sleep(0.01)
            seen |= set(os.listdir(path.parent))
        assert seen == {path.name}
        assert "100MB" in str(asked.exception())


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nothing FROM t", 'Binder Error: Referenced column "nothing" not found in FROM clause!'),
        ("SELECT 'a'::INTEGER", "Conversion Error: Could not convert string 'a' to INT32"),
        ("SELECT * FROM nowhere", "Catalog Error: Table with name nowhere does not exist!"),
        ("SELECT 1 +", "Parser Error: syntax error at end of input"),
        ("SELECT 1; SELECT 2", "only one SELECT is possible here"),
    ],
)
def test_an_error_is_duckdb_s_first_line_and_costs_no_worker(sql, words, path, unhurried):
    one(path, "SELECT 1")
    before = {w.process.pid for w in worker._queries.workers}
    with pytest.raises(GuardError) as raised:
        worker.query(path, sql)
    assert str(raised.value).startswith(words)
    assert "\n" not in str(raised.value)
    assert {w.process.pid for w in worker._queries.workers} == before


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE u (i INTEGER)", "CREATE TEMP TABLE u (i INTEGER)", "INSERT INTO t VALUES (1, 1, 1)",
        "DELETE FROM t", "COPY t TO 'out.csv'", "ATTACH 'other.duckdb'", "SET threads = 8",
        "SET enable_external_access = true", "CHECKPOINT",
        "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM 'out.csv'", "SELECT * FROM read_text('/etc/hostname')",
        "INSTALL httpfs", "LOAD httpfs", "SELECT * FROM requests", "SELECT * FROM glob('/*')",
        "SELECT * FROM query('COPY t TO ''out.csv''')",
    ],
)  # fmt: skip
def test_even_unguarded_sql_writes_nothing_and_reads_no_other_file(sql, path):
    before = path.read_bytes()
    with pytest.raises(GuardError):
        worker.query(path, sql)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_no_such_run_is_named(tmp_path):
    with pytest.raises(GuardError, match=r"there is no run file .*absent\.duckdb"):
        worker.query(tmp_path / "absent.duckdb", "SELECT 1")
    assert not list(tmp_path.iterdir())


def test_eight_threads_get_their_own_answers_from_four_processes(path):
    def ask(i: int) -> bool:
        table = worker.query(path, f"SELECT i, j FROM t WHERE i >= {i} ORDER BY i LIMIT 500")
        return table.column("j").to_pylist() == [2 * n for n in range(i, i + 500)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
    assert len(worker._queries.workers) <= worker.WORKERS


def test_callers_beyond_the_pool_wait_their_turn(path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(worker.query, path, RUNAWAY, limit_s=0.5) for _ in range(8)]
    assert all("stopped after 0.5 s" in str(a.exception()) for a in asked)
    assert one(path, "SELECT 3") == 3


def test_a_worker_that_died_while_idle_is_replaced(path):
    one(path, "SELECT 1")
    for idle in list(worker._queries.idle):
        os.kill(idle.process.pid, signal.SIGKILL)
        idle.process.wait()
    assert one(path, "SELECT 2") == 2


def test_a_file_that_was_replaced_or_removed_is_noticed(tmp_path):
    file = tmp_path / "run.duckdb"
    make(file, times=2)
    assert one(file, "SELECT max(j) FROM t") == 2 * 26_999
    make(tmp_path / "next.duckdb", times=5)
    os.replace(tmp_path / "next.duckdb", file)
    assert one(file, "SELECT max(j) FROM t") == 5 * 26_999
    file.unlink()
    with pytest.raises(GuardError, match="there is no run file"):
        worker.query(file, "SELECT 1")


def test_more_files_than_a_worker_keeps_open_all_answer(tmp_path):
    files = [tmp_path / f"{n}.duckdb" for n in range(child.OPEN_FILES + 2)]
    for n, file in enumerate(files):
        make(file, times=n)
    assert [one(f, "SELECT max(j) FROM t") for f in files * 2] == [n * 26_999 for n in range(len(files))] * 2


def test_the_round_trip_costs_little_beside_duckdb_s_own_time(path):
    sql = "SELECT i, j, w FROM t"
    with duckdb.connect(str(path), read_only=True, config={"threads": "2"}) as connection:
        direct = min(_seconds(lambda: connection.execute(sql).to_arrow_table()) for _ in range(50))
    assert min(_seconds(lambda: worker.query(path, sql)) for _ in range(50)) - direct < 0.003


def _seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT count(*) FROM t WHERE ('x' || i)", "Could not convert string 'x"),
        ("SELECT i FROM t WHERE ('x' || i)", "Could not convert string 'x"),
        ("SELECT ('x' || i)::DATE FROM t", "date"),
        ("SELECT i::TINYINT FROM t", "Conversion Error"),
        ("SELECT 2147483647::INTEGER + i::INTEGER FROM t", "Out of Range Error"),
        ("SELECT sqrt(-1 - i) FROM t", "Out of Range Error"),
        ("SELECT array_extract([1], i)::VARCHAR::DATE FROM t", "date"),
        ("SELECT strptime('x' || i, '%Y') FROM t", "x"),
        ("SELECT chr(-1 - i::INTEGER) FROM t", "Invalid Input Error"),
        ("SELECT regexp_matches('a', '(' || i) FROM t", "missing"),
        ("SELECT (i::HUGEINT * 170141183460469231731687303715884105)::HUGEINT * 100000 FROM t", "Out of Range"),
        ("SELECT 'infinity'::TIMESTAMP + INTERVAL 1 DAY - DATE '2020-01-01' FROM t", ""),
    ],
)
def test_an_error_of_a_value_is_its_own_line_and_costs_no_worker(sql, words, path, unhurried):
    """It is met while rows come, in DuckDB, in Arrow or in the system; it is not a lack of memory."""
    one(path, "SELECT 1")
    before = {w.process.pid for w in worker._queries.workers}
    try:
        worker.query(path, sql)
    except GuardError as error:
        assert words in str(error)
        assert "memory" not in str(error)
        assert "process" not in str(error)
        assert "\n" not in str(error)
    else:
        assert not words, "an error was expected"
    assert {w.process.pid for w in worker._queries.workers} == before


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT a.i, b.i, a.i FROM t a, t b LIMIT 1", ["i", "i_1", "i_2"]),
        ("SELECT * FROM t JOIN t AS u USING (i) LIMIT 1", ["i", "j", "w", "j_1", "w_1"]),
        ("SELECT 1 AS x, 2 AS x_1, 3 AS x", ["x", "x_1", "x_2"]),
    ],
)
def test_columns_of_one_name_are_numbered(sql, names, path):
    table = worker.query(path, sql)
    assert table.column_names == names
    assert len(table.to_pylist()[0]) == len(names), "none hides another"


@pytest.mark.parametrize("sql", ["SELECT row(1, 2)", "SELECT [row(1, 2)]", "SELECT {'a': row(i, j)} FROM t"])
def test_fields_of_one_name_are_one_line_with_what_to_write(sql, path):
    with pytest.raises(GuardError, match="has fields of one name: write {'a': …, 'b': …} in place of row"):
        worker.query(path, sql)
