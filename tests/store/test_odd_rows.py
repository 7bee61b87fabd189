"""Rows that no qkstore wrote, in a catalogue's file or on PostgreSQL: each is left out or told, and ends no list."""

from __future__ import annotations

import time

import duckdb
import pytest
import servers
import stores

import qkstore
from qkstore import __main__ as cli
from qkstore.analysis import heads, live
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.store.catalog import Catalog

pytestmark = servers.needs_postgres
MINE = Contrast("mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
ODD = [  # statements of whoever may write; {} of them is the newest or only version of a contrast
    *(f"UPDATE contrast SET checked = '{text}'" for text in ("nojson", "{}", "[1]", "null")),
    """UPDATE contrast SET checked = '{"run": 1, "content": 2, "split": 3, "counts": [], "findings": "x"}'""",
    """UPDATE contrast SET checked = '{"run": "r", "content": "c", "split": "s", "counts": {}, "findings": [1]}'""",
    "UPDATE contrast SET forked = '<script>alert(1)</script>'", "UPDATE contrast SET author = chr(27) || '[31m'",
    "UPDATE contrast SET weighting = 'bogus' WHERE name = 'other'",
    "UPDATE contrast SET positive = NULL WHERE name = 'other'",
    "UPDATE contrast SET created = TIMESTAMP '{year}-01-01 00:00:00'", "UPDATE contrast SET created = 'infinity'",
    "UPDATE contrast SET version = 2147483647 WHERE name = 'other'",
    "UPDATE note SET created = 'infinity'", "UPDATE note SET text = repeat('W', 100000)",
    "UPDATE mark SET created = 'infinity', version = 2147483647", "UPDATE mark SET kind = 'odd', state = 'odd'",
    "UPDATE person SET role = 'king'", "UPDATE person SET created = '-infinity', version = 2147483647",
    "UPDATE result SET payload = 'nojson'", "UPDATE result SET payload = '3'", "UPDATE result SET payload = '[{}]'",
    "UPDATE result SET payload = '[[]]'", "UPDATE result SET created = 'infinity'",
    "UPDATE result SET kind = 'live', payload = '{}'",
    """UPDATE result SET kind = 'live', payload = '{"conditions": 3}'""",
]  # fmt: skip


@pytest.fixture(params=["embedded", "postgres"])
def store(request, tmp_path):
    made = qkstore.open(stores.write(tmp_path / "store", n=40))
    if request.param == "postgres":
        made.catalog = Catalog(request.getfixturevalue("database"))
    catalog = made.catalog
    catalog.save(MINE)
    catalog.save(MINE.replace(name="other"))
    catalog.save(MINE.replace(name="away"))
    catalog.archive("away")
    catalog.notes.add("text", "boxes")
    catalog.people.set("ann@example.org", "viewer")
    catalog.keep_result("key", "heads", "boxes", "mine", [1])
    return made


def change(catalog: Catalog, statement: str) -> None:
    embedded = hasattr(catalog.database, "path")
    statement = statement.replace("{year}", "290000")
    if embedded:
        with duckdb.connect(str(catalog.database.path)) as con:
            con.execute(statement)
        return
    with catalog.database.transaction() as execute:
        execute(statement.replace("TIMESTAMP '290000-01-01 00:00:00'", "'290000-01-01 00:00:00'"))


@pytest.mark.parametrize("statement", ODD)
def test_an_odd_row_ends_no_list(store, statement, capsys):
    catalog, run = store.catalog, store.run("boxes")
    change(catalog, statement)
    assert "mine" in [c.name for c in catalog.contrasts()]
    assert "mine" in store.features(run)
    assert all(v.told == "" for v in catalog.history("mine"))
    assert catalog.changes()
    assert len(catalog.notes.on()) == 1
    catalog.archived(), catalog.people.all(), catalog.people.role("ann@example.org"), catalog.made("key")
    catalog.result("key"), catalog.results("heads", "boxes")
    assert live.results(store, run) == []
    assert catalog.save(MINE).version == 2
    catalog.save(MINE.replace(name="other"))
    catalog.people.set("ann@example.org", "editor")
    catalog.archive("mine")
    catalog.restore("mine@1")
    assert catalog.copy(store.path / "copy.duckdb")
    assert "mine" in [c.name for c in Catalog(store.path / "copy.duckdb").contrasts()]


@pytest.mark.parametrize("payload", ["nojson", "3", "[{}]", "[[]]", "{}", '"x"'])
def test_scores_that_are_none_are_computed(store, payload):
    run = store.run("boxes")
    change(store.catalog, f"UPDATE result SET key = '{heads.key(run, MINE)}', payload = '{payload}'")
    assert len(heads.kept(store, run, MINE)) == 8


def test_the_history_of_a_command_shows_control_characters(tmp_path, capsys):
    store = qkstore.open(stores.write(tmp_path / "store", n=16))
    store.catalog.save(MINE)
    change(store.catalog, "UPDATE contrast SET author = chr(27) || '[31m', forked = chr(8238)")
    assert cli.main(["contrasts", "--store", str(store.path), "--history", "mine"]) == 0
    said = capsys.readouterr().out
    assert "U+001B[31m" in said
    assert "U+202E" in said
    assert not {"\x1b", "\u202e"} & set(said)


def test_a_contrast_that_makes_none_is_told_where_it_is_asked_for(store):
    change(store.catalog, "UPDATE contrast SET weighting = 'bogus' WHERE name = 'other'")
    with pytest.raises(ContrastError, match="no saved contrast 'other'"):
        store.catalog.contrast("other")


def test_ten_thousand_notes_and_archived_contrasts_are_read_in_a_moment(tmp_path):
    catalog = Catalog(tmp_path / "catalog.duckdb")
    catalog.save(MINE)
    catalog.notes.add("first", "boxes")
    columns = "name, version, positive, negative, weighting, centring, description, author, created"
    values = "'c' || i, 1, 'k.pos = 1', 'k.pos = 2', 'pair', 'none', '', '', TIMESTAMP '2026-01-01'"
    with duckdb.connect(str(catalog.database.path)) as con:
        for table, more, n in (
            ("note", "'n' || i, 'boxes', '', 'text', 'ann', TIMESTAMP '2026-01-01', NULL", 10_000),
            (f"contrast ({columns})", values, 10_000),
            ("mark", "'contrast', 'c' || i, 1, 'archived', '', TIMESTAMP '2026-01-01', NULL", 9000),
        ):
            con.execute(f"INSERT INTO {table} SELECT {more} FROM range({n}) t(i)")
    start = time.process_time()
    notes, total = catalog.notes.beside([("boxes", ""), ("", "contrast mine")])
    assert (len(notes), total, catalog.notes.count()) == (50, 10_001, 10_001)
    assert len(catalog.archived()) == 9000
    assert len(catalog.contrasts()) == 1001
    assert time.process_time() - start < 3
