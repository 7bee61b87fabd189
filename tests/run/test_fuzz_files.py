"""Run files spoilt at random: what is read is what was published, or there is an error of one line."""

from __future__ import annotations

import numpy as np
import pytest
import spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

VALUES = ("NULL", "-1", "0", "1", "2147483647", "'nan'", "'inf'", "'x'", "''", "'2262-05-01'", "'[1]'", "'{}'", "true")
TYPES = ("VARCHAR", "DOUBLE", "BIGINT", "BLOB", "INTEGER[]", "BOOLEAN", "TIMESTAMP", "FLOAT[8]", "HUGEINT", "UUID")
CHANGES = (
    "UPDATE {table} SET {column} = {value}",
    "UPDATE {table} SET {column} = {value} WHERE rowid % 3 = 1",
    "UPDATE {table} SET {column} = (SELECT {column} FROM {table} LIMIT 1)",
    "DELETE FROM {table} WHERE rowid % 5 = 2",
    "INSERT INTO {table} SELECT * FROM {table} LIMIT 3",
    "ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind} USING TRY_CAST({column} AS {kind})",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO other",
    "ALTER TABLE {table} ADD COLUMN more {kind} DEFAULT {value}",
    "DROP TABLE {table}",
)
QUIET = dict(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return spoilt.place(tmp_path_factory.mktemp("fuzz"))


@st.composite
def change(draw, columns: dict[str, list[str]]) -> str:
    """One statement that changes a file of these tables; DuckDB itself may refuse it."""
    table = draw(st.sampled_from(sorted(columns)))
    column = draw(st.sampled_from(columns[table]))
    sql, value, kind = (draw(st.sampled_from(choices)) for choices in (CHANGES, VALUES, TYPES))
    return sql.format(table=table, column=f'"{column}"', value=value, kind=kind)


@settings(max_examples=40, **QUIET)
@given(data=st.data())
def test_random_sql_is_an_error_or_a_reading(place, data):
    place.spoil("SELECT 1", data.draw(st.lists(change(place.store.run("good").columns), min_size=1, max_size=3)))
    if not place.scanned():
        place.read()


@settings(max_examples=40, **QUIET)
@given(seed=st.integers(0, 2**32), many=st.integers(1, 30), cut=st.none() | st.floats(0, 1, allow_nan=False))
def test_random_bytes_are_an_error_or_what_was_published(place, seed, many, cut):
    rng, good = np.random.default_rng(seed), place.store.run("good")
    data = bytearray(good.path.read_bytes())
    for at in rng.integers(0, len(data), many):
        data[at] ^= int(rng.integers(1, 256))
    place.bad.unlink(missing_ok=True)
    place.bad.write_bytes(data if cut is None else data[: int(cut * len(data))])
    if not place.scanned() and not place.read():
        bad = place.store.run("bad")
        assert all(np.array_equal(good.queries(i, j), bad.queries(i, j)) for i in range(2) for j in range(4))
        assert all(np.array_equal(good.keys(i, j), bad.keys(i, j)) for i in range(2) for j in range(4))


@pytest.mark.parametrize("sql", [c for c in CHANGES if "DEFAULT" in c or "DROP" in c or "{kind}" in c])
def test_control_such_a_change_is_found(place, sql):
    place.spoil(sql.format(table="q", column='"role"', value="'x'", kind="BLOB"))
    assert place.scanned()
