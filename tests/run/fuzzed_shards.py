"""Shards as a machine would spoil them, read in a process of its own: `fuzzed_shards.py FOLDER KIND LOOK S SEED`.

A line for each before and after all of its run was read; DuckDB may end the process where LOOK is not 'looked'.
"""

from __future__ import annotations

import random
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
import fuzzed_files
from spoilt import plain

import qkstore
from qkstore.errors import StoreError
from qkstore.sql import worker
from qkstore.store import inventory

KINDS = {
    "bytes": lambda rng, good: fuzzed_files.spoilt_bytes(rng, good),
    "crafted": lambda rng, good: fuzzed_files.crafted(rng, good),
    "ending": lambda rng, good: fuzzed_files.ending(good),
}


def serve(folder: Path, kind: str, looked: bool, seconds: float, seed: int) -> None:
    """Read the run `a` with one spoilt shard after another; the run `good` is what it was."""
    path = folder / "runs" / "a.shards" / "0001.duckdb"
    good, data = everything(qkstore.open(folder).run("good")), path.read_bytes()
    until, found = time.monotonic() + seconds, set()
    for number in count():
        if time.monotonic() > until and (found >= {"whole", "refused"} or (found and kind == "ending")):
            return
        print(number, end=" ", flush=True)
        path.unlink()
        path.write_bytes(KINDS[kind](random.Random(f"{seed} {number}"), data))
        store = qkstore.open(folder)
        if looked:
            store.look = worker.look
        became = read(store, good, kind == "bytes")
        found.add(became)
        print(became, flush=True)


def read(store, good: list, exactly: bool) -> str:
    """What became of reading all of run `a`."""
    run = store.run("a")
    try:
        found = everything(run)
        inventory.sizes(run)
        same = all(np.array_equal(one, other) for one, other in zip(found, good, strict=True))
        assert same or not exactly, "a checksum covers each byte"
        return "whole" if same else "changed" if run.changed() else "laid_out_anew"
    except StoreError as error:
        return "ended" if "ends the program" in plain(error) else "refused"
    finally:
        run.close()


def everything(run) -> list:
    rows = np.arange(run.n_queries)
    return [
        values
        for layer in run.layers
        for head in range(run.n_heads)
        for values in (run.queries(layer, head), run.keys(layer, head), run.logsumexp(layer, head, rows))
    ]


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "looked", float(sys.argv[4]), int(sys.argv[5]))
