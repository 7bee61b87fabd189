"""Backup and restore: a backup comes back whole, or nothing of it does."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import tarfile

import duckdb
import pytest
from conftest import ROOT
from synthetic import two_runs, write

import qkstore
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.run.incoming import Incoming
from qkstore.store import archive

MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.fixture
def store(tmp_path):
    return two_runs(tmp_path / "store", MINE)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The bytes of a backup, to be spoilt."""
    path = tmp_path_factory.mktemp("packed")
    write(path / "store", n=8)
    write(path / "store", "zz", n=8)
    qkstore.open(path / "store").catalog.save(MINE)
    return archive.backup(qkstore.open(path / "store"), path / "b.tar").read_bytes()


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- backup and restore ------------------------------------------------------------------------------------------


def test_a_restored_store_is_the_store(store, tmp_path):
    out = archive.backup(store, tmp_path / "b.tar")
    back = qkstore.open(archive.restore(tmp_path / "deep" / "new", out))
    assert [r.name for r in back.runs()] == ["synthetic", "v1.2-b"]
    assert back.catalog.contrasts() == store.catalog.contrasts() != []
    for name in ("synthetic", "v1.2-b"):
        assert (back.path / f"runs/{name}.duckdb").read_bytes() == (store.path / f"runs/{name}.duckdb").read_bytes()
    back.catalog.save(MINE)
    assert len(back.catalog.versions("mine")) == 2
    assert len(store.catalog.versions("mine")) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.tar", "deep", "store"]
    assert (back.path.stat().st_mode & 0o777) == 0o755


def test_what_is_unfinished_is_not_packed(store, tmp_path):
    with Incoming(store.path, "half", {}):
        archive.backup(store, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames() == ["catalog.duckdb", "runs/synthetic.duckdb", "runs/v1.2-b.duckdb"]


def test_a_store_without_a_catalogue_comes_back_too(tmp_path):
    write(tmp_path / "store", n=8)
    archive.restore(tmp_path / "new", archive.backup(qkstore.open(tmp_path / "store"), tmp_path / "b.tar"))
    assert qkstore.open(tmp_path / "new").catalog.contrasts() == []


def test_an_empty_directory_may_be_restored_into(store, tmp_path):
    out = archive.backup(store, tmp_path / "b.tar")
    (tmp_path / "empty").mkdir()
    assert len(qkstore.open(archive.restore(tmp_path / "empty", out)).runs()) == 2


def test_nothing_is_overwritten(store, tmp_path):
    out = archive.backup(store, tmp_path / "b.tar")
    before = files(tmp_path)
    with pytest.raises(StoreError, match="exists already; a backup does not overwrite"):
        archive.backup(store, out)
    with pytest.raises(StoreError, match="not empty; restore into a new directory"):
        archive.restore(store.path, out)
    with pytest.raises(StoreError, match="not empty"):
        archive.restore(out, out)
    assert files(tmp_path) == before


def test_a_damaged_run_or_catalogue_is_not_packed_silently(store, tmp_path):
    broken = store.path / "runs" / "broken.duckdb"
    broken.write_bytes(b"no database")
    with pytest.raises(StoreError, match=r"not written: run file broken.duckdb is damaged .*a backup holds whole runs"):
        archive.backup(store, tmp_path / "b.tar")
    broken.unlink()
    (store.path / "catalog.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="catalogue catalog.duckdb cannot be opened"):
        archive.backup(store, tmp_path / "b.tar")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_a_full_disk_leaves_no_half_backup(store, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(StoreError, match="b.tar was not written: No space left on device"):
        archive.backup(store, tmp_path / "b.tar")
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]
    with pytest.raises(StoreError, match="was not written: No such file or directory"):
        archive.backup(store, tmp_path / "no" / "such" / "b.tar")


def test_a_backup_beside_a_writer_is_of_one_moment(store, tmp_path):
    code = (
        "import sys; from qkstore.store.catalog import Catalog; from qkstore.contrast import Contrast\n"
        f"catalog = Catalog({str(store.path / 'catalog.duckdb')!r})\n"
        "for i in range(25): catalog.save(Contrast(name='w', positive='k.a = 1', negative='k.a = 2'))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as writer:
        seen, number = [], 0
        while writer.poll() is None:
            number += 1
            archive.restore(tmp_path / f"new{number}", archive.backup(store, tmp_path / f"{number}.tar"))
            seen.append([c.version for c in qkstore.open(tmp_path / f"new{number}").catalog.versions("w")])
    assert writer.returncode == 0
    assert len(store.catalog.versions("w")) == 25
    assert all(versions == list(range(1, len(versions) + 1)) for versions in seen)
    assert len(seen) > 1


# -- spoilt archives ---------------------------------------------------------------------------------------------


def member(name, data=b"x", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data) if kind == tarfile.REGTYPE else 0, kind, link
    return info, data


def tar_of(path, *members):
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "bad",
    [
        member("../evil"),
        member("../evil.duckdb"),
        member("runs/../../evil.duckdb"),
        member("/tmp/evil.duckdb"),
        member("runs/../catalog.duckdb"),
        member("runs//x.duckdb"),
        member("runs/deep/x.duckdb"),
        member("runs/.hidden.duckdb"),
        member("runs/two words.duckdb"),
        member("runs/x.txt"),
        member("./runs/x.duckdb"),
        member("x.duckdb"),
        member("runs/x.duckdb.wal"),
        member("catalog.duckdb.wal"),
        member("runs/x.duckdb", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member("runs/x.duckdb", kind=tarfile.LNKTYPE, link="catalog.duckdb"),
        member("runs/x.duckdb", kind=tarfile.CHRTYPE),
        member("runs/x.duckdb", kind=tarfile.FIFOTYPE),
        member("runs", kind=tarfile.DIRTYPE),
        member("catalog.duckdb", kind=tarfile.SYMTYPE, link="../x"),
    ],
    ids=lambda m: f"{m[0].name} {m[0].type.decode()}",
)
def test_a_member_that_is_none_of_a_backup_restores_nothing(bad, packed, tmp_path):
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        good = [(m, tar.extractfile(m).read()) for m in tar]
    path = tar_of(tmp_path / "b.tar", *good, bad)
    with pytest.raises(StoreError, match="does not belong in a backup; nothing was restored") as error:
        archive.restore(tmp_path / "new", path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.tar"]
    assert "\n" not in str(error.value)
    archive.restore(tmp_path / "new", tar_of(tmp_path / "good.tar", *good))  # the control: without the bad one


def test_a_file_that_is_no_run_restores_nothing(packed, tmp_path):
    for name, data in (("runs/x.duckdb", b"hello"), ("runs/x.duckdb", b""), ("catalog.duckdb", b"hello" * 5000)):
        with pytest.raises(StoreError):
            archive.restore(tmp_path / "new", tar_of(tmp_path / "b.tar", member(name, data)))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["b.tar"]


def test_an_archive_cut_anywhere_restores_nothing(packed, tmp_path):
    path = tmp_path / "b.tar"
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        starts = [m.offset for m in tar]
        end = tar.offset
    cuts = [
        0,
        1,
        511,
        600,
        *starts[1:],
        *(s + 512 for s in starts),
        len(packed) // 2,
        end - 1,
        end,
        end + 512,
        end + 1000,
    ]
    for cut in cuts:
        path.write_bytes(packed[:cut])
        with pytest.raises(StoreError, match="cannot be restored") as error:
            archive.restore(tmp_path / "new", path)
        assert "\n" not in str(error.value), cut
        assert sorted(p.name for p in tmp_path.iterdir()) == ["b.tar"], cut
    path.write_bytes(packed[: end + 1024])
    assert len(qkstore.open(archive.restore(tmp_path / "new", path)).runs()) == 2


def test_what_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "text").write_text("hello " * 1000)
    (tmp_path / "newer").mkdir()
    for path, says in (
        (tmp_path / "nothing.tar", "no backup"),
        (tmp_path / "text", "cannot be restored"),
        (tmp_path / "newer", "no backup"),
    ):
        with pytest.raises(StoreError, match=says):
            archive.restore(tmp_path / "new", path)
    with pytest.raises(StoreError, match="cannot be restored"):
        archive.restore(tmp_path / "text" / "below a file", tar_of(tmp_path / "b.tar"))
    assert not (tmp_path / "new").exists()


def test_a_newer_run_or_catalogue_is_not_restored(store, tmp_path):
    with duckdb.connect(str(store.path / "catalog.duckdb")) as con:
        con.execute("INSERT INTO migration VALUES (99, now()::TIMESTAMP)")
    path = tmp_path / "b.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(store.path / "catalog.duckdb", "catalog.duckdb")
    with pytest.raises(StoreError, match="catalog.duckdb is of version 99"):
        archive.restore(tmp_path / "new", path)
    assert not (tmp_path / "new").exists()
