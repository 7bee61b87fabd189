"""The manifest as typed fields: of a file as it is, of a newer one, of an older one, of a broken one."""

from __future__ import annotations

import dataclasses

import duckdb
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.errors import StoreError
from qkstore.run import Manifest


@pytest.fixture
def changed(tmp_path):
    """A run whose manifest a statement has changed."""

    def make(statement: str):
        write(tmp_path, "a", data=synthetic(8))
        with duckdb.connect(str(tmp_path / "runs/a.duckdb")) as con:
            con.execute(statement)
        return qkstore.open(tmp_path).run("a")

    return make


def test_every_column_is_a_field_and_an_attribute_of_the_run(tmp_path):
    data = write(tmp_path, "a", data=synthetic(8))
    run = qkstore.open(tmp_path).run("a")
    assert isinstance(run.manifest, Manifest)
    assert data.manifest == {name: getattr(run, name) for name in data.manifest}
    for field in dataclasses.fields(Manifest):
        assert getattr(run, field.name) == getattr(run.manifest, field.name)
    assert (run.n_prompts, run.n_queries, run.n_keys) == (8, 8, 8 * run.n_keys // run.n_queries)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.manifest.d_head = 3


def test_what_is_no_attribute_is_the_usual_error(tmp_path):
    write(tmp_path, "a", data=synthetic(8))
    with pytest.raises(AttributeError, match="'Run' object has no attribute 'n_head'"):
        qkstore.open(tmp_path).run("a").n_head  # noqa: B018


def test_columns_of_a_newer_qkstore_are_left_alone(changed):
    run = changed("ALTER TABLE run ADD COLUMN mood VARCHAR; UPDATE run SET mood = 'calm'")
    assert not hasattr(run, "mood")
    assert run.table("SELECT mood FROM run")["mood"].to_pylist() == ["calm"]


@pytest.mark.parametrize("name", ["bos", "seed", "libraries"])
def test_a_column_that_an_older_file_lacks_is_empty(changed, name):
    run = changed(f"ALTER TABLE run DROP COLUMN {name}")
    assert getattr(run, name) is None


@pytest.mark.parametrize("statement", ["ALTER TABLE run DROP COLUMN d_head", "UPDATE run SET d_head = NULL"])
def test_a_manifest_without_what_a_run_needs_is_damaged(changed, statement):
    with pytest.raises(StoreError, match="run file a.duckdb is damaged: its manifest has no d_head"):
        changed(statement)


def test_a_manifest_without_a_version_is_not_ours(changed):
    with pytest.raises(StoreError, match="was not made by qkstore: its manifest has no version"):
        changed("ALTER TABLE run DROP COLUMN schema_version")
