"""Renaming and removing a run: the file and what the catalogue keeps of it go together, in a folder and in a bucket."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import stores
from descriptors import opened

import qkstore
from qkstore.analysis import heads
from qkstore.errors import RoleError, RunError, StoreError
from qkstore.run.incoming import Incoming
from qkstore.store import Store
from qkstore.store.archive import check
from qkstore.store.catalog.person import Person
from qkstore.store.inventory import lost
from qkstore.store.transfer import transfer


@pytest.fixture
def store(each_store) -> Store:
    return each_store


def noted(store: Store, *names: str) -> None:
    """Leave notes on runs, and one on a contrast."""
    for name in names:
        store.catalog.notes.add(f"on {name}", name)
        store.catalog.notes.add(f"on a head of {name}", name, "L1 H0")
    store.catalog.notes.add("on a contrast", "", "contrast order")


def names(store: Store) -> list[str]:
    return [run.name for run in store.runs()]


# -- rename ------------------------------------------------------------------------------------------------------------


def test_notes_and_results_follow_a_run_to_its_new_name(store):
    noted(store, "a", "b")
    run = store.run("a")
    (order,) = store.feature(run, "order")
    kept, digest = heads.kept(store, run, order), run.digest
    store.rename("a", "first")
    assert names(store) == ["b", "first"]
    there = store.run("first")
    assert (there.digest, there.name) == (digest, "first")
    assert {n.text for n in store.catalog.notes.on("first")} == {"on a", "on a head of a"}
    assert store.catalog.notes.on("a") == []
    assert len(store.catalog.notes.on("b")) == 2
    assert len(store.catalog.notes.on("")) == 1
    assert store.catalog.made(heads.key(there, order))["run"] == "first"
    assert heads.kept(store, there, order) == kept
    assert check(store)[1] == []
    assert ("run a", "renamed to first") in [(c.subject, c.act) for c in store.catalog.changes()]


def test_an_old_name_says_where_the_run_went(store):
    store.rename("a", "first")
    store.rename("first", "best")
    for old in ("a", "first"):
        with pytest.raises(RunError, match=rf"^no run '{old}' in .*: it was renamed to best by \w+, 20\d\d-"):
            store.run(old)
        assert store.catalog.runs.gone(old)[0] == "best"
    store.remove("best")
    with pytest.raises(RunError, match="no run 'a' in .*: it was removed by"):
        store.run("a")
    with pytest.raises(RunError, match="no run 'never' in .*; there are: b"):
        store.run("never")


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("b", "a run 'b' is in the store already"),
        ("a", "run 'a' and run 'a' differ in capitals at most, so there is nothing to rename"),
        ("A", "run 'A' and run 'a' differ in capitals at most, which some disks do not tell apart"),
        ("B", "run 'B' and run 'b' differ in capitals at most, which some disks do not tell apart"),
        ("../up", "run name '../up': use letters"),
        ("", "run name '': use letters"),
        ("x" * 101, "at most 100"),
        ("[x](y)", "use letters"),
    ],
)
def test_a_name_that_would_break_something_is_refused(store, new, says):
    noted(store, "a")
    with pytest.raises(RunError, match=says.replace("(", r"\(").replace("[", r"\[")):
        store.rename("a", new)
    assert names(store) == ["a", "b"]
    assert len(store.catalog.notes.on("a")) == 2


def test_neither_is_done_to_a_run_that_is_not_there(store):
    for act in (lambda: store.rename("c", "d"), lambda: store.remove("c"), lambda: lost(store, "c")):
        with pytest.raises(RunError, match="no run 'c' in .*; there are: a, b"):
            act()


def test_a_name_that_an_ingest_will_need_is_refused(store):
    with Incoming(store.path, "coming", {}), pytest.raises(RunError, match="an unfinished ingest will be run 'coming'"):
        store.rename("a", "coming")
    assert names(store) == ["a", "b"]


def test_a_catalogue_that_cannot_be_written_leaves_the_name(store, monkeypatch):
    def away(*_):
        raise StoreError("catalogue away")

    monkeypatch.setattr(type(store.catalog.runs), "rename", away)
    with pytest.raises(StoreError, match="catalogue away"):
        store.rename("a", "first")
    assert names(store) == ["a", "b"]


# -- remove ------------------------------------------------------------------------------------------------------------


def test_a_run_goes_with_its_results_and_its_notes_are_withdrawn(store):
    noted(store, "a", "b")
    run, (order,) = store.run("a"), store.feature(store.run("a"), "order")
    heads.kept(store, run, order)
    store.catalog.keep_result("r1", "report", "a+b", "", {})
    store.catalog.keep_result("r2", "report", "aa+ba", "", {})  # of others
    assert lost(store, "a").endswith("notes on it: 2; kept results: 1 heads, 1 report")
    before = run.queries(0, 0)
    store.remove("a")
    assert names(store) == ["b"]
    assert (run.queries(0, 0) == before).all(), "who has it open reads on"
    assert not store.catalog.runs.kept("a")
    assert store.catalog.result("r1") is None
    assert store.catalog.result("r2") == {}
    assert len(store.catalog.notes.on("b")) == 2
    assert store.catalog.notes.count() == 3
    assert ("run a", "removed") in [(c.subject, c.act) for c in store.catalog.changes()]
    with pytest.raises(RunError, match="no run 'a' in .*: it was removed by"):
        store.remove("a")
    assert check(store)[1] == []


def test_another_run_may_take_the_name_of_one_that_is_gone(store, tmp_path):
    noted(store, "a")
    store.remove("a")
    transfer(qkstore.open(stores.write(tmp_path / "new", "a", stores.boxes(n=16))), "a", store)
    assert store.run("a").n_prompts == 16
    assert store.catalog.notes.on("a") == []
    assert store.catalog.runs.gone("a") == (None, "") or not store.shared
    assert ("a" in store.catalog.runs.added()) is store.shared


def test_a_damaged_run_can_be_removed_and_renamed(tmp_path):
    store = qkstore.open(stores.write(tmp_path, "a", n=16))
    (tmp_path / "runs" / "odd.duckdb").write_bytes(b"no database" * 100)
    store.rename("odd", "odder")
    with pytest.raises(StoreError, match="run file odder.duckdb is damaged"):
        store.run("odder")
    store.remove("odder")
    assert store.scan()[1] == []


def test_a_folder_that_cannot_be_written_is_one_line_and_nothing_is_changed(tmp_path, monkeypatch):
    store = qkstore.open(stores.write(tmp_path, "a", n=16))
    noted(store, "a")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match="^run 'a' was not deleted: Permission denied$"):
        store.remove("a")
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match="^run 'a' was not renamed: Permission denied$"):
        store.rename("a", "b")
    assert names(store) == ["a"]
    assert len(store.catalog.notes.on("a")) == 2


def test_a_server_lets_the_file_of_a_removed_run_go(tmp_path):
    store, other = (qkstore.open(stores.write(tmp_path / "s", "a", n=64)) for _ in range(2))
    stores.write(tmp_path / "s", "b", stores.boxes(n=32))
    assert names(store) == ["a", "b"]
    path = store.run("a").path
    other.remove("a")
    held = f"{path} (deleted)"
    assert held in opened()
    assert names(store) == ["b"]
    assert held not in opened()
    assert store.run("b").n_prompts == 32


# -- who may -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_only_an_admin_may(store, role):
    noted(store, "a")
    acting = store.acting(Person("ed@example.org", role))
    for act, what in ((lambda: acting.rename("a", "x"), "rename a run"), (lambda: acting.remove("a"), "delete a run")):
        with pytest.raises(RoleError, match=f"has the role {role}, and may not {what}: that needs the role admin"):
            act()
    assert names(store) == ["a", "b"]
    store.acting(Person("ada@example.org", "admin")).rename("a", "x")
    assert store.catalog.changes()[0].author == "ada@example.org"
