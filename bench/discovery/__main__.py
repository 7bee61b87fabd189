"""Components without labels, against the truth and against their peers, where the truth is known.

    python -m bench.discovery [--quick] [--store store] [--heads build/discovery] [--write] [--json FILE]

Toys: all 212 heads of the paper's grids (d_head 8 with r1, r2 of 2–6, d_head 16 with 4–12, signs and Gaussian latents),
by the fast recipe, trained where --heads lacks them: numbers of components, coordinates recovered, coordinates lost
beyond d_head. Demo: every head of the four runs, which are ingested where --store lacks them: numbers, what labels
explain, swaps. Peers: ten methods on eight toy heads, in two bases, and on one head of each demo run. --quick: two
heads and no demo, a minute. --write: the tables of docs/discovery.md and its picture anew. Exit code 1 when what
the page promises does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small products on many threads mostly wait

import torch

from bench.discovery import beside, demo, page, peers, toys
from bench.discovery.heads import ToyHead, grid, heads, stack

QUICK = {8: [(2, 3), (4, 5)]}  # heads, of signs
ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two toy heads, no demo")
    parser.add_argument("--store", type=Path, default=ROOT / "store", help="of the demo runs")
    parser.add_argument("--heads", type=Path, default=ROOT / "build" / "discovery", help="where trained heads are kept")
    parser.add_argument("--write", action="store_true", help="docs/discovery.md anew")
    parser.add_argument("--json", type=Path)
    o = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begun, parts = time.process_time(), {}
    cells = {8: QUICK[8][:1]} if o.quick else peers.CELLS
    there = small(o.heads) if o.quick else heads(o.heads, tell)
    trained = time.process_time() - begun
    rows = toys.study(there, tell=tell)
    parts["numbers"] = page.markdown(toys.numbers(rows)) + "\n\n" + missed(toys.misses(rows))
    parts["controls"] = page.markdown(toys.controls(there, tell=tell))
    parts["coordinates"] = page.markdown(toys.recovered(rows))
    meter = toys.meter(rows)
    parts["meter"] = page.markdown(of_meter(meter))
    scores = peers.study(peers.chosen(there, cells), tell=tell)
    parts["peers"] = page.markdown(peers.table(scores))
    failed, told = toys.failures(rows), {"toys": rows, "peers": scores}
    if not o.quick:
        store = demo.made(o.store)
        of_demo = demo.study(store, tell)
        of_peers = beside.study(store, peers.ALL, beside.matrices(), tell)
        parts["demo"] = page.markdown(demo.table(of_demo)) + "\n\n" + refused(demo.refusals(of_demo))
        parts["demo peers"] = page.markdown(beside.table(of_peers))
        failed += demo.failures(of_demo)
        told |= {"demo": of_demo, "demo peers": of_peers}
    spent = f"{time.process_time() - begun:.0f} CPU s, {trained:.0f} of them training"
    for name, part in parts.items():
        print(f"\n{name}\n\n{part}")
    print(f"\n{spent}", *failed or ["all as it must be"], sep="\n")
    if o.json:
        o.json.write_text(json.dumps({name: [asdict(row) for row in rows] for name, rows in told.items()}, indent=1))
    if o.write and not o.quick:
        page.write(ROOT / "docs", parts, meter)
    return int(bool(failed))


def small(folder: Path) -> list[ToyHead]:
    """The heads of --quick."""
    tasks = [task for d, cells in QUICK.items() for task in grid(d, "discrete") if (task.r1, task.r2) in cells]
    return stack(folder, "quick", tasks, tell)


def of_meter(meter: list[dict]) -> list[list[str]]:
    """The superposition meter as a table, from where there is just room."""
    out = [["d_head", "r1 + r2 − d_head", "heads", "below 0.98", "below 0.8", "not told", "not read", "kurtosis"]]
    for m in meter:
        if m["beyond"] >= 0:
            counts = [f"{m[name]:.1f}" for name in ("blurred", "lost", "untold", "dropped")]
            out.append([str(m["d_head"]), str(m["beyond"]), str(m["heads"]), *counts, f"{m['kurtosis']:.2f}"])
    return out


def missed(lines: list[str]) -> str:
    return "Misses: " + ("; ".join(lines) if lines else "none") + "."


def refused(lines: dict[str, int]) -> str:
    return "\n".join(f"- {count} of the heads without: {line}" for line, count in lines.items())


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
