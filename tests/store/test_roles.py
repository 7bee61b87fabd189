"""Who may do what with a catalogue on PostgreSQL: said by the library, and enforced by the server past it."""

from __future__ import annotations

import pytest
import servers
from catalogued import PEOPLE

from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.store.catalog import Catalog

pytestmark = servers.needs_postgres
MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
WRITES = {
    "save": lambda catalog: catalog.save(MINE),
    "keep_result": lambda catalog: catalog.keep_result("new", "heads", "run", "mine", [1]),
}
PAST_US = {  # statements that no call makes, sent to the server by the person
    "viewer": ["INSERT INTO contrast SELECT * FROM contrast", "DELETE FROM contrast", "DROP TABLE contrast",
               "UPDATE result SET payload = ''", "CREATE TABLE qkstore.mine (i int)", "TRUNCATE result"],
    "editor": ["UPDATE contrast SET positive = 'true'", "DELETE FROM contrast", "DROP TABLE note",
               "INSERT INTO migration VALUES (99, now())", "ALTER TABLE contrast ADD COLUMN x int"],
    "admin": ["DROP TABLE contrast", "INSERT INTO migration VALUES (99, now())", "TRUNCATE contrast"],
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("person", "may"), [("vera", False), ("ed", True), ("ada", True)])
def test_who_may_write(database, of, person, may, write):
    Catalog(database).save(MINE.replace(name="there"))
    catalog = of(person)
    if may:
        WRITES[write](catalog)
    else:
        with pytest.raises(StoreError, match="vera has the role viewer, and may not .*: .* the role editor") as error:
            WRITES[write](catalog)
        assert "\n" not in str(error.value)
    assert [c.name for c in catalog.contrasts()] == (["mine", "there"] if may and write == "save" else ["there"])


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
    with pytest.raises(StoreError, match="catalogue .* is not set up yet|may read it and not"):
        of("noah").contrasts()
