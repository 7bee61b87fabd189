"""The drill: a team's store is backed up, wiped and restored, and nothing is lost; an older one opens and migrates."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import duckdb
import pytest
import servers
import stores

import qkstore
from qkstore import __main__ as cli
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.store import archive
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.migrations import MIGRATION, MIGRATIONS
from qkstore.store.catalog.notes import on_head
from qkstore.store.catalog.postgres import TABLES, Postgres

pytestmark = servers.needs_postgres
MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.fixture(params=["folder", "bucket"])
def team(request, pg, database, tmp_path) -> Path:
    """A team's file, of an empty catalogue and no run."""
    file, runs = tmp_path / "team.toml", f'runs = "{tmp_path / "shared"}"'
    if request.param == "bucket":
        s3 = request.getfixturevalue("s3")
        runs = f'runs = "s3://lab/{database.name}"\nendpoint = "{s3.endpoint}"\ncache = "{tmp_path / "cache"}"'
    file.write_text(f'catalogue = "{database.url}"\n{runs}\n')
    (tmp_path / "shared" / "runs").mkdir(parents=True)
    return file


def fill(team: Path, own: Path) -> None:
    """Runs, versions, notes, marks, roles and results, as a team leaves them."""
    stores.write(own, "a", stores.boxes(n=16))
    stores.write(own, "b", stores.boxes(n=24))
    assert cli.main(["push", "--store", str(own), "--to", str(team), "--run", "a", "b"]) == 0
    catalog = qkstore.open(team).catalog
    base = catalog.save(MINE.replace(description="it's 100 % 日本 ?"))
    catalog.save(MINE.replace(centring="queries"), {"run": "a", "findings": ["few"]})
    catalog.save(MINE.replace(name="fork"), forked=base)
    catalog.archive("fork")
    catalog.notes.withdraw(catalog.notes.add("gone", "a").note_id)
    catalog.notes.add("line\nline", "a", on_head(1, 2))
    catalog.people.set("ann@example.org", "admin")
    catalog.keep_result("key", "heads", "a", "mine", [{"x": 1.5}], content="c", version=2, code="d")


def content(team: Path) -> dict:
    """Everything: each row of each table, and a digest of each run's labels and vectors."""
    store = qkstore.open(team)
    rows = {table: sorted(map(repr, store.catalog.rows(f"SELECT * FROM {table}"))) for table in TABLES}
    return rows | {run.name: vectors(run) for run in store.runs()}


def vectors(run) -> str:
    digest = hashlib.sha256(repr(run.identity).encode())
    for layer in run.layers:
        for head in range(run.n_heads):
            for array in (run.queries(layer, head), run.keys(layer, head)):
                digest.update(array.tobytes())
    return digest.hexdigest()


def wipe(pg, database, team: Path) -> None:
    pg.sql("DROP SCHEMA qkstore CASCADE", database=database.name)
    for folder in ("shared", "cache"):
        shutil.rmtree(team.parent / folder, ignore_errors=True)
    if bucket := qkstore.store.bucket(team):
        for name in bucket.names():
            bucket.objects.client.delete_object(**bucket.objects.at(f"{name}.duckdb"))
        assert bucket.names() == []


def test_backup_wipe_restore(pg, database, team, tmp_path, capsys):
    fill(team, tmp_path / "own")
    before, out = content(team), tmp_path / "lab.tar"
    assert set(before) == {*TABLES, "a", "b"}
    assert all(before.values())
    assert cli.main(["backup", "--store", str(team), "--out", str(out)]) == 0
    with pytest.raises(StoreError, match="is not empty: it holds rows of contrast, note, result, mark, person"):
        archive.restore(team, out)
    assert content(team) == before
    wipe(pg, database, team)
    assert cli.main(["runs", "--store", str(team)]) in (0, 2)
    capsys.readouterr()
    assert cli.main(["restore", "--store", str(team), "--from", str(out)]) == 2
    assert "is not set up yet: its owner runs `qkstore init`" in capsys.readouterr().err
    assert cli.main(["init", "--store", str(team)]) == 0
    assert cli.main(["restore", "--store", str(team), "--from", str(out)]) == 0
    assert content(team) == before
    assert qkstore.open(team).catalog.save(MINE).version == 3, "it goes on where it was"
    here = qkstore.open(archive.restore(tmp_path / "directory", out))
    assert {run.name: vectors(run) for run in here.runs()} == {name: before[name] for name in ("a", "b")}
    assert here.catalog.versions("mine") == qkstore.open(team).catalog.versions("mine")[:2]
    assert [n.text for n in here.catalog.notes.on()] == ["line\nline"]
    assert archive.check(here)[1] == []


def test_a_backup_is_of_one_moment(database, tmp_path, monkeypatch):
    """Somebody saves between the tables; the copy has nothing of it."""
    catalog, read = Catalog(database), []
    catalog.save(MINE)
    plain = Postgres.transaction

    def busy(self, *given, **more):
        context = plain(self, *given, **more)

        class Between:
            def __enter__(self):
                execute = context.__enter__()

                def first(sql, parameters=None):
                    rows = execute(sql, parameters)
                    if sql.endswith(" FROM contrast") and not read:
                        read.append(sql)
                        Catalog(Postgres(database.url)).notes.add("in between", "run")
                    return rows

                return first

            def __exit__(self, *error):
                return context.__exit__(*error)

        return Between()

    monkeypatch.setattr(Postgres, "transaction", busy)
    assert catalog.copy(tmp_path / "copy.duckdb")
    monkeypatch.undo()
    assert read
    assert [n.text for n in catalog.notes.on()] == ["in between"]
    assert Catalog(tmp_path / "copy.duckdb").notes.on() == []


# -- the version before --------------------------------------------------------------------------------------------

OLD_ROWS = (
    """INSERT INTO contrast VALUES ('mine', 1, NULL, 'k.pos = 1', 'k.pos = 2', NULL, 'pair', 'none', 'told', 'ann',
        TIMESTAMP '2026-01-02 03:04:05')""",
    "INSERT INTO note VALUES ('n1', 'a', 'L1 H2', 'binds by entity', 'ann', TIMESTAMP '2026-01-02 03:04:05')",
    "INSERT INTO result VALUES ('key', 'heads', 'a', 'mine', '[1]', TIMESTAMP '2026-01-02 03:04:05')",
    "INSERT INTO migration VALUES (1, TIMESTAMP '2026-01-01 00:00:00')",
)


def check_migrated(catalog: Catalog) -> None:
    assert catalog.version() == len(MIGRATIONS)
    (version,) = catalog.history("mine")
    assert (version.contrast.author, version.checked, version.forked) == ("ann", None, None)
    assert [(n.text, n.about) for n in catalog.notes.on("a", on_head(1, 2))] == [("binds by entity", "run a L1 H2")]
    assert catalog.result("key") == [1]
    assert catalog.made("key")["content"] is None
    assert {c.who for c in catalog.changes()} == {"ann"}
    assert catalog.save(MINE).version == 2
    catalog.keep_result("new", "heads", "a", "mine", [2], content="c")
    assert catalog.made("new")["content"] == "c"


def test_a_catalogue_of_the_first_version_is_opened_and_migrated(tmp_path):
    (tmp_path / "store" / "runs").mkdir(parents=True)
    with duckdb.connect(str(tmp_path / "store" / "catalog.duckdb")) as con:
        for statement in (MIGRATION, MIGRATIONS[0], *OLD_ROWS):
            con.execute(statement)
    check_migrated(qkstore.open(tmp_path / "store").catalog)
    out = archive.backup(qkstore.open(tmp_path / "store"), tmp_path / "new.tar")
    assert qkstore.open(archive.restore(tmp_path / "new", out)).catalog.versions("mine")[0].author == "ann"


def test_who_may_only_read_an_older_catalogue_reads_a_copy_of_this_version(tmp_path, monkeypatch):
    path = tmp_path / "catalog.duckdb"
    with duckdb.connect(str(path)) as con:
        for statement in (MIGRATION, MIGRATIONS[0], *OLD_ROWS):
            con.execute(statement)
    before = path.read_bytes()
    monkeypatch.setattr("qkstore.store.catalog.embedded.os.access", lambda *_: False)  # root may write everything
    catalog = Catalog(path)
    assert [c.name for c in catalog.contrasts()] == ["mine"]
    assert catalog.notes.on()[0].text == "binds by entity"
    assert path.read_bytes() == before


def test_one_on_postgresql_is_migrated_by_its_owner_alone(pg, of, database):
    pg.sql("DROP SCHEMA qkstore CASCADE", database=database.name)
    statements = (MIGRATION, MIGRATIONS[0], *OLD_ROWS)
    pg.sql("CREATE SCHEMA qkstore", "SET search_path = qkstore", *statements, database=database.name)
    with pytest.raises(
        StoreError, match=f"is of version 1, this qkstore needs {len(MIGRATIONS)}: its owner runs `qkstore init`"
    ):
        Catalog(Postgres(database.url)).contrasts()
    assert Postgres(database.url).migrate() == len(MIGRATIONS)
    check_migrated(Catalog(Postgres(database.url)))
    assert of("ed").save(MINE).version == 3


def test_control_a_vector_that_changed_is_seen(tmp_path):
    path = stores.write(tmp_path / "store", "a", stores.boxes(n=16)) / "runs" / "a.duckdb"
    before = vectors(qkstore.open(tmp_path / "store").run("a"))
    path.chmod(0o644)
    code = "UPDATE query_vector SET v = list_transform(v::FLOAT[], x -> x + 1)::FLOAT[8] WHERE layer = 1 AND head = 2"
    with duckdb.connect(str(path)) as con:
        con.execute(code)
    assert vectors(qkstore.open(tmp_path / "store").run("a")) != before
