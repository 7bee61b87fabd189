"""A file that lies elsewhere, read through a copy with holes: what comes, that it is right, and what fails."""

from __future__ import annotations

import os
import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from qkstore.errors import StoreError
from qkstore.files import whole
from qkstore.run import schema, vectors
from qkstore.sql import trust
from qkstore.sql.distant import BLOCK, HEADER, Distant, Room, empty, hollow, ready

D_HEAD, HEADS, ROWS = 64, 10, 5000  # of each of two layers; a head is 1.3 MB of float32
WHERE = "layer = ? AND head = ? AND row BETWEEN ? AND ?"


class Elsewhere:
    """A file of whose bytes it is counted which ones were asked for."""

    def __init__(self, path):
        self.data, self.asked = path.read_bytes(), []

    def bring(self, start: int, end: int) -> bytes:
        self.asked.append((start, end))
        return self.data[start:end]

    def since(self) -> tuple[int, int]:
        """(requests, bytes) since the last time."""
        asked, self.asked = self.asked, []
        return len(asked), sum(end - start for start, end in asked)


@pytest.fixture(scope="module", params=["float32", "int16"])
def path(request, tmp_path_factory):
    """A file of vectors alone, as a publication writes them: sorted by layer, head and row."""
    path, rng = tmp_path_factory.mktemp("elsewhere") / f"{request.param}.duckdb", np.random.default_rng(0)
    with duckdb.connect(str(path)) as con:
        con.execute(schema.NO_FLOAT_CODECS)
        columns = schema.run_columns(D_HEAD, {}, {}, request.param)["query_vector"]
        con.execute(f"CREATE TABLE query_vector ({schema.columns(columns)})")
        for layer in range(2):
            for head in range(HEADS):
                where = {"layer": np.full(ROWS, layer), "head": np.full(ROWS, head), "row": np.arange(ROWS) * 2}
                found = {name: pa.array(column, pa.int32()) for name, column in where.items()}
                found |= vectors.columns(rng.normal(size=(ROWS, D_HEAD)).astype(np.float32), request.param)
                con.register("chunk", pa.table(found))
                con.execute("INSERT INTO query_vector BY NAME SELECT * FROM chunk")
        con.execute("CHECKPOINT")
    return path


@pytest.fixture
def elsewhere(path):
    return Elsewhere(path)


@pytest.fixture
def file(elsewhere, tmp_path):
    copy = hollow(tmp_path / ".copy.duckdb", len(elsewhere.data), elsewhere.bring)
    made = Distant(copy, elsewhere.bring, "shard 0")
    yield made
    made.close()


def head(file, layer, number, first=0, last=2 * ROWS, together=True):
    """Columns of one head's rows."""
    values = [layer, number, first, last]
    if together:
        ready(file, "query_vector", WHERE, values)
    sql = f"SELECT * EXCLUDE (layer, head) FROM query_vector WHERE {WHERE} ORDER BY row"
    return file.read(lambda cursor: cursor.execute(sql, values).to_arrow_table())


def meant(path, layer, number, first=0, last=2 * ROWS):
    with duckdb.connect(str(path), read_only=True) as con:
        sql = f"SELECT * EXCLUDE (layer, head) FROM query_vector WHERE {WHERE} ORDER BY row"
        return con.execute(sql, [layer, number, first, last]).to_arrow_table()


@pytest.mark.parametrize("together", [True, False])
def test_what_is_read_is_what_lies_elsewhere(file, path, together):
    for layer, number in ((1, 4), (0, 0), (1, 9)):
        assert head(file, layer, number, together=together).equals(meant(path, layer, number))
    some = head(file, 0, 7, 100, 300, together=together)
    assert some.num_rows == 101
    assert some.equals(meant(path, 0, 7, 100, 300))
    assert head(file, 5, 0, together=together).num_rows == 0


def test_a_head_takes_few_requests_and_little_more_than_its_own_bytes(file, elsewhere):
    assert elsewhere.since() == (1, HEADER)
    file.read(lambda cursor: cursor.execute("SELECT 1").fetchall())
    _, attached = elsewhere.since()
    assert attached <= 2 * BLOCK
    found = head(file, 1, 4)
    requests, came = elsewhere.since()
    assert found.nbytes <= came < 2 * found.nbytes + BLOCK
    assert requests <= 4
    assert came < len(elsewhere.data) / 5
    head(file, 1, 4)
    assert elsewhere.since() == (0, 0), "what came is kept"
    file.ready_all()
    assert elsewhere.since()[1] == len(elsewhere.data) - HEADER - attached - came, "nothing comes twice"


def test_together_is_fewer_requests_than_block_by_block(file, elsewhere):
    elsewhere.since()
    head(file, 0, 3, together=False)
    alone, _ = elsewhere.since()
    head(file, 1, 6)
    assert elsewhere.since()[0] < alone


def test_a_question_that_goes_on_is_not_asked_for_each_block(file, elsewhere):
    """The whole table, of which nobody said that it is needed."""
    n_blocks = (len(elsewhere.data) - HEADER) // BLOCK
    file.read(lambda cursor: cursor.execute("SELECT sum(v[1]) FROM query_vector").fetchall())
    requests, came = elsewhere.since()
    assert came > len(elsewhere.data) * 3 / 4
    assert requests < n_blocks / 2


def test_a_copy_is_gone_on_with(file, elsewhere, path):
    head(file, 1, 4)
    file.close()
    elsewhere.since()
    again = Distant(hollow(file.file, len(elsewhere.data), elsewhere.bring), elsewhere.bring, "shard 0")
    assert head(again, 1, 4).equals(meant(path, 1, 4))
    assert elsewhere.since() == (0, 0)


def test_blocks_that_vanish_while_threads_read_come_again(file, path):
    """Another process may need the room: it takes a block between its coming and its reading."""
    right = {(layer, number): meant(path, layer, number) for layer in range(2) for number in range(HEADS)}
    done, wrong = threading.Event(), []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(25):
            layer, number = int(rng.integers(2)), int(rng.integers(HEADS))
            try:
                if not head(file, layer, number, together=bool(rng.integers(2))).equals(right[layer, number]):
                    wrong.append((layer, number))
            except Exception as error:
                wrong.append(error)

    def take():
        while not done.wait(0.01):
            empty(file.file)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    taker = threading.Thread(target=take)
    for thread in (taker, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    done.set()
    taker.join()
    assert wrong == []


def test_a_block_that_is_spoilt_here_comes_anew_and_one_that_is_spoilt_there_is_an_error(
    file, elsewhere, path, tmp_path
):
    head(file, 1, 4)
    blocks = [start for start, end in elsewhere.asked if start > HEADER]
    with open(file.file, "r+b") as spoilt:
        for start in blocks:
            spoilt.seek(start + 1000)
            spoilt.write(b"half of a block")
    file.close()
    again = Distant(file.file, elsewhere.bring, "shard 0")
    assert head(again, 1, 4).equals(meant(path, 1, 4))
    elsewhere.data = elsewhere.data[: HEADER + 1000] + b"spoilt" + elsewhere.data[HEADER + 1006 :]
    elsewhere.since()
    other = Distant(hollow(tmp_path / ".o.duckdb", len(elsewhere.data), elsewhere.bring), elsewhere.bring, "shard 0")
    with pytest.raises(duckdb.Error, match="checksum"):
        other.read(lambda cursor: cursor.execute("SELECT sum(v[1]) FROM query_vector").fetchall())
    assert sum(start == HEADER for start, _ in elsewhere.asked) == 2, "it is tried anew once"


def test_who_cannot_bring_says_so_and_is_asked_again_later(file, elsewhere, path, monkeypatch):
    def away(start, end):
        raise StoreError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(file, "_bring", away)
        for together in (True, False):
            with pytest.raises(StoreError, match="the server is away"):
                head(file, 1, 4, together=together)
    assert head(file, 1, 4).equals(meant(path, 1, 4))
    with pytest.raises(StoreError, match="the server is away"):
        hollow(file.file.with_name(".none.duckdb"), 1 << 20, away)
    assert [left.name for left in file.file.parent.iterdir()] == [".copy.duckdb"], "nothing is left of it"


def test_a_full_disk_is_one_line(file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match=r"shard 0 cannot be kept: No space left on device"):
        head(file, 1, 4)


def test_a_copy_that_another_took_the_place_of_is_not_read(file, elsewhere):
    head(file, 1, 4)
    place = file.place
    with whole(file.file) as part:
        part.write_bytes(elsewhere.data)
    place.leave()  # as others need the room: it is attached anew
    with pytest.raises(StoreError, match=r"shard 0 was replaced or removed since it was opened"):
        head(file, 1, 4)


def test_it_reaches_nothing_else(file, tmp_path):
    (tmp_path.parent / "other.csv").write_text("a\n1\n")
    for reached in (tmp_path.parent / "other.csv", "https://example.org/a.csv", "s3://lab/a.csv"):
        with pytest.raises(duckdb.Error, match="disabled by configuration|requires the extension"):
            file.read(lambda cursor, reached=reached: cursor.execute(f"FROM read_csv('{reached}')").fetchall())


def test_what_it_holds_is_looked_at_as_in_any_file(tmp_path):
    odd = tmp_path / "odd.duckdb"
    with duckdb.connect(str(odd)) as con:
        con.execute("CREATE VIEW query_vector AS SELECT 1")
    there = Elsewhere(odd)
    file = Distant(hollow(tmp_path / ".odd.duckdb", len(there.data), there.bring), there.bring, "run file odd.duckdb")
    found = file.read(lambda _: trust.listings(file.place.instance.cursor()))[file.place.name]
    with pytest.raises(StoreError, match="run file odd.duckdb holds a view, 'query_vector'"):
        trust.tables(found, file.what)


def test_copies_are_bounded_and_the_one_that_was_used_last_stays(elsewhere, tmp_path):
    most = 6 << 20
    room = Room(lambda: tmp_path.glob(".*.duckdb"), most)
    files = []
    for number in range(4):
        copy = hollow(tmp_path / f".{number}.duckdb", len(elsewhere.data), elsewhere.bring)

        def bring(start, end, copy=copy):
            room.take(copy, end - start)
            return elsewhere.bring(start, end)

        files.append(Distant(copy, bring, f"{number}.duckdb"))
        for one in range(3):
            head(files[-1], 0, one)
        time.sleep(0.02)
        taken = [file.file.stat().st_blocks * 512 for file in files]
        assert sum(taken) <= most + taken[-1]
        assert taken[-1] > 1 << 20
    assert taken[0] <= HEADER
    elsewhere.since()
    head(files[-1], 0, 2)
    assert elsewhere.since() == (0, 0)
    head(files[0], 0, 2)
    assert elsewhere.since()[1] > 0


def test_what_is_emptied_keeps_its_size_and_its_headers(file, elsewhere):
    head(file, 1, 4)
    before = file.file.stat()
    empty(file.file)
    after = file.file.stat()
    assert after.st_size == before.st_size == len(elsewhere.data)
    assert after.st_blocks * 512 <= HEADER < before.st_blocks * 512
    assert file.file.read_bytes()[:HEADER] == elsewhere.data[:HEADER]
