"""A run file that ends the process which reads it: a server looks at each in another one first, and goes on."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import stores

import qkstore
from qkstore.errors import QKStoreError, StoreError
from qkstore.run import Run
from qkstore.sql import worker
from qkstore.store import overview


@pytest.fixture
def store(tmp_path):
    for name in ("good", "bad"):
        stores.write(tmp_path / "store", name, stores.boxes(n=16))
    made = qkstore.open(tmp_path / "store")
    made.look = worker.look
    return made


@pytest.fixture
def ended(monkeypatch):
    """What a worker was asked of the file `bad`, which ends it each time, as DuckDB ends with made-up bytes."""
    asked, plain = [], worker._Worker.ask

    def ask(self, request, who):
        if "bad.duckdb" in str(request):
            asked.append(request)
            self.process.kill()
            self.process.wait()
        return plain(self, request, who)

    monkeypatch.setattr(worker._Worker, "ask", ask)
    return asked


def test_such_a_file_is_one_line_and_the_others_work(store, ended):
    runs, errors = store.scan()
    assert [run.name for run in runs] == ["good"]
    tried = len(ended)
    assert tried == 2, "with the others, and by itself"
    assert [str(e) for e in errors] == ["run file bad.duckdb ends the program that reads it; it is not opened"]
    with pytest.raises(StoreError, match="ends the program"):
        store.run("bad")
    assert len(ended) == tried, "it is not tried again"
    assert store.run("good").tokens(0)


def test_one_that_was_put_in_its_place_is_looked_at_anew(store, ended, monkeypatch):
    store.scan()
    path = store.path / "runs" / "bad.duckdb"
    os.replace(store.path / "runs" / "good.duckdb", path)
    monkeypatch.undo()
    assert [run.name for run in store.runs()] == ["bad"]


def test_a_good_file_is_looked_at_once(store, monkeypatch):
    seen = []
    store.look = lambda paths: seen.extend(path.name for path in paths) or worker.look(paths)
    with ThreadPoolExecutor(8) as pool:  # sessions that meet it at the same time
        assert [len(runs) for runs, _ in pool.map(lambda _: store.scan(), range(8))] == [2] * 8
    store.run("good")
    assert sorted(seen) == ["bad.duckdb", "good.duckdb"]
    assert qkstore.open(store.path).look is None, "a command reads for itself alone"


def test_control_without_a_look_it_is_opened_here(store, monkeypatch):
    opened, plain = [], Run.__init__
    monkeypatch.setattr(Run, "__init__", lambda self, *found: opened.append(found[0].name) or plain(self, *found))
    store.look = None
    store.scan()
    assert sorted(opened) == ["bad.duckdb", "good.duckdb"]


def test_a_run_whose_labels_cannot_be_read_does_not_hide_the_others(store, monkeypatch):
    plain = overview.answers

    def answers(run):
        if run.name == "bad":
            raise StoreError("run file bad.duckdb is damaged")
        return plain(run)

    monkeypatch.setattr(overview, "answers", answers)
    found = overview.overview(store)
    assert list(found.runs["run"]) == ["good"]
    assert all(isinstance(e, QKStoreError) for e in found.damaged)
    assert [str(e) for e in found.damaged] == ["run file bad.duckdb is damaged"]


@pytest.mark.parametrize("name", ["catalog.duckdb", "catalog.duckdb.wal"])
def test_a_catalogue_that_is_a_pipe_is_one_line(store, name):
    store.catalog.notes.on()
    os.mkfifo(store.path / name)
    with pytest.raises(StoreError, match=f"catalogue catalog.duckdb cannot be opened: {name} is no file"):
        store.catalog.save(qkstore.Contrast("mine", positive="k.pos = 1", negative="k.pos = 2"))
    with pytest.raises(StoreError, match="is no file"):
        if name.endswith(".wal"):
            (store.path / "catalog.duckdb").touch()
        store.catalog.contrasts()
