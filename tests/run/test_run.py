"""Runs: what was put in comes out, in order; a file that is damaged, unfinished or newer is refused in one line."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from synthetic import BOXES, D, synthetic, write

import qkstore
from qkstore.errors import RunError, StoreError
from qkstore.run import Layer, Run, schema


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return store, write(store), Run(store / "runs" / "synthetic.duckdb")


def test_vectors_come_out_as_they_went_in(made):
    _, data, run = made
    for layer in range(2):
        for head in range(4):
            assert np.array_equal(run.queries(layer, head), data.q[layer, head])
            assert np.array_equal(run.keys(layer, head), data.k[layer, head // 2])
            assert np.array_equal(run.logsumexp(layer, head, np.arange(64)), data.logsumexp[layer, head])


@pytest.mark.parametrize("rows", [[0], [63], [5, 6, 7], [9, 3, 3, 60]])
def test_rows_come_in_the_order_asked_for(made, rows):
    _, data, run = made
    assert np.array_equal(run.queries(1, 2, np.array(rows)), data.q[1, 2, rows])
    assert not np.array_equal(run.queries(1, 2, np.array(rows)), data.q[1, 1, rows])


def test_query_heads_of_a_group_share_keys(made):
    _, _, run = made
    assert [run.kv_head(h) for h in range(4)] == [0, 0, 1, 1]
    assert np.array_equal(run.keys(0, 0), run.keys(0, 1))
    assert not np.array_equal(run.keys(0, 1), run.keys(0, 2))


def test_file_is_sorted_by_layer_head_row(made):
    _, _, run = made
    for table, head in (("query_vector", "head"), ("key_vector", "kv_head")):
        rows = run.table(f"SELECT layer, {head}, row FROM {table}").to_pylist()
        keys = [tuple(r.values()) for r in rows]
        assert keys == sorted(keys)


def test_views_carry_the_labels_of_token_and_prompt(made):
    _, _, run = made
    assert {"query_row", "role", "queried_order", "counterfactual_id"} <= set(run.columns["q"])
    assert {"key_row", "entity", "order_id", "box", "queried_order"} <= set(run.columns["k"])
    assert run.values("order_id") == [1, 2, 3, 4]
    assert run.values("no_such_label") == []
    labels = run.labels("k", ["order_id", "entity"], np.array([5, 0])).to_pylist()
    assert labels[0]["order_id"] == 5 % BOXES + 1
    assert labels[1]["order_id"] == 1


def test_places_agree_with_the_tables(made):
    _, _, run = made
    prompt, pos = run.key_places
    assert np.array_equal(prompt, np.arange(64).repeat(BOXES))
    assert run.tokens(0)[pos[0]]["role"] == "box"
    assert run.tokens(0)[run.query_places[1][0]]["role"] == "answer_slot"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda r: r.queries(7, 0), "has no layer 7; there are: 0, 1"),
        (lambda r: r.queries(0, 4), "has no head 4; its heads are 0 to 3"),
        (lambda r: r.keys(0, -1), "has no head -1"),
        (lambda r: r.tokens(64), "has no prompt 64; its prompts are 0 to 63"),
        (lambda r: r.labels("k", ["entty"], np.array([0])), "did you mean 'entity'"),
    ],
)
def test_what_is_not_there_is_named(made, call, says):
    with pytest.raises(RunError) as error:
        call(made[2])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "sees"),
    [
        (Layer(0, 1.0, None, None, True), [True, True, True, False]),
        (Layer(0, 1.0, None, 2, True), [False, True, True, False]),
        (Layer(0, 1.0, None, None, False), [True, True, True, True]),
        (Layer(0, 1.0, None, 2, False), [False, True, True, True]),
    ],
)
def test_visible_follows_mask_and_window(layer, sees):
    assert layer.visible(np.array(2), np.arange(4)).tolist() == sees


def test_attended_needs_one_prompt(made):
    _, _, run = made
    layer = run.layer(0)
    assert run.attended(layer, np.array([0, 0]), np.array([0, BOXES])).tolist() == [True, False]


def test_truncated_file_is_one_line_and_hides_no_other_run(tmp_path):
    write(tmp_path)
    whole = tmp_path / "runs" / "synthetic.duckdb"
    data = whole.read_bytes()
    for size in (0, 100, 5000, len(data) // 2):
        (tmp_path / "runs" / "broken.duckdb").write_bytes(data[:size])
        store = qkstore.open(tmp_path)
        runs, errors = store.scan()
        assert [r.name for r in runs] == ["synthetic"]
        assert len(errors) == 1
        assert "broken.duckdb is damaged or unfinished" in str(errors[0])
        assert "\n" not in str(errors[0])
        with pytest.raises(StoreError):
            store.run("broken")


def test_newer_file_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "runs" / "synthetic.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(f"UPDATE run SET schema_version = {schema.NEWEST_VERSION + 1}")
    with pytest.raises(StoreError, match=r"version 5, this qkstore reads up to 4: upgrade"):
        qkstore.open(tmp_path).run("synthetic")


def test_run_without_manifest_is_unfinished(tmp_path):
    write(tmp_path)
    with duckdb.connect(str(tmp_path / "runs" / "synthetic.duckdb")) as con:
        con.execute("DELETE FROM run")
    with pytest.raises(StoreError, match="unfinished"):
        qkstore.open(tmp_path).run("synthetic")


def test_run_replaced_on_disk_is_read_anew(tmp_path):
    write(tmp_path)
    store = qkstore.open(tmp_path)
    assert store.run("synthetic").n_prompts == 64
    (tmp_path / "runs" / "synthetic.duckdb").unlink()
    write(tmp_path, data=synthetic(n=16))
    assert store.run("synthetic").n_prompts == 16


def test_unknown_run_names_near_ones(tmp_path):
    write(tmp_path)
    with pytest.raises(RunError, match="did you mean 'synthetic'"):
        qkstore.open(tmp_path).run("syntetic")
    with pytest.raises(RunError, match="no run '../x'"):
        qkstore.open(tmp_path).run("../x")


def test_no_store_says_how_to_make_one(tmp_path):
    with pytest.raises(StoreError, match="python -m ingest demo"):
        qkstore.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        qkstore.open(tmp_path / "file")
    assert qkstore.open(tmp_path / "new", create=True).runs() == []


def test_run_file_reads_in_a_bare_shell(made):
    """docs/storage.md: a run needs nothing but DuckDB."""
    store, data, _ = made
    with duckdb.connect(str(store / "runs" / "synthetic.duckdb"), read_only=True) as con:
        (v,) = con.execute("SELECT v FROM query_vector WHERE layer = 1 AND head = 2 AND row = 3").fetchone()
        assert len(v) == D
        assert np.allclose(v, data.q[1, 2, 3])
        (n,) = con.execute(
            "SELECT count(*) FROM q JOIN k USING (prompt_id) WHERE k.order_id = q.queried_order"
        ).fetchone()
        assert n == 64


@pytest.mark.parametrize(
    "poses_as", ["CREATE VIEW k AS SELECT 1 AS key_row", "CREATE VIEW extra AS SELECT 1", "CREATE MACRO min(x) AS 0"]
)
def test_a_file_with_sql_of_its_own_is_not_opened(tmp_path, poses_as):
    write(tmp_path)
    with duckdb.connect(str(tmp_path / "runs" / "synthetic.duckdb")) as con:
        if " k " in poses_as:
            con.execute("DROP TABLE k")
        con.execute(poses_as)
    with pytest.raises(StoreError, match="holds a (view|macro), '"):
        qkstore.open(tmp_path).run("synthetic")
