"""The familiar head types on text of a real model, as `qkstore discover` finds them, beside the textbook's scores.

The scores are those of bench/models/known.py, which computes them apart: the mean attention of a head's queries on the
keys that the type attends to, from a softmax of all stored keys. A head of the textbook is one with a score of at least
a limit; that of the discovery is one that is found at a rate of false discoveries of 5 %.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

import qkstore
from bench.discovery.page import markdown
from bench.models import known
from qkstore.analysis import discovery
from qkstore.analysis.discovery.found import MUCH
from qkstore.text import head_name

ROOT = Path(__file__).resolve().parents[2]
LIMITS = (0.1, 0.3)  # of the textbook's score
TOOK = "{}-discovered.json"  # of a store: what a search of the run took
TRUE = 0.05  # below it a head gives the type's keys next to nothing
CONTROLS = {known.CONTROL: (known.REPEATS, 0), "smollm2-random-docs": (known.DOCS, 1)}  # what they read, and a seed
TITLES = {
    known.DOCS: "plain English",
    known.REPEATS: "words said twice",
    known.CONTROL: "words said twice, random weights",
    "smollm2-random-docs": "plain English, random weights",
}
HEAD = (
    "text",
    "type",
    "found, of heads",
    "move 5 % or more",
    "by swap",
    "by the textbook",
    "of five the same",
    "rank correlation",
    *(f"of the textbook's at {limit:g} found" for limit in LIMITS),
    f"of those that move 5 % at {TRUE:g} or more",
)


@dataclass(frozen=True)
class Type:
    """One head type on one run: (layer, head) by the textbook's score, and by what a swap moves where it is found."""

    run: str
    name: str
    scores: dict[tuple[int, int], float]
    swaps: dict[tuple[int, int], float]

    def best(self, by: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
        return sorted(by, key=lambda head: (-by[head], head))[: known.TOP]

    @property
    def common(self) -> int:
        """How many of the five best are the same."""
        return len(set(self.best(self.scores)) & set(self.best(self.swaps)))

    @property
    def correlation(self) -> float:
        """Spearman's, over the heads that are found."""
        rows = [(self.scores[head], swap) for head, swap in self.swaps.items()]
        there = pl.DataFrame(rows, schema=["score", "swap"], orient="row")
        return float(there.select(pl.corr("score", "swap", method="spearman")).item())

    def recalled(self, limit: float) -> tuple[int, int]:
        """How many of the textbook's heads are found, and how many there are."""
        there = {head for head, score in self.scores.items() if score >= limit}
        return len(there & set(self.swaps)), len(there)

    @property
    def strong(self) -> list[tuple[int, int]]:
        return [head for head, swap in self.swaps.items() if swap >= MUCH]

    @property
    def true(self) -> int:
        """Of the strong ones, how many give the type's keys attention."""
        return sum(self.scores[head] >= TRUE for head in self.strong)

    @property
    def told(self) -> list[str]:
        cells = [TITLES.get(self.run, self.run), self.name, f"{len(self.swaps)} of {len(self.scores)}"]
        cells += [str(len(self.strong))]
        cells += [_named(self.best(by), by) or "none" for by in (self.swaps, self.scores)]
        cells += [f"{self.common} of {known.TOP}", f"{self.correlation:.2f}" if len(self.swaps) > 2 else "–"]
        cells += ["{} of {}".format(*self.recalled(limit)) for limit in LIMITS]
        return [*cells, f"{self.true} of {len(self.strong)}"]


def _named(heads: list[tuple[int, int]], by: dict[tuple[int, int], float]) -> str:
    return ", ".join(f"{head_name(*head)} {by[head]:.2f}" for head in heads)


@dataclass(frozen=True)
class Searched:
    """A run as the command searched it: what it found, and CPU seconds and MiB, where these were taken."""

    run: str
    found: dict
    seconds: float | None
    peak: float | None

    @property
    def told(self) -> list[str]:
        d, rows = self.found, self.found["found"]
        beyond = [row for row in rows if not row["type"]]
        strong = [row for row in beyond if row["swap"] >= MUCH]
        rests = [share for *_, share in d["resting"]]
        took = "kept" if self.seconds is None else f"{self.seconds:.0f} CPU s, {self.peak:,.0f} MiB"
        return [
            TITLES.get(self.run, self.run),
            f"{len(d['matches'])} × {d['n_heads']}",
            f"{d['n_delta']:,}",
            f"{len(rows):,}",
            f"{len(rows) - len(beyond):,}",
            f"{len(beyond):,}",
            f"{len(strong)}",
            f"{sum(share >= 0.5 for share in rests)} of {len(rests)}",
            took,
        ]


SEARCHED = (
    "text",
    "label pairs × heads",
    "ΔC beyond its null",
    "found",
    "of a known type",
    "beyond known types",
    "these move 5 % or more",
    "heads that give the first token half of their attention",
    "took",
)


def searched(store: Path, run: str) -> Searched:
    """What `qkstore discover` says of a run: the command itself, in a process of its own.

    The store's catalogue keeps what it says, and TOOK what it took; nothing is told of that where it was kept before.
    """
    there = qkstore.open(store)
    key, spent = discovery.key(there.run(run)), store / TOOK.format(run)
    was = there.catalog.made(key) is not None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "qkstore", "discover", "--store", str(store), "--run", run, "--json"]
    told = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if not was:
        spent.write_text(json.dumps({"key": key, "seconds": used, "peak": after.ru_maxrss / 1024}))
    kept = json.loads(spent.read_text()) if spent.exists() else {}
    same = kept.get("key") == key
    return Searched(run, told, kept["seconds"] if same else None, kept["peak"] if same else None)


def types(store: Path, one: Searched) -> list[Type]:
    """A row for each head type, the textbook's scores computed here."""
    scores = known.textbook(qkstore.open(store).run(one.run))
    out = []
    for name in known.NAMES:
        swaps = {(row["layer"], row["head"]): row["swap"] for row in one.found["found"] if row["type"] == name}
        out.append(Type(one.run, name, {head: each[name] for head, each in scores.items()}, swaps))
    return out


def study(store: Path, tell: Callable[[str], None]) -> tuple[str, list[str]]:
    """Both tables, and what does not hold."""
    known.build(str(store))
    known.build(str(store), CONTROLS)
    ran, rows, failed = [list(SEARCHED)], [list(HEAD)], []
    for run in TITLES:
        one = searched(store, run)
        tell(f"{run}: {len(one.found['found'])} found")
        ran.append(one.told)
        if run in CONTROLS:
            failed += [f"{run}: {len(one.found['found'])} found in random weights"] if one.found["found"] else []
            continue
        for t in types(store, one):
            rows.append(t.told)
            there, of = t.recalled(LIMITS[-1])
            if there < of or not of:
                failed.append(f"{run}: {there} of the textbook's {of} {t.name} heads are found")
    return f"{markdown(ran)}\n\n{markdown(rows)}", failed
