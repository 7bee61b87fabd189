"""docs/storage.md describes every table and column that there is."""

from __future__ import annotations

import dataclasses
import re

import duckdb
import pytest
from conftest import ROOT

from qkstore.run import Manifest, Run, schema, sides
from qkstore.store.catalog import migrations

DOC = (ROOT / "docs" / "storage.md").read_text()


def section(title: str) -> str:
    text = re.search(rf"^### [^\n]*\b{title}\b[^\n]*\n(.*?)(?=^##|\Z)", DOC, re.S | re.M)
    assert text, f"docs/storage.md has no section on {title}"
    return text.group(1)


def tables() -> dict[str, list[str]]:
    con = duckdb.connect()
    for statement in [*schema.run_tables(4, {}, {}), *sides.side_tables({}, {})]:
        con.execute(statement)
    con.execute(f"CREATE TABLE run ({schema.columns(schema.MANIFEST)})")
    rows = con.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
    out: dict[str, list[str]] = {}
    for table, column in rows:
        out.setdefault(table, []).append(column)
    return out


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, cs in tables().items() for c in cs])
def test_every_column_of_a_run_is_described(table, column):
    assert re.search(rf"\b{column}\b", section(table)), f"{table}.{column}"


def test_a_column_that_is_not_there_would_be_missed():
    assert not re.search(r"\bno_such_column\b", section("token"))


def test_every_column_of_the_catalogue_is_described():
    con = duckdb.connect()
    for statement in migrations.MIGRATIONS:
        con.execute(statement)
    for table, column in con.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
    ).fetchall():
        row = re.search(rf"^\| {table} \| (.*) \|$", DOC, re.M)
        assert row, f"{table}.{column}"
        assert column in [c.strip() for c in row.group(1).split(",")], f"{table}.{column}"


def test_labels_become_typed_columns_of_the_views():
    con = duckdb.connect()
    labels = {"order_id": "BIGINT"}, {"queried_order": "BIGINT"}
    for statement in [*schema.run_tables(4, *labels), *sides.side_tables(*labels)]:
        con.execute(statement)
    for side in "qk":
        kinds = dict(
            con.execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", [side]).fetchall()
        )
        assert kinds["order_id"] == kinds["queried_order"] == "BIGINT"


KINDS = {
    "INTEGER": "int",
    "BIGINT": "int",
    "VARCHAR": "str",
    "VARCHAR[]": "list[str]",
    "TIMESTAMP": "datetime",
}


def test_the_manifest_and_a_run_have_a_typed_attribute_for_every_column():
    types = {f.name: f.type for f in dataclasses.fields(Manifest)}
    assert list(types) == list(schema.MANIFEST)
    assert {n: t.removesuffix(" | None") for n, t in types.items()} == {n: KINDS[k] for n, k in schema.MANIFEST.items()}
    assert Run.__annotations__ == types
