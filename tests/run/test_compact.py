"""Vectors of 16-bit numbers: near what was put in by the bound that is told, in files that say what they are."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import pytest
import spoilt
import synthetic
from conftest import ROOT

import qkstore
from qkstore.errors import RunError
from qkstore.run import schema, vectors
from qkstore.sql import guard, worker
from qkstore.store import archive

TINY = float(np.finfo(np.float32).tiny)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(store, what was put in, the run of it)."""
    path = tmp_path_factory.mktemp("store")
    data = synthetic.write(path, "small", store_dtype="int16")
    return path, data, qkstore.open(path).run("small")


# -- rounding ----------------------------------------------------------------------------------------------------------


def drawn(d: int = 64) -> np.ndarray:
    """Vectors of all sizes: each value of its own magnitude, each vector of its own."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(2000, d)) * 10.0 ** rng.uniform(-3, 1, (2000, d)) * 10.0 ** rng.uniform(-30, 14, (2000, 1))
    return v.astype(np.float32)


@pytest.mark.parametrize("d", [1, 3, 64, 257])
def test_a_value_is_off_by_half_a_scale_at_most(d):
    v = drawn(d)
    scale, w = vectors.rounded(v)
    assert (scale.dtype, w.dtype, w.shape) == (np.float32, np.int16, v.shape)
    off = np.abs(scale[:, None].astype(float) * w - v)
    assert (off <= scale[:, None] / 2 + 2.0**-23 * np.abs(v)).all()
    largest = np.abs(v).max(axis=1)
    assert np.allclose(scale[largest > 1e-33], largest[largest > 1e-33] / 32767, rtol=1e-6)
    assert np.abs(w).max() == 32767


def test_control_rounding_down_would_exceed_the_bound():
    v = drawn()
    scale, _ = vectors.rounded(v)
    off = np.abs(np.floor(v / scale[:, None]) * scale[:, None].astype(float) - v)
    assert not (off <= scale[:, None] / 2 + 2.0**-23 * np.abs(v)).all()


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-40, TINY, 1e-36, 1e15, 3e38])
def test_a_vector_of_any_size_keeps_its_bound(value):
    v = np.array([[value, -value / 2, 0.0]], np.float32)
    scale, w = vectors.rounded(v)
    assert np.isfinite(scale).all()
    assert scale[0] >= TINY
    assert (np.abs(scale[:, None].astype(float) * w - v) <= scale[:, None] / 2 * 1.001).all()


def test_zeros_stay_zeros_and_no_vectors_are_no_vectors():
    assert not vectors.rounded(np.zeros((2, 8), np.float32))[1].any()
    assert [part.shape for part in vectors.rounded(np.zeros((0, 8), np.float32))] == [(0,), (0, 8)]


def test_what_was_rounded_once_stays_as_it_is():
    scale, w = vectors.rounded(drawn())
    assert np.array_equal(vectors.rounded(w * scale[:, None])[1], w)


# -- a run file --------------------------------------------------------------------------------------------------------


def test_vectors_come_out_within_half_a_scale_of_how_they_went_in(made):
    _, data, run = made
    for layer in range(2):
        for head in range(4):
            for read, put in (
                (run.queries(layer, head), data.q[layer, head]),
                (run.keys(layer, head), data.k[layer, head // 2]),
            ):
                scale = np.abs(put).max(axis=1, keepdims=True) / 32767
                assert read.dtype == np.float32
                assert 0 < np.abs(read - put).max()
                assert (np.abs(read - put) <= 0.51 * scale).all()
            assert np.array_equal(run.logsumexp(layer, head, np.arange(64)), data.logsumexp[layer, head])


@pytest.mark.parametrize("rows", [[0], [63], [9, 3, 3, 60]])
def test_rows_come_in_the_order_asked_for(made, rows):
    _, data, run = made
    assert np.allclose(run.queries(1, 2, np.array(rows)), data.q[1, 2, rows], atol=1e-3)
    assert not np.allclose(run.queries(1, 2, np.array(rows)), data.q[1, 1, rows], atol=1e-3)


def test_the_file_says_what_its_vectors_are_and_so_does_one_of_floats(made, tmp_path):
    assert made[2].store_dtype == "int16"
    synthetic.write(tmp_path, "plain", data=synthetic.synthetic(8))
    plain = qkstore.open(tmp_path).run("plain")
    assert plain.store_dtype == "float32"
    assert "scale" not in plain.columns["key_vector"]


def test_a_run_made_before_there_was_a_choice_has_floats(tmp_path):
    synthetic.write(tmp_path, "old", data=synthetic.synthetic(8))
    with duckdb.connect(str(tmp_path / "runs/old.duckdb")) as con:
        con.execute("ALTER TABLE run DROP store_dtype")
    assert qkstore.open(tmp_path).run("old").store_dtype == "float32"


def test_a_store_dtype_that_there_is_not_is_named():
    with pytest.raises(RunError, match="no store dtype 'int8'; did you mean 'int16'"):
        schema.check_store_dtype("int8")


# -- SQL ---------------------------------------------------------------------------------------------------------------

[SHOWN] = re.findall(r"`(array_inner_product[^`]*)`", (ROOT / "docs/storage.md").read_text())
LOGITS = f"""
select q.query_row, k.key_row, {SHOWN.replace("128", "8")} as logit
from q
join k on k.prompt_id = q.prompt_id and k.role = 'box'
join query_vector qv on qv.row = q.query_row and qv.layer = 1 and qv.head = 2
join key_vector kv on kv.row = k.key_row and kv.layer = 1 and kv.kv_head = 1
join layer l on l.layer = 1
order by 1, 2
"""


def logits(data: synthetic.Synthetic, query: np.ndarray, key: np.ndarray) -> np.ndarray:
    return synthetic.SCALING * np.einsum("nd,nd->n", data.q[1, 2, query], data.k[1, 1, key])


def test_a_bare_shell_computes_logits(made):
    """With the expression that docs/storage.md shows."""
    path, data, _ = made
    with duckdb.connect(str(path / "runs/small.duckdb"), read_only=True) as con:
        rows = np.array(con.execute(LOGITS).fetchall())
    assert len(rows) == 64 * synthetic.BOXES
    assert np.allclose(rows[:, 2], logits(data, *rows[:, :2].astype(int).T), atol=2e-3)
    without = LOGITS.replace("* qv.scale * kv.scale ", "")
    with duckdb.connect(str(path / "runs/small.duckdb"), read_only=True) as con:
        assert not np.allclose(np.array(con.execute(without).fetchall())[:, 2], rows[:, 2], atol=1)


def test_typed_sql_may_say_the_same(made):
    _, data, run = made
    assert run.columns["key_vector"] == ["layer", "kv_head", "row", "scale", "v"]
    found = worker.query(run.path, guard.select(LOGITS, run.columns))
    query, key = (found[name].to_numpy() for name in ("query_row", "key_row"))
    assert np.allclose(found["logit"].to_numpy(), logits(data, query, key), atol=2e-3)


# -- what changed, or was made so --------------------------------------------------------------------------------------

CHANGES = {
    "a scale": "UPDATE key_vector SET scale = scale * 1.001 WHERE row = 3 AND layer = 1",
    "a value": "UPDATE query_vector SET v = list_transform(v, x -> -x)::SMALLINT[8] WHERE row = 3 AND layer = 1",
    "scales change places": "UPDATE query_vector AS v SET scale = (SELECT scale FROM query_vector AS o WHERE "
    "o.layer = v.layer AND o.head = v.head AND o.row = 1 - v.row) WHERE row < 2 AND layer = 1",
}
WRONG = "has a scale that is NULL, NaN, not above 0 or beyond 1e.15; run `check`"
READ = {
    "a scale NULL": ("UPDATE query_vector SET scale = NULL WHERE row = 7", WRONG),
    "a scale NaN": ("UPDATE key_vector SET scale = 'nan' WHERE row = 7", WRONG),
    "a scale Inf": ("UPDATE key_vector SET scale = 'inf' WHERE row = 7", WRONG),
    "a scale below 0": ("UPDATE query_vector SET scale = -scale WHERE row = 0", WRONG),
    "a scale 0": ("UPDATE query_vector SET scale = 0", WRONG),
    "a scale of 1e30": ("UPDATE query_vector SET scale = 1e30 WHERE row = 0", WRONG),
    "values beyond": ("UPDATE query_vector SET scale = 1e14 WHERE row = 0", "a value beyond 1e.15"),
    "a vector NULL": ("UPDATE query_vector SET v = NULL WHERE row = 7", "has a vector with NULL"),
    "a value NULL": ("UPDATE key_vector SET v = [1, 2, 3, 4, NULL, 6, 7, 8] WHERE row = 7", "has a vector with NULL"),
    "one vector twice": ("UPDATE key_vector SET row = 3 WHERE row = 4", "has 32 vectors of 31 rows"),
}
REFUSED = {
    "int16 that says float32": ("UPDATE run SET store_dtype = 'float32'", "v of its table query_vector is SMALLINT"),
    "a store dtype of nothing": ("UPDATE run SET store_dtype = 'int8'", "store_dtype 'int8'; possible is float32 or"),
    "a store dtype of lines": ("UPDATE run SET store_dtype = chr(10)", "store_dtype '.n'; possible is"),
    "no scales": ("ALTER TABLE key_vector DROP scale", "column scale of its table key_vector is not there, not FLOAT"),
    "scales of doubles": ("ALTER TABLE key_vector ALTER scale TYPE DOUBLE", "scale .* is DOUBLE, not FLOAT"),
    "vectors of integers": ("ALTER TABLE key_vector ALTER v TYPE INTEGER[8]", r"is INTEGER.8., not SMALLINT.8."),
    "vectors of floats": ("ALTER TABLE key_vector ALTER v TYPE FLOAT[8]", r"is FLOAT.8., not SMALLINT.8."),
    "queries that it cannot hold": ("UPDATE run SET n_queries = 2000000000", "cannot hold .* 2,000,000,000 vectors"),
}


@pytest.fixture
def place(tmp_path):
    synthetic.write(tmp_path / "store", "good", data=synthetic.synthetic(8, store_dtype="int16"))
    return spoilt.there(tmp_path)


def test_a_run_that_nobody_touched_is_read(place):
    place.spoil("SELECT 1")
    assert place.scanned() == ""
    assert place.read() == []
    assert archive.check(place.store)[1] == []


def test_a_backup_of_it_is_restored_and_well(place):
    archive.backup(place.store, place.canary.with_name("all.tar"))
    back = qkstore.open(archive.restore(place.canary.with_name("back"), place.canary.with_name("all.tar")))
    assert archive.check(back)[1] == []
    assert np.array_equal(back.run("good").keys(1, 2), place.store.run("good").keys(1, 2))


@pytest.mark.parametrize("name", CHANGES)
def test_check_finds_a_change(place, name):
    place.spoil(CHANGES[name])
    [line] = archive.check(place.store)[1]
    assert line == "run 'bad' was changed after it was published: layer 1"


@pytest.mark.parametrize("name", READ)
def test_what_no_vector_can_be_is_an_error_when_it_is_read(place, name):
    sql, says = READ[name]
    place.spoil(sql)
    assert any(re.search(says, line) for line in place.read())


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_other_columns_is_not_opened(place, name):
    sql, says = REFUSED[name]
    place.spoil(sql)
    assert re.search(says, place.scanned())


def test_a_check_without_digests_finds_a_scale_of_no_number(place):
    place.spoil("UPDATE key_vector SET scale = 'nan' WHERE row = 7; UPDATE run SET content = NULL")
    assert any("vectors with NaN or Inf" in line for line in archive.check(place.store)[1])
