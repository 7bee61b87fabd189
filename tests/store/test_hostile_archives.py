"""An archive or a catalogue that somebody made in bad faith: one line, and nothing of it is in the store."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile

import duckdb
import numpy as np
import pytest
import spoilt
from synthetic import write

import qkstore
from qkstore.contrast import Contrast
from qkstore.errors import QKStoreError, StoreError
from qkstore.store import archive

MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")

# -- catalogues --------------------------------------------------------------------------------------------------

CATALOGUES = {
    "a view as contrast": (
        "CREATE TABLE old AS SELECT * FROM contrast; DROP TABLE contrast; CREATE VIEW contrast AS SELECT * REPLACE "
        "((SELECT content FROM read_text('CANARY')) AS name) FROM old",
        "holds a view, 'contrast'",
    ),
    "a view as result": ("DROP TABLE result; CREATE VIEW result AS SELECT 1 AS key", "holds a view, 'result'"),
    "a view as migration": (
        "DROP TABLE migration; CREATE VIEW migration AS SELECT 1 AS version",
        "holds a view, 'migration'",
    ),
    "a view more": ("CREATE VIEW extra AS SELECT 1", "holds a view, 'extra'"),
    "a macro that hides views": (
        "CREATE VIEW extra AS SELECT 1; CREATE MACRO duckdb_views() AS TABLE SELECT '' AS view_name, true AS internal",
        "holds a view, 'extra'",
    ),
    "a macro max": ("CREATE MACRO max(x) AS (SELECT content FROM read_text('CANARY'))", "holds a macro, 'max'"),
    "a macro count": ("CREATE MACRO count() AS 0", "holds a macro, 'count'"),
    "a sequence": ("CREATE SEQUENCE s", "holds a sequence, 's'"),
    "a type": ("CREATE TYPE t AS ENUM ('a')", "holds a type, 't'"),
    "a schema": ("CREATE SCHEMA s; CREATE TABLE s.contrast (a INTEGER)", "holds a schema, 's'"),
    "an index": ("CREATE INDEX i ON result (run)", "holds a index, 'i'"),
    "a table more": ("CREATE TABLE secret (a INTEGER)", "no table 'secret'"),
    "a table less": ("DROP TABLE note", "no table 'note'"),
    "a column more": ("ALTER TABLE contrast ADD COLUMN more VARCHAR", "no table 'contrast'"),
    "a column less": ("ALTER TABLE note DROP COLUMN text", "no table 'note'"),
    "a column that is SQL": ('ALTER TABLE contrast ADD COLUMN "a"" FROM x; --" VARCHAR', "no table 'contrast'"),
    "a payload that is computed": (
        "DROP TABLE result; CREATE TABLE result (key VARCHAR, payload VARCHAR AS (current_setting('threads')))",
        "no table 'result'",
    ),
    "a default that calls": (
        "ALTER TABLE note ALTER COLUMN text SET DEFAULT current_setting('threads')",
        "no table 'note'",
    ),
    "a version of text": ("ALTER TABLE contrast ALTER COLUMN description TYPE BLOB", "no table 'contrast'"),
    "no catalogue at all": (
        "DROP TABLE contrast; DROP TABLE note; DROP TABLE result; DROP TABLE migration; CREATE TABLE a (b INTEGER)",
        "no table 'a'",
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a run of its own and a catalogue, to be copied and spoilt."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "store", n=8)
    qkstore.open(folder / "store").catalog.save(MINE)
    (folder / "canary.txt").write_text(spoilt.SECRET)
    return folder


def restored(tmp_path, path) -> str:
    """The one line of a restore that fails; nothing of it is left, and no file is written elsewhere."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError) as error:
        archive.restore(tmp_path / "new", path)
    assert sorted(tmp_path.rglob("*")) == before
    return spoilt.plain(error.value)


@pytest.mark.parametrize(("sql", "says"), CATALOGUES.values(), ids=CATALOGUES.keys())
def test_a_catalogue_of_another_make_is_not_restored(made, tmp_path, sql, says):
    copy = tmp_path / "catalog.duckdb"
    shutil.copyfile(made / "store" / "catalog.duckdb", copy)
    with duckdb.connect(str(copy)) as con:
        con.execute(sql.replace("CANARY", str(made / "canary.txt")))
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(copy, "catalog.duckdb")
    error = restored(tmp_path, tmp_path / "b.tar")
    assert re.search(says, error), error
    assert spoilt.SECRET not in error


def test_control_the_catalogue_as_it_was_comes_back(made, tmp_path):
    out = archive.backup(qkstore.open(made / "store"), tmp_path / "b.tar")
    back = qkstore.open(archive.restore(tmp_path / "new", out))
    assert [c.name for c in back.catalog.contrasts()] == ["mine"]


def test_no_backup_is_made_that_would_not_be_restored(made, tmp_path):
    """Runs that differ in capitals alone are two files here and one elsewhere."""
    store = shutil.copytree(made / "store", tmp_path / "store")
    shutil.copyfile(store / "runs" / "synthetic.duckdb", store / "runs" / "Synthetic.duckdb")
    with pytest.raises(StoreError, match="'.ynthetic' and '.ynthetic' differ in capitals alone"):
        archive.backup(qkstore.open(store), tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


# -- archives ----------------------------------------------------------------------------------------------------


def info(name: str, size: int = 1, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member


def tar_of(path, *members: tarfile.TarInfo, end: bool = True):
    """A tar of these headers, each with its bytes as a hole in the file."""
    with open(path, "wb") as file:
        for member in members:
            file.write(member.tobuf(tarfile.GNU_FORMAT))
            blocks = -(-max(member.size, 0) // tarfile.BLOCKSIZE) if member.isreg() else 0
            file.seek(blocks * tarfile.BLOCKSIZE, os.SEEK_CUR)
        file.write(tarfile.NUL * (tarfile.BLOCKSIZE * 2 if end else 1))
    return path


def raw(kind: bytes, size: int, body: bytes = b"") -> bytes:
    """A header of a kind that tarfile reads into memory, and what follows it."""
    return info("runs/a.duckdb", size, kind).tobuf(tarfile.GNU_FORMAT) + body


def pax(**facts: str) -> bytes:
    """A member with these records in its extended header."""
    return info_with(facts).tobuf(tarfile.PAX_FORMAT) + bytes(512 + 1024)


def info_with(facts: dict[str, str]) -> tarfile.TarInfo:
    member = info("catalog.duckdb")
    member.pax_headers = facts
    return member


ARCHIVES = {
    "a name twice": ([info("catalog.duckdb"), info("catalog.duckdb")], "stands twice in the backup"),
    "a run twice": (
        [info("runs/a.duckdb"), info("runs/b.duckdb"), info("runs/a.duckdb")],
        "'runs/a.duckdb' stands twice",
    ),
    "a run in capitals too": ([info("runs/a.duckdb"), info("runs/A.duckdb")], "'runs/A.duckdb' stands twice"),
    "a run in other capitals": ([info("runs/Ab.duckdb"), info("runs/aB.duckdb")], "'runs/aB.duckdb' stands twice"),
    "10,001 runs": ([info(f"runs/{i}.duckdb", 0) for i in range(10_001)], "more than 10,000 files"),
    "two runs of a terabyte": (
        [info("runs/a.duckdb", 1 << 40), info("runs/b.duckdb", 1 << 40)],
        "(are free|cannot be restored)",
    ),
    "a size below zero": ([info("runs/a.duckdb", -512)], "(does not belong|cannot be restored)"),
    "a size far below zero": ([info("runs/a.duckdb", -(1 << 62))], "(does not belong|cannot be restored)"),
    "a name of bytes": ([info("runs/\udcff.duckdb")], "does not belong in a backup"),
    "a name of several lines": ([info("runs/a\nb.duckdb")], r"'runs/a\\nb.duckdb' does not belong"),
    "a name that goes up": ([info("runs/../../a.duckdb")], "does not belong in a backup"),
    "a directory of a run's name": ([info("runs/a.duckdb", 0, tarfile.DIRTYPE)], "does not belong"),
    "a contiguous file": ([info("runs/a.duckdb", 1, tarfile.CONTTYPE)], "does not belong"),
    "an unknown kind": ([info("runs/a.duckdb", 1, b"Z")], "does not belong"),
    "a sparse file": ([info("runs/a.duckdb", 0, tarfile.GNUTYPE_SPARSE)], "(does not belong|cannot be restored)"),
}

RAW = {
    "a long name of 4 GB": raw(tarfile.GNUTYPE_LONGNAME, 1 << 32),
    "a long link of 4 GB": raw(tarfile.GNUTYPE_LONGLINK, 1 << 32),
    "an extended header of 4 GB": raw(tarfile.XHDTYPE, 1 << 32),
    "a global header of 4 GB": raw(tarfile.XGLTYPE, 1 << 32),
    "a header of 2 MB that is there": raw(tarfile.XHDTYPE, 1 << 21, bytes(1 << 21)) + bytes(2048),
    "headers of headers": raw(tarfile.GNUTYPE_LONGNAME, 0) * 5000 + bytes(1024),
    "extended headers of headers": raw(tarfile.XHDTYPE, 0) * 5000 + bytes(1024),
    "an extended header of nothing": raw(tarfile.XHDTYPE, 512, b"9" * 512) + bytes(1024),
    "a size in an extended header": pax(size=str(1 << 60)),
    "a size below zero there": pax(size="-5"),
    "a size of letters there": pax(size="many"),
    "a path there": pax(path="../../evil"),
    "sparse in an extended header": pax(
        **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 15}
    ),
    "sparse, an older way": pax(**{"GNU.sparse.map": "0,1,99999999999,1", "GNU.sparse.size": "9" * 15}),
    "sparse with a map of letters": pax(**{"GNU.sparse.map": "a,b"}),
    "a run of an exabyte": raw(tarfile.REGTYPE, 1 << 60) + bytes(1024),
    "zeros alone": bytes(5000),
    "letters alone": b"a" * 5000,
    "a gzip": b"\x1f\x8b" + bytes(2000),
}


@pytest.mark.parametrize(("members", "says"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_an_archive_that_no_backup_made_restores_nothing(tmp_path, members, says):
    error = restored(tmp_path, tar_of(tmp_path / "b.tar", *members))
    assert re.search(says, error), error


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
def test_bytes_that_no_backup_wrote_restore_nothing(tmp_path, data):
    (tmp_path / "b.tar").write_bytes(data)
    if data == bytes(5000):  # an archive of nothing is the backup of an empty store
        archive.restore(tmp_path / "new", tmp_path / "b.tar")
        return
    restored(tmp_path, tmp_path / "b.tar")


def test_what_the_disk_has_no_room_for_is_not_begun(tmp_path):
    """The archive itself is a hole of many terabytes: its file takes no room, what it unpacks to would."""
    free = shutil.disk_usage(tmp_path).free
    path = tmp_path / "b.tar"
    try:
        tar_of(path, info("runs/a.duckdb", free + (1 << 20)))
    except OSError:
        pytest.skip("no such hole is possible here")
    assert "are free; nothing was restored" in restored(tmp_path, path)


def test_a_run_of_bad_faith_in_an_archive_restores_nothing(tmp_path):
    place = spoilt.place(tmp_path / "place")
    place.spoil("CREATE VIEW extra AS SELECT * FROM read_text('CANARY')")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(place.store.path / "runs" / "good.duckdb", "runs/good.duckdb")
        tar.add(place.bad, "runs/bad.duckdb")
    assert "run file bad.duckdb holds a view" in restored(tmp_path, tmp_path / "b.tar")


def test_spoilt_bytes_of_an_archive_are_an_error_or_a_right_store(made, tmp_path):
    """Bytes at random places, of the headers above all."""
    whole = archive.backup(qkstore.open(made / "store"), tmp_path / "whole.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        heads = [m.offset for m in tar]
    rng, path = np.random.default_rng(5), tmp_path / "b.tar"
    for number in range(60):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[int(rng.choice(heads)) + int(rng.integers(512))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            archive.restore(tmp_path / f"new{number}", path)
        except QKStoreError as error:
            spoilt.plain(error)
            assert not (tmp_path / f"new{number}").exists()
