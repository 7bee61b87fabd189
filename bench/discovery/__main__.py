"""Components without labels, against the truth and against their peers, where the truth is known.

    python -m bench.discovery [--quick] [--only PART] [--store store] [--real STORE] [--heads build/discovery] [--write]
                              [--json FILE]

Toys: all 212 heads of the paper's grids (d_head 8 with r1, r2 of 2–6, d_head 16 with 4–12, signs and Gaussian latents),
by the fast recipe, trained where --heads lacks them: numbers of components, coordinates recovered, coordinates lost
beyond d_head. Demo: every head of the four runs, which are ingested where --store lacks them: numbers, what labels
explain, swaps. Parts, which go with the demo: components of order and those of entity, swapped apart. Across: all heads
of these runs side by side, and of SmolLM2's runs (bench/models/known.py makes them) in the store of --real, whose
catalogue keeps layers as they are done. Peers: ten methods on eight toy heads, in two bases, and on one head of each
demo run. Claims: the rule that tells components from chance, on the demo model and on models of its architecture that
learned nothing; --heads keeps what was found. --quick: two heads and no demo, and claims of two small runs, a minute.
--only: this part alone. --write: the tables of docs/discovery.md and its picture anew. Exit code 1 when what the page
promises does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small products on many threads mostly wait

import torch

import qkstore
from bench.discovery import across, beside, chance, claims, demo, page, peers, toys
from bench.discovery.heads import ToyHead, grid, heads, stack

QUICK = {8: [(2, 3), (4, 5)]}  # heads, of signs
ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.discovery", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two toy heads, no demo, claims of two runs")
    parser.add_argument("--store", type=Path, default=ROOT / "store", help="of the demo runs")
    parser.add_argument("--only", choices=("toys", "demo", "parts", "across", "claims"), help="this part alone")
    parser.add_argument(
        "--heads", type=Path, default=ROOT / "build" / "discovery", help="where trained heads and claims are kept"
    )
    parser.add_argument("--real", type=Path, help="the store of SmolLM2's runs, for their heads side by side")
    parser.add_argument("--write", action="store_true", help="docs/discovery.md anew")
    parser.add_argument("--json", type=Path)
    o = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begun, told, meter = time.process_time(), Told(), []
    if o.only in (None, "toys"):
        meter = of_toys(told, o)
    if o.only in (None, "demo") and not o.quick:
        of_demo(told, o)
    if o.only in (None, "demo", "parts") and not o.quick:
        of_parts(told, o)
    if o.only in (None, "across") and not o.quick:
        of_across(told, o)
    if o.only in (None, "claims"):
        of_claims(told, o)
    for name, part in told.parts.items():
        print(f"\n{name}\n\n{part}")
    spent = f"{time.process_time() - begun:.0f} CPU s{told.spent}"
    print(f"\n{spent}", *told.failed or ["all as it must be"], sep="\n")
    if o.json:
        rows = {name: [asdict(row) for row in rows] for name, rows in told.rows.items()}
        o.json.write_text(json.dumps(rows, indent=1))
    if o.write and not o.quick:
        page.write(ROOT / "docs", told.parts, meter)
    return int(bool(told.failed))


@dataclass
class Told:
    """What the parts say: tables by their markers, rows by their part, what does not hold, and seconds of note."""

    parts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Sequence] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    spent: str = ""


def of_toys(told: Told, o: argparse.Namespace) -> list[dict]:
    """Toy heads: numbers, controls, coordinates, the meter, and peers. Returns the meter."""
    begun = time.process_time()
    cells = {8: QUICK[8][:1]} if o.quick else peers.CELLS
    there = small(o.heads) if o.quick else heads(o.heads, tell)
    told.spent += f", {time.process_time() - begun:.0f} of them training"
    rows = toys.study(there, tell=tell)
    meter = toys.meter(rows)
    scores = peers.study(peers.chosen(there, cells), tell=tell)
    told.parts |= {
        "numbers": page.markdown(toys.numbers(rows)) + "\n\n" + missed(toys.misses(rows)),
        "controls": page.markdown(toys.controls(there, tell=tell)),
        "coordinates": page.markdown(toys.recovered(rows)),
        "meter": page.markdown(of_meter(meter)),
        "peers": page.markdown(peers.table(scores)),
    }
    told.rows |= {"toys": rows, "peers": scores}
    told.failed += toys.failures(rows)
    return meter


def of_demo(told: Told, o: argparse.Namespace) -> None:
    """The heads of the demo runs, and peers on one head of each."""
    store = demo.made(o.store)
    found = demo.study(store, tell)
    scores = beside.study(store, peers.ALL, beside.matrices(), tell)
    told.parts |= {
        "demo": page.markdown(demo.table(found)) + "\n\n" + refused(demo.refusals(found)),
        "demo peers": page.markdown(beside.table(scores)),
    }
    told.rows |= {"demo": found, "demo peers": scores}
    told.failed += demo.failures(found)


def of_parts(told: Told, o: argparse.Namespace) -> None:
    """The heads of the demo that match on two labels: the components of each label, swapped by themselves."""
    run = demo.made(o.store).run(demo.MIXED)
    found = [part for head in range(run.n_heads) for part in demo.parts(run, demo.LAYER, head)]
    told.parts["demo parts"] = page.markdown(demo.parted(found))
    told.rows["demo parts"] = found
    told.failed += demo.halves(found)


def of_across(told: Told, o: argparse.Namespace) -> None:
    """All heads of the demo runs side by side, and of SmolLM2's where --real has them."""
    stores = {"across": (o.store, across.RUNS, True)} | (
        {"across real": (o.real, across.REAL, False)} if o.real else {}
    )
    for name, (folder, runs, named) in stores.items():
        store = demo.made(folder) if name == "across" else qkstore.open(folder)
        rows = across.study(store, runs, named, tell)
        lines = [f"- {line}" for line in across.refused(rows)]
        told.parts[name] = "\n".join([page.markdown(across.table(rows)), *(["", *lines] if lines else [])])
        told.rows[name] = rows
        told.failed += across.failures(rows)
        took = " and ".join(f"{sum(part):.0f}" for part in zip(*(r.seconds for r in rows), strict=True))
        told.spent += f"; {name}: {took} CPU s to count and to cluster what was not kept"


def of_claims(told: Told, o: argparse.Namespace) -> None:
    """What the rule of claims says of the trained model, and of models that learned nothing."""
    found, seconds = chance.study(o.heads, tell, chance.quick() if o.quick else None)
    lines = [f"- {line}" for line in claims.exceptions(found)]
    told.parts |= {
        "claims": "\n".join([page.markdown(claims.table(found)), *(["", *lines] if lines else [])]),
        "claims by prompts": page.markdown(claims.by_form(found)),
    }
    told.rows |= {"claims": found}
    told.failed += claims.failures(found)
    told.spent += f"; claims took {seconds:.0f} CPU s, in calls before too"


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
