"""What a dashboard takes, from the page of docs that its benches write, and a catalogue, measured here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import qkstore
from bench.scale.constants import Constant
from bench.speed import synthetic
from bench.speed.synthetic import ORDER, Shape
from qkstore.analysis.heads import heads, keep

PAGE = "docs/performance.md"
SOME = 24  # results that are added between two looks at the catalogue's file
SHAPE = Shape(400, layers=2, heads=32, kv_heads=8, d_head=16)
CITED = {  # name: (pattern of one number, unit)
    "a page": (r"\| a page view, \d+ pages \|[^|]*\| (\d+) ms of server CPU at the median", "ms of server CPU"),
    "the slowest page": (r"\| a page view, \d+ pages \|[^|]*\|[^|]*at the median, (\d+) at most", "ms of server CPU"),
    "a server": (r"\| Projections of a layer, again \|.*\| ([\d,]+) \|", "MB resident"),
    "save a contrast, PostgreSQL": (r"\| save a contrast \|[^|]*\| ([\d.]+) \(", "ms"),
    "check": (r"\| `qkstore check` \|[^|]*\| ([\d.]+) \|", "CPU s"),
    "what it checks": (r"\| make the run, ([\d.]+) GB \|", "GB"),
    "read a result, PostgreSQL": (r"\| read a result \|[^|]*\| ([\d.]+) \(", "ms"),
}


def cited(text: str) -> list[Constant]:
    """The figures of PAGE that derivations use; raises ValueError where its tables lack one."""
    out = []
    for name, (pattern, unit) in CITED.items():
        found = re.search(pattern, text)
        if not found:
            raise ValueError(f"{PAGE} has no figure of {name!r}: its table is written by another command")
        value = float(found[1].replace(",", ""))
        out.append(Constant(name, value, value, value, 1, unit, "as the table there says", PAGE))
    return out


def catalogue(folder: Path) -> list[Constant]:
    """Bytes that a kept table of head scores adds to a catalogue's file, a head."""
    place = folder / "catalogue"
    place.mkdir()
    synthetic.write(place, SHAPE)
    store = qkstore.open(place)
    run = store.run("bench")
    scores = heads(run, ORDER, 9)

    def kept(i: int) -> None:
        keep(store, run, ORDER, scores, f"{i:064d}")

    added = [size / len(scores) for size in grown(place, kept)]
    return [
        Constant.median("a head's kept score", added, "bytes", f"{SOME} tables of {len(scores)} heads, added twice")
    ]


def grown(folder: Path, add: Callable[[int], None]) -> list[float]:
    """Bytes that each of SOME additions takes of a file, twice."""
    out, i = [], 0
    size = lambda: sum(f.stat().st_size for f in folder.glob("catalog.duckdb*"))  # noqa: E731
    for _ in range(3):
        before = size()
        for _ in range(SOME):
            add(i)
            i += 1
        out.append((size() - before) / SOME)
    return out[1:]
