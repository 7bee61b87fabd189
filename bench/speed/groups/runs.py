"""A store of 300 runs against one of 4: the first command, the same again, and the memory of each run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.speed import turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ROOT, Shape, made

FEW, MANY, TURNS = 4, 300, 3
FIRST, AGAIN, MB = 3.0, 1.2, 1.0
MISSED = {
    "first": "each file of a store is looked at before its first use: its tables, functions and numbers of rows",
    "again": "each run is opened anew, and its facts read, by a process that keeps nothing",
    "memory": "a run that is open holds its tables' statistics",
}


class Command(NamedTuple):
    """`qkstore runs` on a store: seconds of CPU, and MB at most."""

    seconds: float
    mb: float


def store(folder: Path, n: int, one: Path) -> Path:
    """A store of n runs, each a file of its own: a link would be one file to whoever has looked at it."""
    (folder / "runs").mkdir(parents=True)
    for number in range(n):
        shutil.copy(one, folder / "runs" / f"run-{number}.duckdb")
    return folder


def asked(where: Path, n: int) -> Command:
    words = [sys.executable, "-m", "qkstore", "runs", "--store", str(where)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lines = process.stdout.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"`qkstore runs` ended with {status}"
    assert sum("run-" in line for line in lines) == n, f"not all of {n} runs are listed"
    return Command(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def measure(scale: Scale) -> Iterator[Row]:
    one, first, again = made(scale.folder, Shape(200, d_head=16)).file, [], []
    for turn in range(TURNS):
        stores = {n: store(scale.folder / f"{turn}-{n}", n, one) for n in (MANY, FEW)}
        for commands in (first, again):
            commands.append([asked(where, n) for n, where in stores.items()])
        for where in stores.values():
            shutil.rmtree(where)
    for name, commands, aim in (("first", first, FIRST), ("again", again, AGAIN)):
        both = turns.Paired(*zip(*((many.seconds, few.seconds) for many, few in commands)))
        (ours, least), (low, high) = both.medians, both.interval
        yield Row(
            f"runs-{name}",
            f"`qkstore runs` in a store of {MANY} runs, {'for the first time' if name == 'first' else 'again'}",
            f"a store of {FEW}",
            f"{ours:.2f} s CPU, {least:.2f} s",
            both.ratio,
            low,
            high,
            aim=f"≤ {aim}×",
            met=both.ratio <= aim,
            peak_mb=max(many.mb for many, _ in commands),
            missed=MISSED[name],
        )
    each = min((many.mb - few.mb) / (MANY - FEW) for many, few in again)
    yield Row(
        "runs-memory",
        f"memory of a run, from {FEW} to {MANY} of them",
        "",
        f"{each:.2f} MB a run",
        aim=f"≤ {MB} MB",
        met=each <= MB,
        missed=MISSED["memory"],
        figures={"mb_a_run": each},
    )


MEASURES = {"runs": measure}
