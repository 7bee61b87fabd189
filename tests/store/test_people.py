"""People, notes, archived contrasts and the list of changes: the same in a file and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import servers

from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RoleError, StoreError
from qkstore.store.catalog import Catalog, full_name
from qkstore.store.catalog.notes import MOST_TEXT, on_contrast, on_head
from qkstore.store.catalog.person import Person
from qkstore.store.catalog.postgres import Postgres

pytestmark = servers.needs_postgres
MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


# -- roles of people -----------------------------------------------------------------------------------------------


def test_the_newest_role_of_an_address_counts_before_that_of_its_domain(catalog):
    people = catalog.people
    assert people.role("ann@example.org") is None
    people.set("@Example.org", "viewer")
    assert people.role("ann@example.org") == "viewer"
    people.set("Ann@example.org ", "admin")
    people.set("ann@example.org", "editor")
    assert people.role("ANN@example.org") == "editor"
    people.set("ann@example.org", "none")
    assert people.role("ann@example.org") is None, "taken away, though all of the domain may read"
    assert people.role("bob@example.org") == "viewer"
    assert people.role("bob@example.org.evil.org") is None
    assert people.role("@example.org") == "viewer", "no login gives such an address; see dashboard.login"
    assert [(p["email"], p["role"]) for p in people.all()] == [("@example.org", "viewer")]
    assert people.all()[0]["author"] == catalog.person.name


def test_one_of_a_domain_is_shut_out_and_let_in_again(catalog):
    catalog.people.set("@example.org", "viewer")
    catalog.people.set("bob@example.org", "none")
    assert catalog.people.role("bob@example.org") is None
    assert catalog.people.role("ann@example.org") == "viewer"
    with pytest.raises(StoreError, match="bob@x.org has no role here; there are: @example.org") as error:
        catalog.people.set("bob@x.org", "none")
    assert "bob@example.org" not in str(error.value), "who has none is no one to name"
    catalog.people.set("bob@example.org", "editor")
    assert catalog.people.role("bob@example.org") == "editor"


@pytest.mark.parametrize(
    ("address", "role", "said"),
    [
        ("ann", "viewer", "'ann' is no address"),
        ("ann@@example.org", "viewer", "is no address"),
        ("ann@localhost", "viewer", "is no address"),
        ("an n@example.org", "viewer", "is no address"),
        ("", "viewer", "is no address"),
        ("@.", "viewer", "is no address"),
        ("*@example.org", "viewer", "is no address"),
        ("a" * 300 + "@example.org", "viewer", "is no address"),
        ("ann\u200b@example.org", "viewer", "holds U[+]200B, which cannot be seen"),
        ("ann@example.org", "king", "role 'king': there are: admin, editor, none, viewer"),
        ("nobody@example.org", "none", "nobody@example.org has no role here; did you mean"),
    ],
)
def test_what_is_no_address_or_role_is_one_line(catalog, address, role, said):
    catalog.people.set("anybody@example.org", "viewer")
    with pytest.raises(StoreError, match=said) as error:
        catalog.people.set(address, role)
    assert "\n" not in str(error.value)
    assert len(catalog.people.all()) == 1


def test_without_a_role_one_may_nothing_and_with_each_what_it_says():
    nobody, viewer, editor, admin = (Person("ann", role) for role in (None, "viewer", "editor", "admin"))
    assert [p.may("viewer") for p in (nobody, viewer, editor, admin)] == [False, True, True, True]
    assert [p.may("editor") for p in (nobody, viewer, editor, admin)] == [False, False, True, True]
    assert [p.may("admin") for p in (nobody, viewer, editor, admin)] == [False, False, False, True]
    with pytest.raises(RoleError, match="ann has no role here, and may not save a contrast: .* the role editor"):
        nobody.must("editor", "save a contrast")


# -- contrasts that are put away -----------------------------------------------------------------------------------


def test_an_archived_contrast_is_in_no_list_and_still_found(catalog):
    first, second = catalog.save(MINE), catalog.save(MINE.replace(centring="queries"))
    catalog.save(MINE.replace(name="other"))
    catalog.archive("mine")
    assert [c.name for c in catalog.contrasts()] == ["other"]
    assert catalog.archived() == [second]
    assert catalog.contrast("mine") == second
    assert catalog.contrast("mine@1") == first
    with pytest.raises(ContrastError, match="'mine' is archived already"):
        catalog.archive("mine")
    catalog.restore("mine")
    assert [full_name(c) for c in catalog.contrasts()] == ["mine@2", "other@1"]
    with pytest.raises(ContrastError, match="'mine' is not archived"):
        catalog.restore("mine")
    catalog.archive("mine")
    assert catalog.save(MINE).version == 3, "its name is not free"
    assert catalog.archived() == [], "who saves it anew wants it back"
    with pytest.raises(ContrastError, match="no saved contrast 'mien'; did you mean 'mine'"):
        catalog.archive("mien")


def test_all_versions_are_put_away_together_however_they_are_named(catalog):
    catalog.save(MINE)
    assert catalog.archive("mine@1") == "mine"
    assert [c.name for c in catalog.archived()] == ["mine"]
    assert [c.subject for c in catalog.changes(1)] == ["contrast mine"]
    assert catalog.restore("mine@1") == "mine"
    assert catalog.archived() == []


def test_archived_at_once_it_is_archived_once(catalog):
    catalog.save(MINE)

    def act(_) -> bool:
        try:
            return bool(Catalog(of_its_own(catalog)).archive("mine"))
        except ContrastError:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(act, range(6))) == 1
    assert [c.act for c in catalog.changes()].count("archived") == 1


def test_names_that_look_alike_are_not_saved_at_once(catalog):
    def act(name: str) -> bool:
        try:
            return bool(Catalog(of_its_own(catalog)).save(MINE.replace(name=name)))
        except ContrastError as error:
            assert "can be taken for" in str(error)
            return False

    for number in range(8):
        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(act, (f"fruit-{number}", f"Fruit {number}", f"FRUIT_{number}"))) == 1


def of_its_own(catalog: Catalog):
    """The same place, reached as another process does."""
    return Postgres(catalog.database.url) if hasattr(catalog.database, "url") else catalog.database.path


def test_a_version_is_asked_for_by_name(catalog):
    saved = [catalog.save(MINE), catalog.save(MINE.replace(weighting="query"))]
    assert [catalog.contrast(full_name(c)) for c in saved] == saved
    for name in ("mine@3", "mine@0", "mine@", "mine@01", "@1", f"mine@{'9' * 30}"):
        with pytest.raises(ContrastError, match="no saved contrast"):
            catalog.contrast(name)
    with pytest.raises(ContrastError, match="holds an @, which stands between a name and its version"):
        catalog.save(MINE.replace(name="mine@2"))


def test_what_is_known_of_a_saving_is_kept(catalog):
    base = catalog.save(MINE)
    checked = {"run": "boxes", "content": "ab", "split": "train", "findings": ["few ü"]}
    checked |= {"counts": {"n_pos": 3, "n_neg": 4}}
    catalog.save(MINE.replace(name="fork"), checked, base)
    (version,) = catalog.history("fork")
    assert (version.checked, version.forked, version.contrast.version) == (checked, "mine@1", 1)
    assert version.told == "checked on run boxes (ab), train prompts: 3 positive and 4 negative pairs; few ü"
    assert catalog.history("mine")[0].checked is None
    assert catalog.history("nothing") == []


# -- notes ---------------------------------------------------------------------------------------------------------


def test_notes_on_a_run_a_head_and_a_contrast(catalog):
    notes = catalog.notes
    whole = notes.add(" first\nsecond ", "boxes")
    head = notes.add("binds, it's 100 % ?", "boxes", on_head(2, 7))
    contrast = notes.add("odd 日本", subject=on_contrast("order"))
    assert whole.text == "first\nsecond"
    assert [n.note_id for n in notes.on()] == [contrast.note_id, head.note_id, whole.note_id], "newest first"
    assert notes.on("boxes", on_head(2, 7)) == [head]
    assert notes.on("boxes", "") == [whole]
    assert notes.on("", on_contrast("order")) == [contrast]
    assert [n.about for n in notes.on()] == ["contrast order", "run boxes L2 H7", "run boxes"]
    assert notes.beside([("boxes", on_head(2, 7)), ("", on_contrast("order"))]) == ([contrast, head], 2)
    assert notes.beside([("boxes", "")], most=0) == ([], 0)
    notes.withdraw(head.note_id)
    assert notes.on("boxes") == [whole]
    with pytest.raises(StoreError, match="no note"):
        notes.withdraw(head.note_id)


SCRIPTS = ["\u2764\ufe0f", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "a\r\nb", "👩\u200d🔬", "a\tb"]


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_note_in_any_script_is_left(catalog, text):
    assert catalog.notes.add(text, "boxes").text == text.replace("\r\n", "\n")
    assert catalog.notes.on()[0].text == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" \n", "the note is empty"),
        ("x" * (MOST_TEXT + 1), "has 4,001 characters; 4,000 are possible"),
        ("a\u2066b", "holds U[+]2066"),
        ("a\u202eb", "holds U[+]202E, which cannot be seen"),
        ("a\ud800", "half of a character"),
        ("a\0", "holds U[+]0000"),
    ],
)
def test_a_note_that_cannot_be_read_is_refused(catalog, text, said):
    with pytest.raises(StoreError, match=said):
        catalog.notes.add(text, "boxes")
    with pytest.raises(StoreError, match="on a run, a head of one, or a contrast"):
        catalog.notes.add("text")
    assert catalog.notes.on() == []


def test_the_note_of_somebody_else_is_for_admins_to_withdraw(catalog):
    ann, bob, root = (catalog.acting(Person(n, r)) for n, r in (("ann", "editor"), ("bob", "editor"), ("r", "admin")))
    first, second = ann.notes.add("one", "boxes"), ann.notes.add("two", "boxes")
    with pytest.raises(RoleError, match="bob has the role editor, and may not withdraw the note of somebody else"):
        bob.notes.withdraw(first.note_id)
    ann.notes.withdraw(first.note_id)
    root.notes.withdraw(second.note_id)
    assert catalog.notes.on() == []


# -- who changed what ----------------------------------------------------------------------------------------------


def test_every_change_is_told_newest_first(catalog):
    ann = catalog.acting(Person("ann@example.org", "admin"))
    base = ann.save(MINE)
    ann.save(MINE.replace(name="fork"), forked=base)
    ann.notes.add("text", "boxes", on_head(1, 0))
    ann.archive("fork")
    ann.people.set("bob@example.org", "editor")
    ann.people.set("bob@example.org", "none")
    told = [(c.act, c.subject) for c in catalog.changes()]
    assert told == [
        ("took the role of", "bob@example.org"),
        ("gave the role editor to", "bob@example.org"),
        ("archived", "contrast fork"),
        ("noted", "run boxes L1 H0"),
        ("forked from mine@1", "contrast fork@1"),
        ("saved", "contrast mine@1"),
    ]
    assert {c.author for c in catalog.changes()} == {"ann@example.org"}
    assert len(catalog.changes(2)) == 2


def test_who_wrote_is_said_by_the_server_where_it_knows(catalog, request):
    catalog.acting(Person("ann@example.org", "editor")).save(MINE)
    who = catalog.changes()[0].who
    shared = request.node.callspec.params["catalog"] == "postgres"
    assert who == ("ann@example.org (through lab)" if shared else "ann@example.org")
