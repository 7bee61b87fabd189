"""A PostgreSQL server for the tests of a shared catalogue, and a catalogue on it with a person of each role."""

from __future__ import annotations

import logging
import time

import pytest
import servers
import stores

import qkstore
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.migrations import MIGRATIONS
from qkstore.store.catalog.postgres import Postgres
from qkstore.store.transfer import transfer

KINDS = ("directory", *(pytest.param(kind, marks=servers.needs_postgres) for kind in ("folder", "bucket")))
PEOPLE = {"vera": "viewer", "ed": "editor", "ada": "admin"}


@pytest.fixture(scope="module")
def pg():
    with pytest.MonkeyPatch.context() as patch, servers.postgres() as made:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def database(pg):
    """A catalogue that is set up, in a database of its own, with a person of each role and one of none."""
    name = f"d{time.monotonic_ns()}"
    pg.sql(f"CREATE DATABASE {name}")
    made = Postgres(pg.url(database=name))
    assert made.migrate() == len(MIGRATIONS)
    for person, role in (PEOPLE | {"noah": ""}).items():
        if not pg.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{person}'"):
            pg.sql(f"CREATE ROLE {person} LOGIN PASSWORD '{servers.PASSWORD}'")
        if role:
            pg.sql(f"GRANT qkstore_{role} TO {person}")
    made.name = name
    yield made
    made.close()


@pytest.fixture
def of(pg, database):
    """person -> the catalogue, as that person reaches it."""
    return lambda person: Catalog(Postgres(pg.url(person, database.name)))


@pytest.fixture(params=["embedded", "postgres"])
def catalog(request, tmp_path):
    """An empty catalogue in a file, and one on PostgreSQL."""
    if request.param == "embedded":
        return Catalog(tmp_path / "catalog.duckdb")
    return Catalog(request.getfixturevalue("database"))


@pytest.fixture(scope="module")
def s3():
    """An S3-compatible server whose keys boto3 finds."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.KEYS.items():
            patch.setenv(name, value)
        made = servers.S3Server()
        yield made
        made.stop()


@pytest.fixture(params=KINDS)
def each_store(request, tmp_path):
    """A store with the runs a and b: a directory; a team's, with its runs in a folder, and in a bucket."""
    here = stores.write(tmp_path / "here", "a", n=64)
    stores.write(here, "b", stores.boxes(n=32))
    if request.param == "directory":
        return qkstore.open(here)
    runs = f'runs = "{here}"'
    if request.param == "bucket":
        s3 = request.getfixturevalue("s3")
        runs = f'runs = "{s3.place}/{tmp_path.name}"\nendpoint = "{s3.endpoint}"\ncache = "{tmp_path / "cache"}"'
    (tmp_path / "team.toml").write_text(f'catalogue = "{request.getfixturevalue("database").url}"\n{runs}\n')
    made = qkstore.open(tmp_path / "team.toml")
    for name in ("a", "b"):
        transfer(qkstore.open(here), name, made)
    return made
