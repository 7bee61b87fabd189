"""A run is what was published: whatever is changed in its file afterwards is found, and named."""

from __future__ import annotations

import stat
import subprocess
import sys

import duckdb
import pytest
import stores

import qkstore
from qkstore.errors import StoreError
from qkstore.store import archive

CHANGES = {
    "a label": ("UPDATE k SET role = 'other' WHERE key_row = 0", "labels"),
    "a prompt's split": (
        "UPDATE prompt SET split = 'train' WHERE prompt_id = (SELECT max(prompt_id) FROM prompt)",
        "labels",
    ),
    "a rule": ("UPDATE layer SET scaling = scaling * 2", "labels"),
    "a token's text": ("UPDATE token SET text = 'other' WHERE prompt_id = 0 AND pos = 0", "labels"),
    "a query": ("UPDATE query_vector SET v = list_transform(v, x -> x + 1) WHERE row = 3 AND head = 0", "layer"),
    "keys change places": ("UPDATE key_vector SET row = 1 - row WHERE row < 2", "layer"),
    "a log-sum-exp": ("UPDATE row_stat SET logsumexp = logsumexp + 1e-9 WHERE row = 0", "layer"),
}


@pytest.fixture
def store(tmp_path):
    return qkstore.open(stores.write(tmp_path / "store", n=40))


def run_file(store):
    return sorted((store.path / "runs").glob("*.duckdb"))[0]


def change(path, sql: str) -> None:
    path.chmod(0o644)
    with duckdb.connect(str(path)) as con:
        con.execute(sql)


def test_a_run_that_nobody_touched_is_well(store):
    well, ill = archive.check(store)
    assert not ill
    assert len(well) >= 2
    (run,) = store.runs()[:1]
    assert run.changed() == []
    assert run.content in run.identity


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_and_named(store, name):
    sql, where = CHANGES[name]
    change(run_file(store), sql)
    ill = archive.check(qkstore.open(store.path))[1]
    assert any("was changed after it was published: " in line and where in line for line in ill), ill


def test_control_a_file_that_was_only_written_anew_is_the_same(store):
    """A digest is of the content, not of the blocks on the disk."""
    path = run_file(store)
    change(path, "UPDATE k SET role = role; UPDATE query_vector SET row = row WHERE head = 1")
    change(path, "CHECKPOINT")
    assert archive.check(qkstore.open(store.path))[1] == []


def test_a_run_without_digests_is_read_and_checked_as_before(store):
    path = run_file(store)
    change(path, "ALTER TABLE run DROP content")
    fresh = qkstore.open(store.path)
    assert archive.check(fresh)[1] == []
    assert fresh.runs()[0].content is None
    assert len(fresh.runs()[0].identity) == 3


def test_runs_are_published_read_only(tmp_path):
    store = qkstore.open(stores.write(tmp_path / "own", data=stores.boxes(n=40)))
    assert stat.S_IMODE(run_file(store).stat().st_mode) == 0o444
    archive.backup(store, store.path.parent / "all.tar")
    back = archive.restore(store.path.parent / "back", store.path.parent / "all.tar")
    assert stat.S_IMODE(run_file(qkstore.open(back)).stat().st_mode) == 0o444


def test_a_run_that_is_held_for_writing_names_who_holds_it(store):
    path = run_file(store)
    path.chmod(0o644)
    code = f"import duckdb; c = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(StoreError, match=f"is open for writing by process {holder.pid}; close it there"):
            qkstore.Run(path)
    finally:
        holder.communicate("\n")
    qkstore.Run(path).close()
