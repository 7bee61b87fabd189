"""Who may do what with a catalogue on PostgreSQL: said by the library, and enforced by the server past it."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor

import pytest
import servers
from catalogued import PEOPLE
from conftest import ROOT

from qkstore.contrast import Contrast
from qkstore.errors import RoleError, StoreError
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.person import Person

pytestmark = servers.needs_postgres
MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
THERE = MINE.replace(name="there")
WRITES = {  # every call of the library that writes, and the least role for it
    "save": ("editor", lambda catalog: catalog.save(MINE)),
    "archive": ("editor", lambda catalog: catalog.archive("there")),
    "restore": ("editor", lambda catalog: catalog.restore("away")),
    "rename": ("editor", lambda catalog: catalog.rename("away", "gone")),
    "note": ("editor", lambda catalog: catalog.notes.add("text", "run")),
    "withdraw": ("admin", lambda catalog: catalog.notes.withdraw(catalog.notes.on()[0].note_id)),
    "keep_result": ("editor", lambda catalog: catalog.keep_result("new", "heads", "run", "mine", [1])),
    "people": ("admin", lambda catalog: catalog.people.set("new@example.org", "viewer")),
    "run": ("editor", lambda catalog: catalog.mark("run", "boxes", "added", "add a run")),
    "rename a run": ("admin", lambda catalog: catalog.runs.rename("run", "other")),
    "delete a run": ("admin", lambda catalog: catalog.runs.remove("run")),
}
TABLES = ("contrast", "note", "result", "mark", "person", "migration")
PAST_US = {  # statements that no call makes, sent to the server by the person
    "viewer": ["INSERT INTO contrast SELECT * FROM contrast", "DELETE FROM contrast", "DROP TABLE contrast",
               "UPDATE result SET payload = ''", "INSERT INTO person SELECT * FROM person",
               "INSERT INTO mark SELECT * FROM mark", "CREATE TABLE qkstore.mine (i int)", "TRUNCATE result"],
    "editor": ["UPDATE contrast SET positive = 'true'", "DELETE FROM contrast", "DROP TABLE note",
               "INSERT INTO migration VALUES (99, now())", "ALTER TABLE contrast ADD COLUMN x int",
               "INSERT INTO person (email, version, role, author, created) VALUES ('ed@x.org', 1, 'admin', '', now())",
               "UPDATE note SET text = ''", "DELETE FROM mark", "UPDATE person SET role = 'admin'"],
    "admin": ["DROP TABLE contrast", "INSERT INTO migration VALUES (99, now())", "TRUNCATE contrast"],
}  # fmt: skip


@pytest.fixture
def filled(database):
    """The database with something to change in it."""
    catalog = Catalog(database)
    catalog.save(THERE)
    catalog.save(MINE.replace(name="away"))
    catalog.archive("away")
    catalog.notes.add("of the owner", "run")
    return database


def content(database) -> list:
    return [sorted(map(repr, database.rows(f"SELECT * FROM {table}"))) for table in TABLES]


@pytest.mark.parametrize("how", ["a user of the server", "a person of the dashboard"])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("person", "role"), PEOPLE.items())
def test_who_may_write(filled, of, person, role, write, how):
    catalog = of(person) if how.startswith("a user") else Catalog(filled, Person(person, role))
    least, act = WRITES[write]
    before = content(filled)
    if Person(person, role).may(least):
        act(catalog)
        assert content(filled) != before
        return
    with pytest.raises(RoleError, match=f"{person} has the role {role}, and may not .*: .* the role {least}") as error:
        act(catalog)
    assert "\n" not in str(error.value)
    assert content(filled) == before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("person", "role"), PEOPLE.items())
def test_the_database_refuses_a_person_of_the_dashboard_where_the_library_does_not(filled, person, role, write):
    """The library's check is taken away; the rows are written with the person's role alone."""

    class Unchecked(Person):
        def must(self, least, act):
            pass

    catalog, (least, act) = Catalog(filled, Unchecked(person, role)), WRITES[write]
    if Person(person, role).may(least) or (role == "editor" and write in ("withdraw", "delete a run")):
        act(catalog)  # that the note is of somebody else is the library's to know; the run's file is the folder's
        return
    before = content(filled)
    with pytest.raises(StoreError, match="this user may read it and not do this"):
        act(catalog)
    assert content(filled) == before


def calls(name: str) -> list[ast.Call]:
    """Every call of a method of this name in the room of the store."""
    trees = [ast.parse(p.read_text()) for p in (ROOT / "qkstore" / "store").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in nodes if isinstance(node.func, ast.Attribute) and node.func.attr == name]


def test_every_call_that_writes_is_tried():
    """One that begins a transaction to write, and is not in WRITES, would be one that nobody tried."""
    acts = {ast.unparse(c.args[0]).strip("'") for c in calls("write") if c.args and isinstance(c.args[0], ast.Constant)}
    acts |= {ast.unparse(c.args[-1]).strip("'") for name in ("mark", "_put") for c in calls(name)}
    assert acts == {
        "save a contrast", "archive a contrast", "restore a contrast", "rename a contrast", "leave a note",
        "withdraw a note", "keep a result", "say who may do what", "add a run", "rename a run", "delete a run",
    }  # fmt: skip
    assert len(acts) == len(WRITES)
    begun = {ast.unparse(c.func.value) for c in calls("transaction")}
    assert begun == {"self.database", "self", "Embedded(target)", "connection"}, (
        "by Catalog.write, reading, and copying"
    )


def test_the_server_says_who_wrote_and_nobody_can_say_otherwise(pg, filled, of):
    import psycopg

    of("ed").save(MINE.replace(author="somebody else"))
    assert of("vera").changes()[0].who == "somebody else (through ed)"
    for person in PEOPLE:
        with (
            psycopg.connect(pg.url(person, filled.name), options="-c search_path=qkstore") as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(
                "INSERT INTO mark (kind, subject, version, state, author, created, writer) "
                "VALUES ('run', 'r', 1, 'added', 'x', now(), 'ada')"
            )


def test_a_dashboard_that_serves_editors_needs_their_role_itself(filled, of):
    """Its own user lends no role that it has not."""
    ed = of("ed")
    with pytest.raises(StoreError, match="this user may read it and not do this"):
        Catalog(ed.database, Person("root@example.org", "admin")).people.set("x@example.org", "admin")
    assert ed.people.role("x@example.org") is None


@pytest.mark.parametrize(("role", "statement"), [(role, s) for role, some in PAST_US.items() for s in some])
def test_the_server_itself_refuses_what_goes_past_the_library(pg, database, role, statement):
    import psycopg

    person = next(name for name, its in PEOPLE.items() if its == role)
    Catalog(database).save(MINE)
    options = "-c search_path=qkstore"
    with (
        psycopg.connect(pg.url(person, database.name), options=options) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
    assert [c.name for c in Catalog(database).contrasts()] == ["mine"]


def test_who_has_no_role_reads_nothing(of):
    with pytest.raises(StoreError, match="or this user has no role in it: GRANT qkstore_viewer"):
        of("noah").contrasts()


def test_a_user_with_one_connection_may_do_it_all(pg, filled, of):
    pg.sql("ALTER ROLE ada CONNECTION LIMIT 1")
    try:
        ada = of("ada")
        for write in WRITES:
            WRITES[write][1](ada)
    finally:
        ada.database.close()
        pg.sql("ALTER ROLE ada CONNECTION LIMIT -1")


def test_an_admin_may_not_say_who_wrote(pg, filled):
    import psycopg

    with (
        psycopg.connect(pg.url("ada", filled.name), options="-c search_path=qkstore") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE note SET writer = 'ed'")


def test_restoring_is_for_the_owner_and_says_so_first(filled, of, tmp_path):
    filled.copy(tmp_path / "copy.duckdb")
    with pytest.raises(StoreError, match="only its owner, who ran `qkstore init`, can restore into it"):
        of("ada").database.check_empty()


def test_who_saves_at_once_under_another_isolation_waits_too(pg, filled, of):
    pg.sql("ALTER ROLE ed SET default_transaction_isolation = 'repeatable read'")
    try:
        with ThreadPoolExecutor(4) as pool:
            versions = sorted(c.version for c in pool.map(lambda _: of("ed").save(MINE), range(4)))
        assert versions == [1, 2, 3, 4]
    finally:
        pg.sql("ALTER ROLE ed RESET default_transaction_isolation")
