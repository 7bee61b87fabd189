"""A run larger than memory may be: made once, then every page and every long command on it, under a limit of memory.

    python -m bench.speed.large FOLDER [--prompts 7200] [--layers 32] [--limit 4] [--keep] [--write]

The run has the heads of Llama-3.1-8B (32 of 128 dimensions over 8 KV heads a layer), nine keys a prompt and a planted
feature; 7,200 prompts are 12 GB of vectors. A dashboard that may reserve --limit GB (RLIMIT_DATA) shows each page
twice, and each command runs under the same limit. Prints, for each: seconds until it was finished, seconds of CPU, the
most resident memory of the process and its children. Exit code 1 where anything shows an error, or where the planted
heads do not come first.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.page import write
from bench.processes import cpu_s
from bench.speed import turns
from bench.speed.synthetic import ORDER, OTHER, PLANTED, Made, Shape, made
from bench.team.session import Session, command, served

ASKED = ORDER.replace(name="asked")  # `order` is a built-in's name
AT = {"run": "bench", "contrast": "asked@1", "layer": 5, "head": PLANTED}
PAGES = {  # {what: (page, choices of the address)}
    "Heads, whose scores the command kept": ("heads", {}),
    "Heads beside a second contrast, scored for it": ("heads", {"with": "next@1"}),
    "Head": ("head", {}),
    "Head: strongest pairs": ("head", {"rank": "logit"}),
    "Subspaces": ("subspaces", {}),
    "Projections": ("projections", {}),
    "Projections of a layer": ("projections", {"plot": "heads"}),
    "Interventions": ("interventions", {"and": "next@1"}),
    "Attributions": ("attributions", {"and": "next@1", "prompt": 7}),
    "Contrasts": ("contrasts", {}),
    "Runs": ("runs", {}),
    "Overview": ("", {}),
}
HEAD = ("--run", "bench", "--contrast", "asked", "--layer", 5, "--head", PLANTED)
COMMANDS = (
    ("heads", "--run", "bench", "--contrast", "asked"),
    ("covariance", *HEAD, "--out", "delta.npz"),
    ("rank", *HEAD),
    ("growth", *HEAD),
    ("intervene", *HEAD, "--and", "next"),
    ("dose", *HEAD),
    ("attribute", *HEAD, "--prompt", 7),
    ("strongest", *HEAD),
    ("sql", "--run", "bench", "SELECT layer, max(logsumexp) FROM row_stat GROUP BY layer ORDER BY layer"),
    ("check",),
)


@dataclass(frozen=True)
class Took:
    """What one page or command took: seconds, seconds of CPU, MB at most; errors that it showed."""

    what: str
    wall: float
    cpu: float
    peak: float | None
    errors: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        peak = "–" if self.peak is None else f"{self.peak:,.0f}"
        return f"| {self.what} | {self.wall:,.1f} | {self.cpu:,.1f} | {peak} |"


def pages(store: Path, limits: list[str]) -> Iterator[Took]:
    """Each page, and once more, when what takes long is known."""
    with served(store, limits) as (port, pid), Session(port) as session:
        for what, (page, choices) in PAGES.items():
            for again in ("", ", again"):
                turns.forget(pid)
                before, begun = cpu_s(pid), time.perf_counter()
                answer = session.ask(page, **AT | choices)
                wall = time.perf_counter() - begun
                yield Took(what + again, wall, cpu_s(pid) - before, turns.peak(pid), tuple(answer.errors))


def commands(store: Path, limits: list[str]) -> Iterator[Took]:
    """Each command in a process of its own."""
    for words in COMMANDS:
        begun = time.perf_counter()
        line = [*limits, *command(words[0], "--store", store.resolve(), *words[1:])]
        with tempfile.TemporaryFile("w+") as said:
            work = subprocess.Popen(line, cwd=store, stdout=subprocess.DEVNULL, stderr=said)
            peak, cpu = 0.0, 0.0
            while work.poll() is None:
                peak, cpu = max(peak, turns.peak(work.pid)), max(cpu, _cpu(work.pid))
                time.sleep(0.05)
            said.seek(0)
            errors = (said.read().strip().splitlines()[-1],) if work.returncode else ()
        yield Took(f"`qkstore {words[0]}`", time.perf_counter() - begun, cpu, peak, errors)


def _cpu(pid: int) -> float:
    try:
        return cpu_s(pid)
    except OSError:  # it has just ended
        return 0.0


def planted_first(there: Made) -> bool:
    """Whether the planted head of each layer has a larger ‖ΔC‖, beside its null, than all others."""
    import qkstore
    from qkstore.analysis import heads

    store = qkstore.open(there.folder)
    run = store.run("bench")
    best = sorted(heads.kept(store, run, ASKED), key=lambda s: -(s.strength or 0))[: there.shape.layers]
    return {s.head for s in best} == {PLANTED} and len({s.layer for s in best}) == there.shape.layers


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the run is made; twice its size must be free")
    parser.add_argument("--prompts", type=int, default=7200)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--limit", type=float, default=4.0, help="GB that a process may reserve (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the run where it is")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    o = parser.parse_args(arguments)
    shape = Shape(prompts=o.prompts, layers=o.layers, heads=32, kv_heads=8, test=0.3, raw=0)
    begun, before = time.perf_counter(), cpu_s()
    there = made(o.folder, shape)
    size = there.file.stat().st_size
    limits = ["prlimit", f"--data={int(o.limit * 1e9)}"]
    took = [Took(f"make the run, {size / 1e9:.1f} GB", time.perf_counter() - begun, cpu_s() - before, None)]
    import qkstore

    catalog = qkstore.open(there.folder).catalog
    for contrast in (ASKED, OTHER):
        catalog.save(contrast)
    for each in chain(commands(there.folder, limits), pages(there.folder, limits)):
        print(each.row, *each.errors, flush=True)
        took.append(each)
    first = planted_first(there)
    lines = ["| what | seconds | of CPU | MB at most |", "|---|---|---|---|", *(each.row for each in took)]
    if o.write:
        write(ROOT / "docs" / "performance.md", "large", lines)
    if not o.keep:
        shutil.rmtree(there.folder)
    print("the planted heads come first" if first else "the planted heads do NOT come first")
    return int(not first or any(each.errors for each in took))


if __name__ == "__main__":
    sys.exit(main())
