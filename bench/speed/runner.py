"""Every measurement in a process of its own: one that fails, or takes too long, costs its own rows alone."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.speed.row import Row, failed
from bench.speed.synthetic import ROOT

GROUPS = ("covariance", "heads", "pairs", "authors", "ingest", "peers", "swaps", "storage", "runs", "pages", "growth")
LIMIT_S, FULL_LIMIT_S = 600.0, 4 * 3600.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # threads that wait in a loop would count
QUIET = dict.fromkeys(THREADS, "1") | {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}

Told = Callable[[str], None]  # called with each measurement that ended


def measures(only: Collection[str] = ()) -> dict[str, str]:
    """{measurement: its group} of those that are asked for: by group, by name, or by the name of a row of theirs."""
    every = {
        name: group for group in GROUPS for name in importlib.import_module(f"bench.speed.groups.{group}").MEASURES
    }
    if not only:
        return every
    found = {name: group for name, group in every.items() if any(_means(one, name, group) for one in only)}
    for one in only:
        if not any(_means(one, name, group) for name, group in found.items()):
            raise SystemExit(f"no row {one!r}; groups: {', '.join(GROUPS)}; measurements: {', '.join(every)}")
    return found


def _measures(group: str) -> Collection[str]:
    return importlib.import_module(f"bench.speed.groups.{group}").MEASURES


def _means(asked: str, name: str, group: str) -> bool:
    return asked in (group, name) or asked.startswith(f"{name}-")


def run(wanted: dict[str, str], full: bool, planted: Collection[str] = (), told: Told = print) -> Iterator[Row]:
    """The rows of the measurements, those of a group over one folder, which is gone afterwards."""
    for group in dict.fromkeys(wanted.values()):
        with tempfile.TemporaryDirectory(prefix="qkstore-bench-") as folder:
            for name in (n for n, g in wanted.items() if g == group):
                start = time.monotonic()
                yield from one(group, name, Path(folder), full, name in planted)
                told(f"{name}: {time.monotonic() - start:.0f} s")


def one(group: str, name: str, folder: Path, full: bool, plant: bool) -> list[Row]:
    """The rows of one measurement, and one that says why where it ended badly."""
    out, limit = folder / f"{name}.jsonl", FULL_LIMIT_S if full else LIMIT_S
    options = ["--full"] * full + ["--plant"] * plant
    command = [sys.executable, "-m", "bench.speed.one", group, name, str(folder), str(out), *options]
    with open(folder / f"{name}.log", "w+") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | QUIET, stdout=log, stderr=log, start_new_session=True
        )
        try:
            why = "" if process.wait(limit) == 0 else f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            why = f"it took more than {limit:.0f} s"
        finally:
            _end(process)
        rows = [Row.of(json.loads(line)) for line in out.read_text().splitlines()] if out.exists() else []
        return [*rows, failed(name, f"{why}: {_last(log)}")] if why else rows


def _end(process: subprocess.Popen) -> None:
    """End what a measurement started, and itself where it still runs."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(log: IO[str]) -> str:
    """The last line that a process wrote: of a failed check, what it is."""
    log.seek(0)
    lines = [line for line in log.read().splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"
