"""A contrast called something else: versions, notes, archive and old addresses go on, in a file and on PostgreSQL."""

from __future__ import annotations

import re

import pytest
import servers
import stores

import qkstore
from qkstore.analysis import heads
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RoleError
from qkstore.store.catalog import Catalog, full_name
from qkstore.store.catalog.notes import on_contrast
from qkstore.store.catalog.person import Person

pytestmark = servers.needs_postgres
MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


def test_all_versions_have_the_new_name_and_the_old_addresses_go_on(catalog):
    saved = [catalog.save(MINE), catalog.save(MINE.replace(weighting="query"))]
    assert catalog.rename("mine", "yours") == "yours"
    assert [full_name(c) for c in catalog.contrasts()] == ["yours@2"]
    assert catalog.versions("yours") == [c.replace(name="yours") for c in saved] == catalog.versions("mine")
    assert catalog.contrast("mine@1") == catalog.contrast("yours@1") == saved[0].replace(name="yours")
    assert catalog.contrast("mine").version == catalog.contrast("mine", 2).version == 2
    assert catalog.names("yours") == catalog.names("mine") == ["mine"]
    third = catalog.save(MINE.replace(name="yours", centring="queries"))
    assert full_name(third) == "yours@3"
    assert catalog.contrast("mine@3") == third
    with pytest.raises(ContrastError, match="no saved contrast 'mine' of version 9; its versions: 1, 2, 3"):
        catalog.contrast("mine@9")


def test_again_and_back(catalog):
    catalog.save(MINE)
    for new in ("second", "third", "mine", "Mine", "second"):
        catalog.rename(catalog.contrasts()[0].name, new)
        assert [c.name for c in catalog.contrasts()] == [new]
        assert {catalog.contrast(name).name for name in ("mine@1", new, "second")} == {new}
        catalog.save(MINE.replace(name=new))
    assert [c.version for c in catalog.versions("third")] == [1, 2, 3, 4, 5, 6]
    assert catalog.names("second") == ["Mine", "mine", "third"]


TAKEN = {
    "mine": "contrast 'mine' has that name already",
    "other": "contrast name 'other' is taken by another contrast; choose another",
    "former": "contrast name 'former' is taken by another contrast, which is called 'latter' now; choose another",
    "Other": "can be taken for 'other'",
    "FORMER": "can be taken for 'former'",
    "order": "is taken by a built-in contrast",
    "ORDER": "can be taken for 'order'",
    "none": "is a word that means something else here",
    "draft": "is a word that means something else here",
    "a@b": "holds an @",
    "": "is empty",
    "x" * 101: "has 101 characters",
    "\u202ex": "U+202E",
}


@pytest.mark.parametrize("new", TAKEN)
def test_a_name_that_is_taken_or_misleads_is_refused_and_nothing_changes(catalog, new):
    for name in ("mine", "other", "former"):
        catalog.save(MINE.replace(name=name))
    catalog.rename("former", "latter")
    before = catalog.rows("SELECT * FROM mark")
    with pytest.raises(ContrastError, match=re.escape(TAKEN[new])):
        catalog.rename("mine", new)
    assert catalog.rows("SELECT * FROM mark") == before
    with pytest.raises(ContrastError, match="did you mean 'mine'"):
        catalog.rename("mien", "x")


def test_nobody_saves_under_a_name_that_leads_elsewhere(catalog):
    catalog.save(MINE)
    catalog.rename("mine", "yours")
    with pytest.raises(ContrastError, match="'mine' is called 'yours' now: save it under that name, or another"):
        catalog.save(MINE)
    with pytest.raises(ContrastError, match="can be taken for 'mine'"):
        catalog.save(MINE.replace(name="Mine"))
    assert [v.version for v in catalog.versions("yours")] == [1]


def test_archive_notes_and_changes_follow_the_name(catalog):
    catalog.save(MINE.replace(author="ann"))
    first = catalog.notes.add("before", subject=on_contrast("mine"))
    catalog.archive("mine")
    catalog.rename("mine@1", "yours")
    assert [c.name for c in catalog.archived()] == ["yours"]
    second = catalog.notes.add("after", subject=on_contrast("yours"))
    for name in ("mine", "yours"):
        assert catalog.notes.on("", on_contrast(name)) == [second, first]
        assert catalog.notes.beside([("", on_contrast(name))]) == ([second, first], 2)
    assert catalog.notes.on("", on_contrast("other")) == []
    assert catalog.restore("mine") == "yours"
    catalog.rename("yours", "ours")
    catalog.archive("ours")
    acts = [(c.act, c.subject) for c in catalog.changes() if c.act != "noted"]
    assert acts == [
        ("archived", "contrast ours"),
        ("renamed to ours", "contrast yours"),
        ("restored", "contrast ours"),
        ("renamed to yours", "contrast mine"),
        ("archived", "contrast ours"),
        ("saved", "contrast ours@1"),
    ]


def test_a_copy_keeps_the_names(catalog, tmp_path):
    catalog.save(MINE)
    catalog.rename("mine", "yours")
    assert catalog.copy(tmp_path / "copy.duckdb")
    assert [c.name for c in Catalog(tmp_path / "copy.duckdb").contrasts()] == ["yours"]
    assert Catalog(tmp_path / "copy.duckdb").contrast("mine@1").name == "yours"


def test_a_viewer_may_not(catalog):
    catalog.save(MINE)
    with pytest.raises(RoleError, match="may not rename a contrast: that needs the role editor"):
        catalog.acting(Person("vera", "viewer")).rename("mine", "yours")
    assert [c.name for c in catalog.contrasts()] == ["mine"]


def test_kept_scores_and_old_links_of_a_run_go_on(tmp_path, monkeypatch):
    store = qkstore.open(stores.write(tmp_path / "store", n=40))
    run, saved = store.run("boxes"), store.catalog.save(MINE)
    scores = heads.kept(store, run, saved)
    store.catalog.rename("mine", "yours")
    monkeypatch.setattr(heads, "heads", lambda *_, **__: pytest.fail("they are kept"))
    for name in ("mine", "mine@1", "yours", "yours@1"):
        (found,) = store.feature(run, name)
        assert full_name(found) == "yours@1"
        assert heads.kept(store, run, found) == scores
    assert "yours" in store.features(run)
    assert "mine" not in store.features(run)


ODD = [
    "INSERT INTO mark VALUES ('name', 'mine', 1, 'order', '', TIMESTAMP '2026-01-01', NULL)",
    "INSERT INTO mark VALUES ('name', 'mine', 2147483647, 'odd', '', TIMESTAMP '2026-01-01', NULL)",
    "INSERT INTO mark VALUES ('name', 'nobody', 1, 'mine', '', TIMESTAMP '2026-01-01', NULL)",
    "INSERT INTO mark VALUES ('name', 'mine', 1, 'other', '', TIMESTAMP '2026-01-01', NULL)",
]


@pytest.mark.parametrize("statement", ODD)
def test_an_odd_mark_ends_no_list(catalog, statement):
    catalog.save(MINE)
    catalog.save(MINE.replace(name="other"))
    with catalog.database.transaction() as execute:
        execute(statement)
    assert len(catalog.contrasts()) == 2
    assert catalog.contrast("other").version == 1
    assert catalog.changes()
    assert catalog.save(MINE.replace(name="third")).version == 1
    assert catalog.notes.on("", on_contrast("mine")) == []
