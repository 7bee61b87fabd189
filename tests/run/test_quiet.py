"""What a script or a notebook prints is its own: DuckDB's progress bar, which is on there by itself, stays off."""

from __future__ import annotations

import os
import subprocess
import sys

from conftest import ROOT

# Of every connection DuckDB shows the progress at once, not after its two seconds, where it shows it at all.
SCRIPT = """
import sys
from contextlib import suppress
from pathlib import Path
import duckdb
connect = duckdb.connect

def hasty(*arguments, **options):
    connection = connect(*arguments, **options)
    with suppress(duckdb.Error):  # locked as it begins
        connection.execute("SET progress_bar_time = 0")
        made.append(connection)
    return connection

made, duckdb.connect = [], hasty
import numpy as np
import qkstore
from synthetic import synthetic, write
from qkstore.run.incoming.reshard import reshard
write(Path(sys.argv[1]), "r", synthetic(64))
store = qkstore.open(sys.argv[1])
reshard(store.run("r"), 2, "in-two")
for run in store.runs():
    assert len(run.queries(0, 1)) == run.n_queries
    assert len(run.keys(0, 1, np.arange(run.n_keys))) == run.n_keys
if sys.argv[2:]:
    own = hasty()
    [own.execute("SELECT count(*) FROM range(1000)").fetchall() for _ in range(50)]
print(len(made), file=sys.stderr)
"""


def shown(store, *more: str) -> tuple[int, int]:
    """How often progress was shown, and how many connections could show it."""
    where = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", SCRIPT, store, *more]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | where)
    assert done.returncode == 0, done.stderr
    return done.stdout.count("elapsed"), int(done.stderr.split()[-1])


def test_publishing_resharding_and_reading_show_no_progress_of_duckdb(tmp_path):
    """But for the script's own wish for it, and what asks for it and takes it back."""
    times, connections = shown(tmp_path / "a")
    assert connections > 3
    assert times <= 3 * connections
    times, connections = shown(tmp_path / "b", "queries of its own")
    assert times > 40 + 3 * connections, "the control: there it is shown"
