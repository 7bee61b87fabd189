"""No text that a machine makes up escapes, crashes or shows a traceback: a minute here, longer by QKSTORE_FUZZ_S."""

from __future__ import annotations

import os
import random
import time

import duckdb
import pytest
from fuzzed import text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from queries import SCHEMA, columns_of

from qkstore.errors import GuardError
from qkstore.sql import guard, worker

SECONDS = float(os.environ.get("QKSTORE_FUZZ_S", 20))
HIDDEN = 424_242_424_242  # in a table that is not for users
CANARY = "canary-7d1f"  # in a file beside the run


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "other.csv").write_text(f"{CANARY}\n")
    with duckdb.connect(str(folder / "small.duckdb")) as connection:
        connection.execute(SCHEMA.replace("VALUES (42)", f"VALUES ({HIDDEN})").replace("x INTEGER", "x BIGINT"))
    return folder / "small.duckdb"


@pytest.fixture(scope="module")
def columns(path):
    return columns_of(path)


def tried(sql: str, path, columns) -> bool:
    """Try a text as a SELECT and as a condition; whether one of them ran."""
    ran = False
    for read in (
        lambda: guard.select(sql, columns),
        lambda: f"SELECT q.query_row, k.key_row FROM q, k WHERE {guard.predicate(sql, columns)}",
        lambda: guard.select(sql, columns, stable=True),
    ):
        try:
            table = worker.query(path, read(), limit_s=2, max_rows=100, memory="200MB")
        except GuardError as error:
            said = str(error)
        else:
            ran, said = True, str(table.to_pylist())
        assert str(HIDDEN) not in said, sql
        assert CANARY not in said, sql
        assert "root:" not in said, sql
        assert "Traceback" not in said, sql
        assert ran or "\n" not in said, sql
    assert sorted(os.listdir(path.parent)) == ["other.csv", "small.duckdb"], sql
    return ran


def test_no_made_up_text_escapes(path, columns):
    seed = int(os.environ.get("QKSTORE_FUZZ_SEED", 0))
    rng, until, n, ran = random.Random(seed), time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < until:
        n, ran = n + 1, ran + tried(text(rng), path, columns)
    print(f"{n} texts of seed {seed}, {ran} ran")
    assert n > SECONDS
    assert ran, "the control: some are good SQL"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=80))
def test_no_text_at_all_escapes(path, columns, sql):
    tried(sql, path, columns)
