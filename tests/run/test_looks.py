"""What a look reads of a run file: every label; of vectors what the file says of their columns, not themselves."""

from __future__ import annotations

import duckdb
import fuzzed_files
import numpy as np
import pytest
import synthetic

import qkstore
from qkstore.sql import worker


@pytest.fixture
def run(tmp_path):
    synthetic.write(tmp_path, "a", data=synthetic.synthetic(600))
    path = tmp_path / "runs" / "a.duckdb"
    path.chmod(0o644)
    return path


def spoil(path, text: bytes) -> None:
    """Change what a block holds, which its checksum then tells."""
    data = bytearray(path.read_bytes())
    data[data.index(text)] ^= 1
    path.write_bytes(data)


def test_a_file_that_is_whole_has_nothing_wrong(run):
    assert worker.look([run]) == {run: ""}


def test_a_file_that_ends_duckdb_is_told_and_the_others_are_read(run, tmp_path):
    ends = tmp_path / "runs" / "b.duckdb"
    ends.write_bytes(fuzzed_files.ending(run.read_bytes()))
    assert worker.look([run, ends]) == {run: "", ends: "ends the program that reads it"}
    store = qkstore.open(tmp_path)
    store.look = worker.look
    runs, errors = store.scan()
    assert [one.name for one in runs] == ["a"]
    assert [str(error) for error in errors] == ["run file b.duckdb ends the program that reads it; it is not opened"]


def test_labels_are_read_value_by_value(run):
    with duckdb.connect(str(run), read_only=True) as con:
        sql = "SELECT block_id, block_offset FROM pragma_storage_info('prompt') WHERE column_name = 'text'"
        [(block, offset)] = con.execute(f"{sql} AND segment_type = 'VARCHAR'").fetchall()
    at = fuzzed_files.HEADERS * fuzzed_files.HEADER + block * fuzzed_files.BLOCK + offset + 64
    spoil(run, run.read_bytes()[at : at + 16])
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{run}' AS looked (READ_ONLY)")
        con.execute("SELECT count(text) FROM looked.prompt").fetchall()  # the control: a count reads none
    assert "checksum" in worker.look([run])[run]


def test_vectors_are_not_read(run):
    with duckdb.connect(str(run), read_only=True) as con:
        [(value,)] = con.execute("SELECT v FROM query_vector WHERE layer = 1 AND head = 2 AND row = 500").fetchall()
    spoil(run, np.array(value, np.float32).tobytes())
    assert worker.look([run]) == {run: ""}
