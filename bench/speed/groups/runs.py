"""A store of 300 runs against one of 4: the first command, a page that is looked at again, the memory of each run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import dashboard
from bench.speed import turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ROOT, Shape, made

FEW, MANY, TURNS, LOOKS = 4, 300, 3, 8
FIRST, AGAIN, MB = 3.0, 1.2, 1.0
MISSED = {
    "first": "each file of a store is looked at before its first use: its tables, functions and numbers of rows",
    "page": "the page lists every run of the store, to choose from",
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
    one, commands = made(scale.folder, Shape(200, d_head=16)).file, []
    for turn in range(TURNS):
        stores = {n: store(scale.folder / f"{turn}-{n}", n, one) for n in (MANY, FEW)}
        commands.append([asked(where, n) for n, where in stores.items()])
        for where in stores.values():
            shutil.rmtree(where)
    both = turns.Paired(*zip(*((many.seconds, few.seconds) for many, few in commands)))
    (ours, least) = both.medians
    yield Row(
        "runs-first",
        f"`qkstore runs` in a store of {MANY} runs, for the first time",
        f"a store of {FEW}",
        f"{ours:.2f} s CPU, {least:.2f} s",
        *both.beside,
        aim=f"≤ {FIRST:.0f}×",
        met=both.ratio <= FIRST,
        peak_mb=max(many.mb for many, _ in commands),
        missed=MISSED["first"],
    )
    each = min((many.mb - few.mb) / (MANY - FEW) for many, few in commands)
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


def of_page(scale: Scale) -> Iterator[Row]:
    """The Heads page of one run, looked at again and again."""
    few, many = (dashboard.many(scale.folder / f"page-{n}", n, LOOKS) for n in (FEW, MANY))
    yield Row(
        "runs-page",
        f"Heads in a store of {MANY} runs, looked at again",
        f"a store of {FEW}",
        f"{many:.0f} ms of server CPU, {few:.0f} ms",
        many / few,
        aim=f"1× (≤ {AGAIN}×)",
        met=many / few <= AGAIN,
        missed=MISSED["page"],
    )


MEASURES = {"runs": measure, "runs-page": of_page}
