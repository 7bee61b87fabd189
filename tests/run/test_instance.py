"""Runs of a folder share one DuckDB: none sees another's rows, none goes down with another, and few are held open."""

from __future__ import annotations

import gc
import os
import shutil
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import fuzzed_files
import numpy as np
import pytest
import spoilt
import synthetic
from conftest import ROOT
from descriptors import opened

import qkstore
from qkstore.errors import QKStoreError, StoreError
from qkstore.run import file
from qkstore.sql import instance, memory
from qkstore.store import archive


@pytest.fixture
def store(tmp_path):
    """Runs of other vectors each."""
    for seed, name in enumerate(("a", "b", "c", "d")):
        synthetic.write(tmp_path / "store", name, data=synthetic.synthetic(8, seed=seed))
    return qkstore.open(tmp_path / "store")


def first(run) -> list:
    return run.queries(1, 2)[0].tolist()


def descriptors(folder: Path) -> list[str]:
    """The run files of a folder that this process has open."""
    return [name for name in opened() if name.startswith(str(folder))]


def ending(path: Path) -> None:
    """Have a file say, under right checksums, that its catalogue is in no block; DuckDB calls that its own mistake."""
    data = bytearray(path.read_bytes())
    for header in (fuzzed_files.HEADER, 2 * fuzzed_files.HEADER):
        struct.pack_into("<q", data, header + 16, (23 << 56) + 127)  # after the checksum and a number
    path.unlink()
    path.write_bytes(fuzzed_files.signed(data))


# -- one for all ---------------------------------------------------------------------------------------------------


def test_runs_of_a_folder_share_one_and_each_has_its_rows(store):
    runs = store.runs()
    assert len({first(run)[0] for run in runs}) == 4
    assert len({id(run._file.place.instance) for run in runs}) == 1
    other = qkstore.Run(store.path / "runs" / "a.duckdb")
    assert other._file.place.instance is runs[0]._file.place.instance, "a file that is opened twice is attached twice"
    other.close()
    assert first(runs[0])
    with pytest.raises(duckdb.ConnectionException):
        other.queries(1, 2)


@pytest.mark.parametrize(
    "kind", ["SCHEMA run{}", "TABLE run{} AS SELECT 1", "VIEW run{} AS SELECT 1", "MACRO run{}() AS 1"]
)
def test_a_file_cannot_pose_as_another(tmp_path, kind):
    """Whatever the next names of attached files are."""
    place = spoilt.place(tmp_path)
    run = place.store.run("good")
    expected, names = first(run), range(int(run._file.place.name[3:]), int(run._file.place.name[3:]) + 8)
    place.spoil("; ".join(f"CREATE {kind.format(number)}" for number in names))
    assert "not opened" in place.scanned() or "no run has" in place.scanned()
    assert first(place.store.run("good")) == expected


def test_a_file_that_takes_anothers_place_is_read_anew_and_the_old_one_by_who_reads_it(store):
    path, old = store.path / "runs" / "a.duckdb", qkstore.Run(store.path / "runs" / "a.duckdb")
    before, reader = first(old), old.cursor().execute("SELECT row, v FROM query_vector").to_arrow_reader(64)
    os.replace(store.path / "runs" / "b.duckdb", path)
    new = store.run("a")
    assert first(new) != before
    assert first(old) == before
    old.close()
    assert sum(batch.num_rows for batch in reader) == 8 * 4 * 2


def test_a_file_that_is_gone_is_read_on_and_no_other_in_its_place(store, monkeypatch):
    run, path = store.run("a"), store.path / "runs" / "a.duckdb"
    before = first(run)
    path.unlink()
    assert first(run) == before
    monkeypatch.setattr(instance, "MOST_ATTACHED", 1)
    assert first(store.run("b")) != before
    with pytest.raises(StoreError, match="run file a.duckdb was replaced, changed or removed since it was opened"):
        first(run)
    shutil.copyfile(store.path / "runs" / "b.duckdb", path)
    with pytest.raises(StoreError, match="run file a.duckdb was replaced, changed or removed since it was opened"):
        first(run)


def test_a_file_that_was_written_to_is_told_from_what_was_looked_at_even_if_its_date_is_set_back(store, monkeypatch):
    monkeypatch.setattr(instance, "MOST_ATTACHED", 1)
    run, path = store.run("a"), store.path / "runs" / "a.duckdb"
    stat = path.stat()
    first(store.run("b"))
    with duckdb.connect(str(path)) as con:
        con.execute("UPDATE query_vector SET row = 7 - row")
    os.truncate(path, stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    with pytest.raises(StoreError, match="was replaced, changed or removed"):
        first(run)


# -- one that ends it ----------------------------------------------------------------------------------------------


def test_control_such_a_file_ends_the_duckdb_that_it_is_attached_to(store):
    ending(store.path / "runs" / "d.duckdb")
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{store.path}/runs/a.duckdb' AS a (READ_ONLY)")
        with pytest.raises(duckdb.Error, match="INTERNAL"):
            con.execute(f"ATTACH '{store.path}/runs/d.duckdb' AS d (READ_ONLY)")
        with pytest.raises(duckdb.FatalException, match=instance.ELSEWHERE):
            con.execute("SELECT count(*) FROM a.q")


def test_the_others_go_on_when_a_file_ends_their_duckdb(store):
    run, cursor = store.run("a"), store.run("b").cursor()
    expected = first(run)
    ending(store.path / "runs" / "d.duckdb")
    runs, errors = store.scan()
    assert [one.name for one in runs] == ["a", "b", "c"]
    assert [str(e).split(":")[0] for e in errors] == ["run file d.duckdb is damaged or unfinished"]
    assert "\n" not in str(errors[0])
    assert first(run) == expected
    with pytest.raises(duckdb.FatalException):
        cursor.execute("SELECT 1")
    there = run._file.place
    assert len(store.scan()[1]) == 1
    assert run._file.place is there, "it is tried by itself from then on"


def test_readers_in_threads_do_not_notice(store):
    runs = {name: store.run(name) for name in "abc"}
    expected, wrong, stop = {name: run.queries(1, 2) for name, run in runs.items()}, [], threading.Event()

    def read(name):
        while not stop.is_set():
            try:
                if not np.array_equal(runs[name].queries(1, 2), expected[name]):
                    wrong.append(name)
            except QKStoreError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=read, args=(name,)) for name in "abc" * 2]
    [t.start() for t in threads]
    ending(bad := store.path / "runs/d.duckdb")
    for number in range(6):
        shutil.copyfile(bad, store.path / f"runs/bad{number}.duckdb")
        assert len(store.scan()[1]) == number + 2
    stop.set()
    [t.join() for t in threads]
    assert not wrong


# -- many ----------------------------------------------------------------------------------------------------------


def many(folder: Path, n: int) -> Path:
    """A store of n runs that are one file under n names."""
    synthetic.write(folder / "store", "r0", data=synthetic.synthetic(8))
    runs = folder / "store" / "runs"
    for number in range(1, n):
        os.link(runs / "r0.duckdb", runs / f"r{number}.duckdb")
    return folder / "store"


def test_few_are_held_open_and_each_is_read_right_by_many_threads(store, monkeypatch):
    monkeypatch.setattr(instance, "MOST_ATTACHED", 2)
    runs = {run.name: run for run in store.runs()}
    expected = {name: run.keys(0, 1) for name, run in runs.items()}
    assert len(descriptors(store.path)) <= 2

    def read(number):
        name = "abcd"[number * 7 % 4]
        return np.array_equal(runs[name].keys(0, 1), expected[name])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))
    first(runs["a"])
    assert len(descriptors(store.path)) <= 2


def test_a_run_that_nobody_holds_is_let_go(store):
    folder = store.path / "runs"
    kept, *others = qkstore.open(store.path).runs()
    assert len(descriptors(folder)) == 4
    del others
    gc.collect()
    assert len(descriptors(folder)) == 1
    kept.close()
    assert not descriptors(folder)


def test_a_store_of_more_runs_than_a_process_has_descriptors(tmp_path):
    store = many(tmp_path, 300)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\n"
        "import qkstore; runs, errors = qkstore.open().scan(); print(len(runs), errors)\n"
        "print(sum(len(run.queries(0, 1)) for run in runs))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"QKSTORE": str(store)}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[:2] == ["300 []", "2400"], done.stderr[-2000:]


def test_many_are_looked_at_at_once_as_one_by_one(store):
    """A damaged one, one that is none, and one that is not there hide no other."""
    (store.path / "runs" / "e.duckdb").write_bytes(b"no run")
    ending(store.path / "runs" / "c.duckdb")
    paths = [store.path / "runs" / f"{name}.duckdb" for name in "abcdef"]
    together = file.opened_each(paths)
    for path, found in zip(paths, together, strict=True):
        try:
            one = file.opened(path)
            assert (one.manifest, one.tables, one.layers) == (found.manifest, found.tables, found.layers)
        except QKStoreError as error:
            assert (type(error), str(error)) == (type(found), str(found))
    assert [isinstance(found, file.Opened) for found in together] == [True, True, False, True, False, False]


# -- memory --------------------------------------------------------------------------------------------------------


@pytest.fixture
def limit():
    yield memory.set_limit
    memory.set_limit(None)


@pytest.mark.parametrize("size", ["x", "512", "-1GB", "1MB", "0GB", "1e9"])
def test_a_limit_that_is_none_is_one_line(store, monkeypatch, size):
    monkeypatch.setenv(memory.VARIABLE, size)
    with pytest.raises(
        StoreError, match=f"^QKSTORE_MEMORY '{size}' is no size that runs can be read with: write 512MB"
    ):
        store.scan()
    with pytest.raises(StoreError, match="^memory"):
        memory.set_limit(size)


def test_the_limit_is_duckdbs_own_and_may_be_set_at_any_time(store, limit, monkeypatch):
    def said():
        return store.run("a").cursor().execute("SELECT current_setting('memory_limit')").fetchall()

    assert said() == [("256.0 MiB",)]
    monkeypatch.setenv(memory.VARIABLE, "64MiB")
    assert said() == [("64.0 MiB",)]
    limit("1GiB")
    assert said() == [("1.0 GiB",)]
    limit(None)
    assert said() == [("64.0 MiB",)]


def test_a_run_that_is_larger_than_the_limit_is_read_and_checked(tmp_path, limit):
    data = synthetic.synthetic(6000, n_layers=6, n_heads=8, n_kv_heads=4)
    synthetic.write(tmp_path, "large", data=data)
    assert (tmp_path / "runs" / "large.duckdb").stat().st_size > 2 * memory.LEAST_BYTES
    limit("16MiB")
    store = qkstore.open(tmp_path)
    run = store.run("large")
    for layer in range(6):
        for head in range(8):
            assert np.array_equal(run.queries(layer, head), data.q[layer, head])
            assert np.array_equal(run.keys(layer, head), data.k[layer, head // 2])
    for ask in spoilt.questions(run):
        ask()
    assert archive.check(store)[1] == []


def test_control_what_takes_more_is_one_line_that_says_how_to_raise_it(tmp_path, limit):
    synthetic.write(tmp_path, "large", data=synthetic.synthetic(6000, n_layers=6, n_heads=8, n_kv_heads=4))
    limit("16MiB")
    run = qkstore.open(tmp_path).run("large")
    with pytest.raises(
        StoreError, match=r"^reading run file large.duckdb takes more than the limit of memory, 16 MiB: set QK"
    ):
        run.table("SELECT a.v FROM query_vector AS a, query_vector AS b ORDER BY a.v, b.v LIMIT 400000")
    assert run.tokens(0)
