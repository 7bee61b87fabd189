"""Contrasts that carry a subspace, in a catalogue: kept, migrated, packed, and left out where they are spoilt."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import pytest
import servers
import stores

import qkstore
from qkstore import __main__ as cli
from qkstore.contrast import Contrast
from qkstore.contrast.space import Space
from qkstore.errors import ContrastError
from qkstore.store import archive
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.migrations import MIGRATION, MIGRATIONS

pytestmark = servers.needs_postgres
MINE = Contrast("mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
ROW = """INSERT INTO contrast (name, version, positive, negative, weighting, centring, description, author, created)
    VALUES ('mine', 1, 'k.pos = 1', 'k.pos = 2', 'pair', 'none', '', 'ann', TIMESTAMP '2026-01-02 03:04:05')"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("spaces") / "store", n=40))


def space(run: str, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    return Space.spanned(run, 1, 2, rng.standard_normal((8, 2)), rng.standard_normal((8, 2))).text


def test_a_catalogue_keeps_it_with_every_version(catalog):
    own = MINE.replace(space=space("abc"))
    first, second, plain = (catalog.save(c) for c in (own, own.replace(space=space("abc", 1)), MINE))
    assert catalog.versions("mine") == [first, second, plain]
    assert [c.space is None for c in catalog.versions("mine")] == [False, False, True]
    assert catalog.contrast("mine", 1).key == own.key != catalog.contrast("mine", 2).key


@pytest.mark.parametrize("old", [1, 2])
def test_an_older_catalogue_is_opened_and_its_contrasts_have_none(tmp_path, old):
    path = tmp_path / "catalog.duckdb"
    with duckdb.connect(str(path)) as con:
        for statement in (MIGRATION, *MIGRATIONS[:old], ROW):
            con.execute(statement)
        for number in range(1, old + 1):
            con.execute("INSERT INTO migration VALUES (?, now()::TIMESTAMP)", [number])
    catalog = Catalog(path)
    assert [c.space for c in catalog.contrasts()] == [None]
    assert catalog.save(MINE.replace(space=space("abc"))).version == 2
    assert catalog.version() == len(MIGRATIONS)


def test_a_backup_has_it(store, tmp_path):
    run = store.run("boxes")
    saved = store.catalog.save(MINE.replace(name="kept", space=space(run.digest)))
    back = qkstore.open(archive.restore(tmp_path / "new", archive.backup(store, tmp_path / "b.tar")))
    assert back.catalog.contrast("kept") == saved
    (named,) = back.feature(back.run("boxes"), "kept")
    assert named.own.told == saved.own.told


@pytest.mark.parametrize("text", ["nojson", "{}", "[1]", '{"run": "a"}'])
def test_a_spoilt_one_is_left_out_and_ends_no_list(catalog, text):
    catalog.save(MINE.replace(space=space("abc")))
    catalog.save(MINE.replace(name="fine"))
    with catalog.database.transaction() as execute:
        execute("UPDATE contrast SET space = ? WHERE name = 'mine'", [text])
    assert [c.name for c in catalog.contrasts()] == ["fine"]
    with pytest.raises(ContrastError, match="no saved contrast 'mine'"):
        catalog.contrast("mine")
    assert catalog.save(MINE).version == 2


def test_the_command_lists_it_and_a_fork_keeps_it_unless_its_conditions_change(store, capsys):
    run = store.run("boxes")
    store.catalog.save(MINE.replace(name="group", space=space(run.digest)))

    def said(*arguments) -> str:
        assert cli.main(["contrasts", "--store", str(store.path), *arguments]) == 0
        return capsys.readouterr().out

    assert "With a subspace of its own: 2 dimensions of layer 1 head 2" in said()
    listed = {row["name"]: row for row in json.loads(said("--json"))}
    assert json.loads(listed["group"]["space"])["head"] == 2
    said("--fork", "group", "--save", "same", "--centring", "queries")
    said("--fork", "group", "--save", "another", "--positive", "k.pos = 1")
    assert store.catalog.contrast("same").own is not None
    assert store.catalog.contrast("another").own is None
    assert cli.main(["intervene", "--store", str(store.path), "--run", "boxes", "--contrast", "group",
                     "--layer", "1", "--head", "1"]) == 2  # fmt: skip
    assert "of layer 1 head 2" in capsys.readouterr().err
