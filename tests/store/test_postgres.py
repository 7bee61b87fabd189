"""A catalogue on PostgreSQL: the same operations, the server's own roles, one line for whatever is wrong with it."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import servers
import stores

import qkstore
from qkstore.__main__ import main
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.store.catalog import Catalog
from qkstore.store.catalog import catalog as catalog_module
from qkstore.store.catalog import postgres as module
from qkstore.store.catalog.embedded import Embedded
from qkstore.store.catalog.migrations import MIGRATIONS
from qkstore.store.catalog.postgres import Postgres
from qkstore.store.store import Store

pytestmark = servers.needs_postgres
MINE = Contrast(
    name="mine", author="ann", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order"
)


# -- the same operations -------------------------------------------------------------------------------------------


def test_contrasts_and_results_are_kept_alike(catalog):
    odd = MINE.replace(name="it's 100 % %s ?", where="k.role = 'a?%'", description="日本 😀", author="x@y")
    assert [catalog.save(c).version for c in (MINE, MINE.replace(centring="queries"), odd)] == [1, 2, 1]
    assert [(c.name, c.version) for c in catalog.contrasts()] == [(odd.name, 1), ("mine", 2)]
    assert catalog.contrast(odd.name) == odd.replace(version=1)
    assert [c.centring for c in catalog.versions("mine")] == ["none", "queries"]
    assert catalog.contrast("mine", 1) == MINE.replace(version=1)
    assert catalog.result("key") is None
    catalog.keep_result("key", "heads", "run", "mine", {"a": [1.5, None, "ü"]})
    catalog.keep_result("key", "heads", "run", "mine", "another")
    assert catalog.result("key") == {"a": [1.5, None, "ü"]}, "the first one stays"
    assert [row["payload"] for row in catalog.results("heads", "run")] == [{"a": [1.5, None, "ü"]}]
    assert catalog.version() == len(MIGRATIONS)
    assert catalog.held is None


def test_the_oldest_results_go_where_there_are_too_many(catalog, monkeypatch):
    monkeypatch.setattr(catalog_module, "MOST_RESULTS", 4)
    for key in "abcde":
        catalog.keep_result(key, "heads", "run", "mine", key)
    assert [catalog.result(key) for key in "abcde"] == [None, None, "c", "d", "e"]
    monkeypatch.setattr(catalog_module, "MOST_BYTES", 200)
    catalog.keep_result("f", "heads", "run", "mine", "x" * 140)
    catalog.keep_result("g", "heads", "run", "mine", "x" * 100)
    assert [row["key"] for row in catalog.results("heads", "run")] == ["g"]


def test_a_copy_holds_everything(catalog, tmp_path):
    catalog.save(MINE)
    catalog.keep_result("key", "heads", "run", "mine", [1])
    assert catalog.copy(tmp_path / "copy.duckdb")
    copy = Catalog(Embedded(tmp_path / "copy.duckdb"))
    assert (copy.contrasts(), copy.result("key")) == (catalog.contrasts(), [1])
    assert copy.results("heads", "run") == catalog.results("heads", "run"), "with its time"


def test_racing_savers_each_get_a_version(database, of):
    def save(i: int) -> int:
        return of("ed").save(MINE.replace(description=str(i))).version

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(save, range(40))) == list(range(1, 41))
    assert [c.version for c in Catalog(database).versions("mine")] == list(range(1, 41))


def test_what_one_saves_another_process_sees_at_once(pg, database, of):
    ours = of("vera")
    assert ours.contrasts() == []
    code = (
        "import sys; from qkstore.store.catalog import Catalog; from qkstore.store.catalog.postgres import Postgres\n"
        "from qkstore.contrast import Contrast\n"
        "Catalog(Postgres(sys.argv[1])).save(Contrast(name='mine', positive='k.pos = 1', negative='k.pos = 2'))"
    )
    subprocess.run([sys.executable, "-c", code, pg.url("ed", database.name)], check=True)
    assert [c.name for c in ours.contrasts()] == ["mine"]


# -- what can be wrong with a server -------------------------------------------------------------------------------


def one_line(act) -> str:
    with pytest.raises(StoreError) as error:
        act()
    assert "\n" not in str(error.value)
    assert servers.PASSWORD not in str(error.value)
    return str(error.value)


def test_a_wrong_password_an_unknown_database_and_a_server_that_is_not_there(pg, database, monkeypatch):
    assert 'database "nowhere" does not exist' in one_line(Catalog(Postgres(pg.url(database="nowhere"))).contrasts)
    closed = Catalog(Postgres("postgresql://lab@127.0.0.1:1/postgres"))
    assert "postgres on 127.0.0.1 cannot be reached: " in one_line(closed.contrasts)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert 'password authentication failed for user "lab"' in one_line(Catalog(Postgres(pg.url())).contrasts)


def test_a_catalogue_that_was_not_set_up_an_older_and_a_newer_one(pg, database, monkeypatch):
    pg.sql("CREATE DATABASE bare")
    assert "is not set up yet: its owner runs `qkstore init`" in one_line(
        Catalog(Postgres(pg.url(database="bare"))).contrasts
    )
    more = [*MIGRATIONS, "ALTER TABLE note ADD COLUMN mood VARCHAR"]
    monkeypatch.setattr(module, "MIGRATIONS", more)
    fresh = Postgres(pg.url(database=database.name))
    assert (
        f"is of version {len(MIGRATIONS)}, this qkstore needs {len(more)}: its owner runs `qkstore init`"
        in one_line(Catalog(fresh).contrasts)
    )
    assert fresh.migrate() == len(more)
    monkeypatch.undo()
    os.environ["PGPASSWORD"] = servers.PASSWORD
    newer = Postgres(pg.url(database=database.name))
    assert f"is of version {len(more)}, this qkstore reads up to {len(MIGRATIONS)}: upgrade" in one_line(newer.version)
    assert "reads up to" in one_line(newer.migrate)


def test_a_server_that_was_started_anew_is_found_again(pg, database):
    catalog = Catalog(database)
    catalog.save(MINE)
    pg.stop()
    assert "cannot be reached" in one_line(catalog.contrasts)
    assert "cannot be reached" in one_line(lambda: catalog.save(MINE))
    pg.start()
    assert [c.version for c in catalog.versions("mine")] == [1], "what was not acknowledged is not there"
    assert catalog.save(MINE).version == 2


def test_killed_under_savers_every_acknowledged_save_is_there_once(pg, database, of):
    saved: list[int] = []

    def work(i: int) -> None:
        catalog = of("ed")
        for n in range(30):
            try:
                saved.append(catalog.save(MINE.replace(name=f"c{i}", description=str(n))).version and i * 1000 + n)
            except StoreError as error:
                assert "\n" not in str(error)
                time.sleep(0.05)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(work, i) for i in range(4)]
        for _ in range(3):
            time.sleep(0.3)
            pg.stop("immediate")
            pg.start()
        for one in asked:
            one.result()
    there = {int(c.name[1:]) * 1000 + int(c.description) for i in range(4) for c in Catalog(database).versions(f"c{i}")}
    assert set(saved) <= there
    assert len(saved) == len(set(saved))
    for i in range(4):
        versions = [c.version for c in Catalog(database).versions(f"c{i}")]
        assert versions == list(range(1, len(versions) + 1))


# -- a team's store ------------------------------------------------------------------------------------------------


@pytest.fixture
def team(pg, database, tmp_path) -> Path:
    file = tmp_path / "team.toml"
    file.write_text(f'catalogue = "{pg.url("ed", database.name)}"\nruns = "shared"\n')
    (tmp_path / "shared" / "runs").mkdir(parents=True)
    stores.write(tmp_path / "shared", "a", stores.boxes(n=16))
    return file


def test_a_file_names_the_store_for_the_library_and_for_every_command(team, capsys):
    store = qkstore.open(team)
    assert isinstance(store, Store)
    assert [run.name for run in store.runs()] == ["a"]
    assert str(store.where) == str(team)
    command = [
        "contrasts",
        "--store",
        str(team),
        "--save",
        "mine",
        "--positive",
        MINE.positive,
        "--negative",
        MINE.negative,
    ]
    assert main(command) == 0
    assert [c.name for c in store.catalog.contrasts()] == ["mine"]
    assert not (team.parent / "shared" / "catalog.duckdb").exists()
    for words in (
        ["runs"],
        ["check"],
        ["sql", "--run", "a", "select count(*) from q"],
        ["heads", "--run", "a", "--contrast", "mine"],
    ):
        assert main([words[0], "--store", str(team), *words[1:]]) == 0, words
    capsys.readouterr()


def test_init_sets_it_up_and_says_so(pg, tmp_path, capsys):
    pg.sql("CREATE DATABASE fresh")
    file = tmp_path / "team.toml"
    file.write_text(f'catalogue = "{pg.url(database="fresh")}"\nruns = "."\n')
    assert main(["init", "--store", str(file)]) == 0
    said = capsys.readouterr().out
    assert "catalogue fresh on 127.0.0.1: version" in said
    assert "qkstore_viewer, qkstore_editor, qkstore_admin" in said
    assert main(["init", "--store", str(file)]) == 0, "a second time changes nothing"
    assert main(["init", "--store", str(tmp_path)]) == 2
    assert "is a directory, which needs no set-up" in capsys.readouterr().err


def test_a_server_that_is_away_stops_what_needs_it_and_nothing_else(team, capsys):
    text = team.read_text()
    port = text.split("127.0.0.1:")[1].split("/")[0]
    team.write_text(text.replace(f":{port}/", ":1/"))
    assert main(["runs", "--store", str(team)]) == 0
    assert main(["sql", "--store", str(team), "--run", "a", "select count(*) from q"]) == 0
    capsys.readouterr()
    assert main(["heads", "--store", str(team), "--run", "a", "--contrast", "order"]) == 0
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["contrasts", "--store", str(team)]) == 2
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert error.count("\n") == 1
