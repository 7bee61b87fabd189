"""A catalogue that another program holds: readers go on with a copy, writers give up soon, and both name the holder."""

from __future__ import annotations

import threading
import time

import duckdb
import pytest
from holding import holding

from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.store.catalog import Catalog, held
from qkstore.store.catalog import embedded as module

MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READ_S", 0.3)
    monkeypatch.setattr(module, "WRITE_S", 0.6)
    made = Catalog(tmp_path / "catalog.duckdb")
    made.save(MINE)
    made.keep_result("key", "heads", "run", "mine", [1])
    return made


def timed(act):
    start = time.monotonic()
    return act(), time.monotonic() - start


def test_a_reader_goes_on_with_a_copy_and_says_who_holds_the_file(catalog, monkeypatch):
    monkeypatch.setattr(module, "READ_S", 2)
    with holding(catalog.database.path) as process:
        fresh = Catalog(catalog.database.path)  # of a process that has read nothing yet
        contrasts, first = timed(fresh.contrasts)
        result, second = timed(lambda: fresh.result("key"))
        assert [c.name for c in contrasts] == ["mine"]
        assert result == [1]
        assert fresh.version() == len(module.MIGRATIONS)
        assert second < 2 <= first, "who has waited once does not wait again"
        assert f"process {process.pid} (python" in fresh.held
        assert "\n" not in fresh.held
        assert "/" not in fresh.held
    assert fresh.contrasts() == contrasts
    assert fresh.held is None


def test_what_the_holder_has_committed_is_read_and_what_it_has_not_is_not(catalog):
    then = (
        "con.execute('INSERT INTO contrast BY NAME SELECT * REPLACE (2 AS version) FROM contrast')\n"
        "con.execute('BEGIN'); con.execute('DELETE FROM contrast')"
    )
    with holding(catalog.database.path, then):
        assert [c.version for c in catalog.versions("mine")] == [1, 2]
        assert catalog.database.path.with_name("catalog.duckdb.wal").exists(), "the holder's log is not touched"


def test_a_writer_gives_up_after_seconds_and_names_the_holder(catalog):
    with holding(catalog.database.path) as process:
        start = time.monotonic()
        with pytest.raises(StoreError, match=rf"held open by process {process.pid} \(python") as error:
            catalog.save(MINE)
        assert 0.6 <= time.monotonic() - start < 20
        assert "\n" not in str(error.value)
        assert str(catalog.database.path.parent) not in str(error.value)
    assert catalog.save(MINE).version == 2


@pytest.mark.parametrize("act", [lambda c: c.save(MINE), lambda c: c.contrasts()], ids=["writers", "readers"])
def test_those_who_wait_do_not_wait_for_each_other(catalog, act, monkeypatch):
    monkeypatch.setattr(module, "READ_S", 2)
    monkeypatch.setattr(module, "WRITE_S", 2)

    def work():
        try:
            act(Catalog(catalog.database.path))
        except StoreError as error:
            told.append(str(error))

    told, threads = [], [threading.Thread(target=work) for _ in range(8)]
    with holding(catalog.database.path):
        start = time.monotonic()
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert time.monotonic() - start < 10, "eight at 2 s in turn would take 16 s"
    assert len(told) in (0, 8)


def test_a_program_that_only_reads_stops_writers_and_no_reader(catalog):
    with holding(catalog.database.path, read_only=True) as process:
        assert [c.name for c in catalog.contrasts()] == ["mine"]
        assert catalog.held is None
        with pytest.raises(StoreError, match=f"process {process.pid}"):
            catalog.save(MINE)


def test_an_older_catalogue_is_brought_up_to_date_in_the_copy_alone(catalog, monkeypatch):
    more = [*module.MIGRATIONS, "ALTER TABLE note ADD COLUMN mood VARCHAR DEFAULT 'calm'"]
    monkeypatch.setattr(module, "MIGRATIONS", more)
    with holding(catalog.database.path):
        assert [c.name for c in catalog.contrasts()] == ["mine"]
    with duckdb.connect(str(catalog.database.path)) as con:
        assert con.execute("SELECT count(*) FROM migration").fetchone() == (len(more) - 1,)


def test_a_catalogue_that_is_written_all_the_while_is_one_line(catalog, monkeypatch):
    monkeypatch.setattr(held, "PAUSE_S", 0)
    stamps = iter(range(1000))
    monkeypatch.setattr(held, "_stamp", lambda path: next(stamps))
    with holding(catalog.database.path), pytest.raises(StoreError, match="is being written by another program"):
        catalog.contrasts()


def test_a_backup_of_a_catalogue_that_is_held_names_the_holder(catalog, tmp_path):
    with holding(catalog.database.path) as process, pytest.raises(StoreError, match=f"process {process.pid}"):
        catalog.copy(tmp_path / "copy.duckdb")
    assert catalog.copy(tmp_path / "copy.duckdb")


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("held in /usr/bin/duckdb (PID 42). See", "process 42 (duckdb)"),
        ("held in /opt/a (b)/python3 (PID 7). However", "process 7 (python3)"),
        ("Could not set lock on file: Permission", "another program"),
        ("a different configuration than", "another connection of this process"),
    ],
)
def test_the_holder_is_named_as_duckdb_tells(text, who):
    assert held.holder(OSError(text)) == who
