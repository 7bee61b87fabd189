"""A publication that is killed between any two of its statements goes on where it was, and ends in the same run.

Each statement is reached by a process that ends itself there with SIGKILL, so nothing depends on time. The spool is
emptied while the run file grows, so that a file that was begun anew would lack vectors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from synthetic import synthetic

import qkstore
from qkstore.errors import StoreError
from qkstore.run.incoming import Incoming
from qkstore.store.archive import check

# argv: store, step between the statements, and what to plant. Children are forked before DuckDB or polars have threads.
SCENE = """
import json, os, signal, sys
from pathlib import Path
from synthetic import synthetic
from qkstore.run.incoming import incoming as module, publication
from qkstore.run.incoming import Incoming

publication.GROUP = 100
steps = 0


class Counted:
    def __init__(self, con, last):
        self.con, self.last = con, last

    def __getattr__(self, name):
        return getattr(self.con, name)

    def execute(self, *given):
        step(self.last)
        return self.con.execute(*given)


def step(last):
    global steps
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)
    steps += 1


def publish(store, last):
    data = synthetic(16)
    opened, link, rename = publication.Publication._open, os.link, module.sync
    publication.Publication._open = lambda self, config: Counted(opened(self, config), last)
    publication.Spool.remove = stepped(publication.Spool.remove, last)
    os.link, module.sync = stepped(link, last), stepped(rename, last)
    with Incoming(store, "r", data.plan) as ingest:
        for batch in data.batches():
            if batch[0] not in ingest.done():
                ingest.put(*batch)
        ingest.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)


def stepped(work, last):
    def both(*given, **options):
        step(last)
        return work(*given, **options)
    return both


def child(store, last):
    pid = os.fork()
    if pid == 0:
        publish(store, last)
        print(steps, flush=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


store = Path(sys.argv[1])
if sys.argv[2] == "all":
    sys.exit(child(store, None))
ends = []
for last in range(0, int(sys.argv[2]), int(sys.argv[3])):
    place = store / str(last)
    place.joinpath("runs").mkdir(parents=True)
    ends.append(child(place, last))
    if sys.argv[4:] and last > 60:
        (place / "runs/.incoming/r/run.duckdb").unlink(missing_ok=True)
    if not (place / "runs/r.duckdb").exists():
        ends.append(child(place, None))
sys.exit(0 if set(ends) == {0, -9} else 1)
"""


def scene(*words: object) -> subprocess.CompletedProcess:
    where = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    words = (sys.executable, "-c", SCENE, *map(str, words))
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | where)


def content(store) -> dict:
    run = qkstore.open(store).run("r")
    return json.loads(run.cursor().execute("SELECT content FROM run").fetchone()[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(the store of a publication that nobody killed, how many steps it took)."""
    store = tmp_path_factory.mktemp("whole")
    qkstore.open(store, create=True)
    done = scene(store, "all")
    assert done.returncode == 0, done.stderr
    return store, int(done.stdout.split()[-1])  # on a busy machine DuckDB shows its progress before


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_ends_in_the_same_run(whole, tmp_path):
    store, steps = whole
    assert steps > 100
    done = scene(tmp_path, steps, 7)
    assert done.returncode == 0, done.stderr
    places = sorted(tmp_path.iterdir())
    assert len(places) == -(-steps // 7)
    for place in places:
        assert content(place) == content(store), f"killed at step {place.name}"
    for place in places[::5]:
        assert check(qkstore.open(place))[1] == []


def test_control_without_the_file_that_was_begun_it_cannot_go_on(whole, tmp_path):
    done = scene(tmp_path, whole[1] - 20, 40, "unlink")
    assert done.returncode == 1
    assert "is gone or was cut off, so the run cannot be made of it; delete" in done.stderr


def test_a_damaged_file_whose_spool_is_gone_is_refused_in_one_line(tmp_path):
    data = synthetic(8)
    with Incoming(qkstore.open(tmp_path, create=True).path, "r", data.plan) as ingest:
        for batch in data.batches():
            ingest.put(*batch)
        (ingest.folder / "q-000-000").unlink()
        (ingest.folder / "run.duckdb").write_bytes(b"no database" * 1000)
        with pytest.raises(StoreError, match="run.duckdb cannot be gone on with .*if it is damaged, delete") as error:
            ingest.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
    assert "\n" not in str(error.value)
    assert qkstore.open(tmp_path).runs() == []
