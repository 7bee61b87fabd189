"""What people leave for each other, on pages: versions, notes, archived contrasts, roles, and who changed what."""

from __future__ import annotations

import json

import pytest
import stores
from test_pages import SCRIPT, edit, html, own  # noqa: F401 -- a fixture

import qkstore
from dashboard import shell
from qkstore.contrast import Contrast
from qkstore.store.catalog.embedded import Embedded
from qkstore.store.catalog.notes import on_contrast, on_head
from qkstore.store.catalog.person import Person

SIDES = {"positive": "k.order_id = q.queried_order", "negative": "k.order_id <> q.queried_order"}
ALONE = "k.prompt_id = q.prompt_id and k.role = 'box'"


@pytest.fixture
def catalog(own):
    """The catalogue of the store, in which `mine` has two versions and `gone` was put away."""
    made = qkstore.open(own).catalog
    made.save(Contrast("mine", ALONE, **SIDES, author="ann"))
    made.save(Contrast("mine", ALONE, **SIDES, centring="queries", author="bob@example.org"))
    made.save(Contrast("gone", ALONE, **SIDES))
    made.archive("gone")
    return made


def chosen(app) -> str:
    return app.selectbox(key="url-contrast").value


def versions(app, name: str = "mine"):
    """The page with the versions of its contrast drawn."""
    app.toggle(key=f"versions-{name}").set_value(True)
    return app.run()


def press(app, label: str):
    next(b for b in app.button if b.label == label).click()
    return app.run()


# -- links name versions -------------------------------------------------------------------------------------------


def test_an_address_names_a_version_and_without_one_the_newest(show, own, catalog):
    assert chosen(show(own, "heads", contrast="mine")) == "mine@2"
    old = show(own, "subspaces", contrast="mine@1")
    assert chosen(old) == "mine@1"
    assert not old.warning
    assert "contrast mine@1 (" in html(old), "what the page was made of"
    assert "--contrast mine@1" in " ".join(c.value for c in old.code)
    assert chosen(show(own, "heads", contrast="gone@1")) == "gone@1", "a link to one that was put away goes on"
    wrong = show(own, "heads", contrast="mine@9")
    assert "mine@9" in wrong.warning[0].value.replace("\\", "")
    assert chosen(wrong) == "order"
    catalog.save(Contrast("mine", ALONE, **SIDES, weighting="query"))
    assert chosen(show(own, "heads", contrast="mine@2")) == "mine@2", "it shows what it showed"


def test_the_code_of_a_page_takes_its_version(show, own, catalog, monkeypatch):
    monkeypatch.chdir(own.parent)
    code = next(c.value for c in show(own, "heads", contrast="mine@1").code if "scores = heads" in c.value)
    names: dict = {}
    exec(code, names)
    assert names["contrast"] == catalog.contrast("mine", 1)


def test_the_versions_of_a_contrast_tell_who_when_and_what_changed(show, own, catalog):
    app = versions(show(own, "contrasts", contrast="mine@1"))
    for page in ("contrasts", "heads", "projections"):
        told = [i.value.replace("\\", "") for i in show(own, page, contrast="mine@1").info]
        assert any("This is mine@1; mine@2 is newer" in text for text in told), page
        assert not any("is newer" in i.value for i in show(own, page, contrast="mine@2").info)
    said = html(app)
    assert "by bob@example.org: centring changed" in said
    assert "by ann: new" in said
    diff = next(c for c in app.code if c.language == "diff").value
    assert diff == "centring\n- none\n+ queries"


def test_saving_keeps_the_check_and_what_it_was_taken_from(show, own, catalog):
    app = edit(show(own, "contrasts", contrast="mine@1"), "Save as a new version", name="another")
    assert app.query_params["contrast"] in ("another@1", ["another@1"])
    (version,) = catalog.history("another")
    assert version.forked == "mine@1"
    assert version.checked["run"] == "boxes"
    assert version.checked["content"] == qkstore.open(own).run("boxes").digest
    assert version.checked["counts"]["n_pos"] > 0
    said = html(versions(app, "another"))
    assert "Checked on run boxes" in said
    assert "forked from mine@1" in said
    edit(show(own, "contrasts", contrast="mine@1"), "Save as a new version")
    assert catalog.history("mine")[-1].forked is None, "the next version of itself"


def test_a_contrast_is_put_away_and_brought_back(show, own, catalog):
    app = press(show(own, "contrasts", contrast="mine"), "Archive this contrast")
    assert not app.error
    assert [c.name for c in catalog.archived()] == ["gone", "mine"]
    assert "mine@2" not in app.selectbox(key="url-contrast").options
    app = press(show(own, "contrasts", contrast="mine@2"), "Restore")
    assert [c.name for c in catalog.archived()] == ["gone"]
    assert chosen(app) == "mine@2"


def test_a_contrast_is_renamed_with_its_draft_and_old_links_say_so(show, own, catalog):
    app = versions(show(own, "contrasts", contrast="mine"))
    next(e for e in app.text_area if e.label == "Positive").set_value("k.order_id = q.queried_order and k.pos > 2")
    app = app.run()
    app.text_input(key="rename-to-mine").set_value("order")
    app = press(app, "Rename")
    assert "is taken by a built" in app.error[0].value
    assert app.text_input(key="rename-to-mine").value == "order", "what was refused stays in the field"
    app.text_input(key="rename-to-mine").set_value("порядок")
    app = press(app, "Rename")
    assert not app.error
    assert chosen(app) == "порядок@2"
    assert [c.name for c in catalog.contrasts()] == ["порядок"]
    app.query_params.pop("draft")  # the session remembers it too
    assert "k.pos" in next(e for e in app.run().text_area if e.label == "Positive").value
    assert "Called mine before" in html(versions(app, "порядок"))
    for address, version in (("mine@1", 1), ("mine@2", 2), ("mine", 2)):
        old = show(own, "heads", contrast=address)
        assert not old.error
        said = [i.value.replace("\\", "") for i in old.info]
        assert f"{address} is called порядок@{version} now." in said
        assert any("порядок@2 is newer" in text for text in said) == (version == 1)
    assert not [i for i in show(own, "heads", contrast="порядок@2").info if "now." in i.value]


def test_a_draft_stays_behind_where_another_version_is_opened(show, own, catalog):
    app = versions(edit(show(own, "contrasts", contrast="mine@2"), "Preview", positive="k.order_id = 1"))
    assert "draft" in app.query_params
    app = press(app, "Open version 1")
    assert chosen(app) == "mine@1"
    assert "draft" not in app.query_params
    assert next(e for e in app.text_area if e.label == "Positive").value == SIDES["positive"]


# -- notes ---------------------------------------------------------------------------------------------------------


def test_notes_of_a_head_its_run_and_its_contrast_stand_beside_a_page(show, own, catalog):
    catalog.notes.add(f"of the head {SCRIPT}\nand more", "boxes", on_head(1, 2))
    catalog.notes.add("of the run", "boxes")
    catalog.notes.add("of the contrast", subject=on_contrast("order"))
    catalog.notes.add("of another head", "boxes", on_head(0, 0))
    for page in shell.GROUPS["Explain"]:
        app = show(own, page, layer="1", head="2", contrast="order")
        said = html(app)
        assert all(text in said for text in ("of the head", "<br>and more", "of the run", "of the contrast"))
        assert SCRIPT not in said
        assert "of another head" not in said


def test_a_note_is_left_and_withdrawn(show, own):
    app = show(own, "heads", layer="1", head="2", contrast="order")
    app = edit(app, "Leave the note", a="binds by entity")
    (note,) = qkstore.open(own).catalog.notes.on()
    assert (note.text, note.run, note.subject) == ("binds by entity", "boxes", "L1 H2")
    assert "binds by entity" in html(app)
    app = edit(app, "Leave the note", a="  ")
    assert "the note is empty" in app.error[0].value
    app = press(show(own, "heads", layer="1", head="2", contrast="order"), "Withdraw")
    assert qkstore.open(own).catalog.notes.on() == []
    assert "binds by entity" not in html(app)


# -- roles ---------------------------------------------------------------------------------------------------------


def test_a_viewer_reads_everything_and_writes_nothing(show, own, catalog, monkeypatch):
    store = qkstore.open(own)
    monkeypatch.setattr(shell, "store", lambda: store.acting(Person("vera@example.org", "viewer")))
    before = [catalog.rows(f"SELECT * FROM {table}") for table in ("contrast", "note", "mark", "person", "result")]
    app = show(own, "contrasts", contrast="mine")
    assert not {"Leave the note", "Archive this contrast", "Withdraw", "Restore"} & {b.label for b in app.button}
    app = edit(app, "Save as a new version", name="viewed")
    said = app.error[0].value.replace("\\", "")
    assert "has the role viewer, and may not save a contrast: that needs the role editor" in said
    assert not app.exception
    for page in (*shell.GROUPS["Explain"], "heads", "team"):
        app = show(own, page, contrast="mine")
        assert not app.error, page
    after = [catalog.rows(f"SELECT * FROM {table}") for table in ("contrast", "note", "mark", "person", "result")]
    assert after == before


def test_the_team_page_tells_who_changed_what_and_gives_roles(show, own, catalog):
    app = show(own, "team")
    changes = app.dataframe[0].value
    assert list(changes["subject"])[:2] == ["contrast gone", "contrast gone@1"]
    assert "This dashboard has no login" in html(app)
    app = edit(app, "Give the role", address="Ann@example.org")
    assert catalog.people.role("ann@example.org") == "viewer"
    assert list(app.dataframe[1].value["email"]) == ["ann@example.org"]
    app = edit(app, "Give the role", address="ann")
    assert "is no address" in app.error[0].value


def test_hostile_names_are_text_on_the_team_page(show, own):
    catalog = qkstore.open(own).catalog
    catalog.save(Contrast(f"x {SCRIPT}"[:90], ALONE, **SIDES, author=SCRIPT))
    app = show(own, "team")
    assert not app.exception
    assert SCRIPT not in html(app)
    assert json.dumps(SCRIPT)[1:-1] not in html(app)


# -- results -------------------------------------------------------------------------------------------------------


def test_a_table_of_heads_says_who_computed_it_and_of_what(show, own):
    app = show(own, "heads", contrast="order")
    store = qkstore.open(own)
    (kept,) = store.catalog.results("heads", "boxes")
    made = store.catalog.made(kept["key"])
    assert (made["content"], made["author"]) == (store.run("boxes").digest, store.catalog.person.name)
    assert f"Computed {made['created']:%Y-%m-%d %H:%M} by {made['author']}." in html(app)
    assert f"Made of run boxes ({store.run('boxes').digest}), contrast order (" in html(app)


def test_a_store_of_lists_notes_its_span(show, tmp_path):
    path = stores.write_lists(tmp_path / "store")
    app = show(path, "projections", contrast="category:*")
    assert not app.error
    assert "the span of" in html(app)


@pytest.mark.parametrize(("page", "most"), [("overview", 1), ("heads", 2), ("contrasts", 4), ("subspaces", 2)])
def test_a_page_reads_the_catalogue_a_few_times(show, own, catalog, monkeypatch, page, most):
    """Each reading of an embedded one opens its file: 12 ms. Notes beside a page are one, however many there are."""
    for text in ("a", "b"):
        catalog.notes.add(text, "boxes")
    app = show(own, page, contrast="mine@2").run()
    opened, plain = [], Embedded._connect
    monkeypatch.setattr(Embedded, "_connect", lambda self, write: opened.append(write) or plain(self, write))
    assert not app.run().error
    assert 0 < len(opened) <= most
