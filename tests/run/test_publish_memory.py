"""A run larger than the memory that it is published in, and than what its disk has to spare.

Both are counted, of a process of its own, and compared with the run's size: nothing depends on time.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

SCENE = """
import os, sys
from pathlib import Path
import numpy as np
import qkstore
from synthetic import BOXES, synthetic
from qkstore.run.incoming import Incoming
from qkstore.run.incoming.spool import Spool
{planted}


def used(folder):
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())


def memory(what):
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what))


n, heads, kv_heads, layers, d = 2000, 24, 8, 5, 128
data = synthetic(n, n_layers=layers)
manifest = data.manifest | dict(n_heads=heads, n_kv_heads=kv_heads, d_head=d)
rng, store = np.random.default_rng(0), Path(sys.argv[1])
qkstore.open(store, create=True)
with Incoming(store, "r", data.plan) as ingest:
    for number, rows in enumerate(np.array_split(rng.permutation(n), 20)):
        keys = (rows[:, None] * BOXES + np.arange(BOXES)).ravel()
        sides = (heads, rows), (kv_heads, keys)
        q, k = (rng.standard_normal((layers, h, len(r), d), dtype=np.float32) for h, r in sides)
        ingest.put(number, rows, keys, q, k, np.zeros((layers, heads, len(rows))))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of what follows
    before, disk = memory("VmRSS"), []
    told = lambda done, total: disk.append(used(store))
    path = ingest.publish(
        manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows, told, memory=64_000_000
    )
print(memory("VmHWM") - before, path.stat().st_size, max(disk))
"""
WHOLE = """
read, held = Spool.read, []


def kept(self, part, layer, head, first, out):
    read(self, part, layer, head, first, out)
    held.append(out.copy())


Spool.read = kept
Spool.remove = lambda self, piece: None
"""
SPARE, PART = 0.3, 0.8  # of the run: disk beside it, and memory, which is the same for a run of any size


def published(store, planted: str = "") -> tuple[int, int, int]:
    """(memory at most, the run file's size, disk at most) in bytes."""
    where = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", SCENE.format(planted=planted), store]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | where)
    assert done.returncode == 0, done.stderr
    memory, size, disk = map(int, done.stdout.split()[-3:])  # on a busy machine DuckDB shows its progress before
    return memory, size, disk


@pytest.mark.slow
def test_a_run_is_published_in_less_memory_than_it_is_large_and_little_more_disk(tmp_path):
    memory, size, disk = published(tmp_path)
    assert size > 250e6
    assert memory < PART * size
    assert disk < (1 + SPARE) * size


@pytest.mark.slow
def test_control_what_keeps_vectors_in_memory_and_on_the_disk_would_be_seen(tmp_path):
    memory, size, disk = published(tmp_path, WHOLE)
    assert memory > PART * size
    assert disk > (1 + SPARE) * size
