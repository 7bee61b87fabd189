"""The catalogue: versions never lost, opened only for an operation, upgraded once, refused when newer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import datetime

import duckdb
import pytest
from conftest import ROOT

from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, StoreError
from qkstore.store.catalog import Catalog, embedded
from qkstore.store.catalog import catalog as module
from qkstore.store.catalog.migrations import MIGRATIONS

ORDER = Contrast(
    name="mine",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


@pytest.fixture
def catalog(tmp_path):
    return Catalog(tmp_path / "catalog.duckdb")


def test_reading_makes_no_file(catalog):
    assert catalog.contrasts() == []
    assert catalog.result("x") is None
    assert catalog.version() == 0
    assert not catalog.database.path.exists()


def test_saving_makes_versions_and_overwrites_nothing(catalog):
    first, second = catalog.save(ORDER), catalog.save(ORDER.replace(centring="queries", author="ann"))
    assert (first.version, second.version) == (1, 2)
    assert catalog.contrasts() == [second]
    assert catalog.versions("mine") == [first, second]
    assert catalog.contrast("mine") == second
    assert catalog.contrast("mine", 1) == first


def test_what_is_not_saved_is_named(catalog):
    catalog.save(ORDER)
    with pytest.raises(ContrastError, match="did you mean 'mine'"):
        catalog.contrast("mines")
    with pytest.raises(ContrastError, match="'mine' of version 7"):
        catalog.contrast("mine", 7)
    for name in ("", "  ", "order", "lexical", "category", "category:fruit", "mine:*", "authors/order"):
        with pytest.raises(ContrastError, match="choose another"):
            catalog.save(ORDER.replace(name=name))


def test_values_are_parameters(catalog):
    hostile = "x'); DROP TABLE contrast; --"
    catalog.save(ORDER.replace(name=hostile, description=hostile))
    assert catalog.contrast(hostile).description == hostile


def test_the_first_result_of_a_key_stays(catalog):
    catalog.keep_result("key", "heads", "run", "order", [{"head": 1}])
    catalog.keep_result("key", "heads", "run", "order", "another")
    assert catalog.result("key") == [{"head": 1}]
    assert catalog.result("no") is None


def test_file_is_free_between_calls(catalog):
    catalog.save(ORDER)
    code = f"import duckdb; duckdb.connect({str(catalog.database.path)!r}).execute('select 1')"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_busy_file_is_waited_for(catalog):
    catalog.save(ORDER)
    path = str(catalog.database.path)
    code = f"import duckdb, time; c = duckdb.connect({path!r}); print('held', flush=True); time.sleep(0.7)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() == "held"
        assert catalog.save(ORDER).version == 2


def test_threads_of_one_process_share_the_file(catalog):
    errors = []

    def work(i):
        try:
            for _ in range(5):
                catalog.save(ORDER.replace(name=f"c{i}"))
                Catalog(catalog.database.path).contrasts()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors
    assert {c.name: c.version for c in catalog.contrasts()} == {f"c{i}": 5 for i in range(4)}


def test_processes_racing_for_a_version_each_get_one(tmp_path):
    path = tmp_path / "catalog.duckdb"
    code = (
        "import sys; from qkstore.store.catalog import Catalog; from qkstore.contrast import Contrast\n"
        f"for i in range(10): Catalog({str(path)!r}).save(Contrast(name='race', positive='k.a = q.b', "
        "negative='k.a <> q.b'))"
    )
    racers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [r.wait() for r in racers] == [0, 0, 0]
    assert [c.version for c in Catalog(path).versions("race")] == list(range(1, 31))


def test_older_file_is_migrated_once_even_by_a_reader(catalog, monkeypatch):
    catalog.save(ORDER)
    monkeypatch.setattr(
        embedded,
        "MIGRATIONS",
        [*embedded.MIGRATIONS, "ALTER TABLE note ADD COLUMN mood VARCHAR DEFAULT 'calm'"],
    )
    assert catalog.contrasts()[0].name == "mine"
    assert catalog.version() == len(MIGRATIONS) + 1
    with duckdb.connect(str(catalog.database.path)) as con:
        assert con.execute("SELECT count(*) FROM migration").fetchone() == (len(MIGRATIONS) + 1,)


def test_newer_file_is_refused_and_untouched(catalog):
    catalog.save(ORDER)
    with duckdb.connect(str(catalog.database.path)) as con:
        con.execute("INSERT INTO migration VALUES (99, now()::TIMESTAMP)")
    before = catalog.database.path.read_bytes()
    for act in (catalog.contrasts, lambda: catalog.save(ORDER)):
        with pytest.raises(StoreError, match=f"version 99, this qkstore reads up to {len(MIGRATIONS)}: upgrade"):
            act()
    assert catalog.database.path.read_bytes() == before


def test_damaged_file_is_one_line(catalog):
    catalog.database.path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot be opened") as error:
        catalog.contrasts()
    assert "\n" not in str(error.value)


def test_results_of_a_kind_come_newest_first(catalog, monkeypatch):
    catalog.save(ORDER)  # makes the file
    moments = iter([datetime(2026, 1, day) for day in (2, 3, 1, 4)])
    monkeypatch.setattr(module, "now", lambda: next(moments))
    for key, kind, run in (("a", "live", "r"), ("b", "live", "r"), ("c", "live", "r"), ("d", "heads", "r")):
        catalog.keep_result(key, kind, run, "order", {"key": key})
    assert [row["key"] for row in catalog.results("live", "r")] == ["b", "a", "c"]
    assert [row["payload"]["key"] for row in catalog.results("live", "r")] == ["b", "a", "c"]
    assert catalog.results("live", "other") == []
    assert len(catalog.results("heads", "r")) == 1


def test_a_file_that_another_process_is_about_to_write_is_waited_for(tmp_path):
    path = tmp_path / "catalog.duckdb"
    path.write_bytes(b"\0" * 100)
    threading.Timer(0.3, path.unlink).start()  # what comes after it: here nothing, so that a new one is made
    Catalog(path).save(Contrast(name="late", positive="k.a = q.b", negative="k.a <> q.b"))
    assert [c.name for c in Catalog(path).contrasts()] == ["late"]


def test_control_an_old_file_that_is_no_catalogue_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "MAKING_S", 60)
    path = tmp_path / "catalog.duckdb"
    path.write_bytes(b"\0" * 100)
    os.utime(path, (1, 1))
    start = time.monotonic()
    with pytest.raises(StoreError, match="catalogue catalog.duckdb cannot be opened"):
        Catalog(path).contrasts()
    assert time.monotonic() - start < 30


def test_a_file_that_goes_away_while_it_is_looked_at_is_made_anew(tmp_path):
    catalog = Catalog(tmp_path / "catalog.duckdb")
    assert catalog.database._being_made(OSError("it exists, but it is not a valid DuckDB database file"))
    assert not catalog.database._being_made(OSError("Permission denied"))


HOSTILE = {  # what somebody put into the file: what the line says of it
    "a view": ("DROP TABLE note; CREATE VIEW note AS SELECT * FROM read_text('/etc/hostname')", "holds a view, 'note'"),
    "a macro": ("CREATE MACRO max(x) AS 99", "holds a macro, 'max'"),
    "a table": ("CREATE TABLE more (i INTEGER)", "this one makes no table 'more'"),
    "a default": ("ALTER TABLE contrast ALTER author SET DEFAULT upper('x')", "makes no table 'contrast'"),
    "a column": ("ALTER TABLE result ADD COLUMN more VARCHAR", "this one makes no table 'result'"),
    "a table less": ("DROP TABLE note", "this one makes no table 'note'"),
}


@pytest.mark.parametrize(("sql", "says"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_holds_more_than_a_catalogue_is_one_line(catalog, sql, says):
    catalog.save(ORDER)
    with duckdb.connect(str(catalog.database.path)) as con:
        con.execute(sql)
    for act in (catalog.contrasts, lambda: catalog.save(ORDER), lambda: catalog.result("key")):
        with pytest.raises(StoreError) as error:
            act()
        assert says in str(error.value)
        assert "\n" not in str(error.value)


KILLED = """
import os, sys
from qkstore.store.catalog.embedded import Embedded
with Embedded(sys.argv[1]).transaction() as execute:
    os._exit(9)
"""


def test_a_catalogue_whose_first_writer_was_killed_is_one(tmp_path):
    """Its tables had been made, and were not in the file's own blocks yet."""
    path = tmp_path / "catalog.duckdb"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, timeout=60).returncode == 9
    assert path.exists()
    assert Catalog(path).contrasts() == []
    assert Catalog(path).save(ORDER).version == 1
