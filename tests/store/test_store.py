"""A store: what lies in its directory is what it has, without a restart, and what is no run disturbs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import ROOT
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, GuardError, QKStoreError, RunError, StoreError
from qkstore.run.incoming import Incoming
from qkstore.store.catalog import Catalog, embedded
from qkstore.store.catalog.migrations import MIGRATIONS

ORDER = Contrast(
    name="mine",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "a", data=synthetic(8))
    return qkstore.open(tmp_path)


def names(store):
    return [r.name for r in store.runs()]


# -- where -------------------------------------------------------------------------------------------------------


def test_a_store_is_found_by_argument_then_environment_then_default(tmp_path, monkeypatch):
    for name in ("argument", "environment", "store"):
        write(tmp_path / name, name, data=synthetic(4))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QKSTORE", raising=False)
    assert names(qkstore.open()) == ["store"]
    monkeypatch.setenv("QKSTORE", "environment")
    assert names(qkstore.open()) == ["environment"]
    assert names(qkstore.open("argument")) == ["argument"]
    monkeypatch.setenv("QKSTORE", "")
    assert names(qkstore.open()) == ["store"]


def test_a_store_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made: Not a directory"):
        qkstore.open(tmp_path / "file" / "store", create=True)
    assert qkstore.open(tmp_path / "a" / "b", create=True).runs() == []
    assert repr(qkstore.open(tmp_path / "a" / "b")).startswith("Store(")


# -- discovery ---------------------------------------------------------------------------------------------------


def test_what_is_no_run_is_passed_over(store):
    runs = store.path / "runs"
    for name in (".a.duckdb.swp", "._a.duckdb", ".duckdb", "notes.txt", "a.duckdb.wal", "a.duckdb.bak", "a"):
        (runs / name).write_bytes(b"not a run")
    (runs / "folder").mkdir()
    with Incoming(store.path, "half", {}):
        assert names(store) == ["a"]
        assert store.scan()[1] == []
    (runs / "broken.duckdb").write_bytes(b"not a run")  # the control: a run by its name is told
    assert names(store) == ["a"]
    assert len(store.scan()[1]) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two words.duckdb", "run name 'two words'"),
        ("-a.duckdb", "run name '-a'"),
        ("empty.duckdb", "damaged or unfinished"),
        ("folder.duckdb", "no run file"),
        ("other.duckdb", "was not made by qkstore"),
        ("gone.duckdb", "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_run_is_listed_and_hides_no_other(store, name, says):
    path = store.path / "runs" / name
    if name.startswith("folder"):
        path.mkdir()
    elif name.startswith("other"):
        with duckdb.connect(str(path)) as con:
            con.execute("CREATE TABLE run (a INTEGER); INSERT INTO run VALUES (1)")
    elif name.startswith("gone"):
        path.symlink_to(store.path / "nothing")
    else:
        path.write_bytes(b"" if name.startswith("empty") else (store.path / "runs/a.duckdb").read_bytes())
    runs, (error,) = store.scan()
    assert [r.name for r in runs] == ["a"]
    assert says in str(error)
    assert "\n" not in str(error)


def test_a_run_that_comes_or_goes_is_seen_without_a_restart(store):
    assert names(store) == ["a"]
    write(store.path, "v1.2-b_c", data=synthetic(12))
    assert names(store) == ["a", "v1.2-b_c"]
    assert store.run("v1.2-b_c").n_prompts == 12
    assert store.run("v1.2-b_c") is store.run("v1.2-b_c")
    (store.path / "runs/a.duckdb").unlink()
    assert names(store) == ["v1.2-b_c"]
    with pytest.raises(RunError, match=r"no run 'a' in the store; there are: v1\.2-b_c$"):
        store.run("a")


def test_a_run_may_be_copied_under_another_name(store):
    shutil.copy(store.path / "runs/a.duckdb", store.path / "runs/colleague.duckdb")
    assert names(store) == ["a", "colleague"]
    assert np.array_equal(store.run("colleague").queries(1, 1), store.run("a").queries(1, 1))
    assert store.run("colleague").name == "colleague"
    assert store.run("colleague").manifest.run == "a"


def test_a_file_that_was_mended_is_read_anew(store):
    path, other = store.path / "runs/a.duckdb", store.path / "other"
    write(other, "a", data=synthetic(20, seed=3))
    with duckdb.connect(str(other / "runs/a.duckdb")) as con:
        con.execute("CREATE TABLE kept AS SELECT * FROM run; DELETE FROM run")
    os.replace(other / "runs/a.duckdb", path)  # a run without its manifest: unfinished
    runs, errors = store.scan()
    assert runs == []
    assert "unfinished" in str(errors[0])
    with duckdb.connect(str(path)) as con:
        con.execute("INSERT INTO run SELECT * FROM kept; DROP TABLE kept")
    assert store.run("a").n_prompts == 20
    assert np.array_equal(store.run("a").queries(0, 0), synthetic(20, seed=3).q[0, 0])
    assert errors  # held on purpose: a kept error must not keep the old file open


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "runs/a", "a\0", "x" * 300, "A", "a.duckdb", "²"])
def test_a_name_that_is_no_run(store, name):
    with pytest.raises(RunError, match="no run") as error:
        store.run(name)
    assert "\n" not in str(error.value)


def test_a_store_that_may_only_be_read_is_read():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        write(path, "a", data=synthetic(8))
        qkstore.open(path).catalog.save(ORDER)
        copy = shutil.copytree(path, Path(folder) / "copy")
        code = (
            "import os, qkstore; from qkstore.errors import QKStoreError\n"
            "def use(path):\n"
            "    store = qkstore.open(path)\n"
            "    assert store.run('a').queries(1, 0).shape == (8, 8) and store.catalog.contrast('mine').version == 1\n"
            "    try: store.catalog.save(store.catalog.contrast('mine'))\n"
            "    except QKStoreError as error: print(error)\n"
            f"use({str(copy)!r})\n"  # writable, and all that is imported late is there now
            "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            f"use({str(path)!r})"
        )
        for place in (path / "runs", path):
            place.chmod(0o555)
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        for place in (path, path / "runs"):
            place.chmod(0o755)
        assert done.returncode == 0, done.stderr
        assert "catalog.duckdb cannot be opened" in done.stdout
        assert done.stdout.count("\n") == 1
        assert [len(qkstore.open(p).catalog.versions("mine")) for p in (path, copy)] == [1, 2]


def test_threads_get_one_run_each_with_its_own_rows(store):
    runs, wrong, expected = [], [], synthetic(8)

    def work(head):
        runs.append(store.run("a"))
        for _ in range(20):
            if not np.array_equal(store.run("a").queries(1, head), expected.q[1, head]):
                wrong.append(head)

    threads = [threading.Thread(target=work, args=(h,)) for h in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
    assert len(set(map(id, runs))) == 1


# -- the catalogue's corners -------------------------------------------------------------------------------------


def test_a_notebook_that_holds_the_catalogue_open_is_told(store, monkeypatch):
    store.catalog.save(ORDER)
    monkeypatch.setattr(embedded, "READ_S", 0.1)
    holds = pytest.raises(StoreError, match="held open by another connection of this process")
    with duckdb.connect(str(store.path / "catalog.duckdb")), holds:
        store.catalog.contrasts()
    assert store.catalog.contrasts()[0].name == "mine"


def test_a_path_with_lock_in_it_is_not_taken_for_a_busy_file(tmp_path):
    catalog = Catalog(tmp_path / "clocks" / "catalog.duckdb")
    catalog.database.path.parent.mkdir()
    catalog.database.path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        catalog.contrasts()


def test_what_a_crash_left_in_the_log_is_read_and_packed(store, tmp_path_factory):
    store.catalog.save(ORDER)
    code = (
        f"import os, duckdb; con = duckdb.connect({str(store.path / 'catalog.duckdb')!r})\n"
        'con.execute("INSERT INTO contrast BY NAME SELECT * REPLACE (2 AS version) FROM contrast"); os._exit(1)'
    )
    subprocess.run([sys.executable, "-c", code])
    assert (store.path / "catalog.duckdb.wal").exists()
    target = tmp_path_factory.mktemp("copy") / "catalog.duckdb"
    assert [c.version for c in store.catalog.versions("mine")] == [1, 2]
    assert store.catalog.copy(target)
    assert [c.version for c in Catalog(target).versions("mine")] == [1, 2]


def test_the_next_version_is_newer_already(store):
    store.catalog.save(ORDER)
    with duckdb.connect(str(store.path / "catalog.duckdb")) as con:
        con.execute(f"INSERT INTO migration VALUES ({len(MIGRATIONS) + 1}, now()::TIMESTAMP)")
    for act in (store.catalog.contrasts, store.catalog.version, lambda: store.catalog.save(ORDER)):
        with pytest.raises(
            StoreError,
            match=f"of version {len(MIGRATIONS) + 1}, this qkstore reads up to {len(MIGRATIONS)}",
        ):
            act()


@pytest.mark.parametrize("name", ["two\nlines", "tab\t", "\x1b[31mred", "zero\u200bwidth"])
def test_a_name_that_cannot_be_shown_is_not_saved(store, name):
    with pytest.raises(ContrastError, match="unprintable") as error:
        store.catalog.save(ORDER.replace(name=name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("predicate", ["k.order_id = = 1", "k.order_id = 1; drop table contrast", "(k.order_id = 1"])
def test_what_cannot_be_parsed_is_not_saved(store, predicate):
    with pytest.raises(GuardError):
        store.catalog.save(ORDER.replace(positive=predicate))
    assert store.catalog.contrasts() == []
    assert store.catalog.save(ORDER).version == 1


def test_features_are_of_the_newest_version_and_every_error_is_the_stores(store):
    run = store.run("a")
    store.catalog.save(ORDER), store.catalog.save(ORDER.replace(centring="queries"))
    (newest,) = store.feature(run, "mine")
    assert newest.version == 2
    assert store.features(run)["mine"] == (newest,)
    with pytest.raises(QKStoreError, match="did you mean 'mine'"):
        store.feature(run, "mime")
    assert isinstance(store.path, Path)
