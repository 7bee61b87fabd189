"""The paper's claims on a real model: beside the paper, the demo model, and the same architecture with random weights.

    python bench/models/real.py [--store store] [--write]

Ingests what the store lacks of three runs of boxes (the demo model's, SmolLM2-135M-Instruct's, and its control of
random weights: minutes each), makes the report of each, and sets its statements side by side, row by row. Exit code 1
where a head of the control is selected. --write puts the tables into docs/real.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import qkstore
from bench.page import write
from ingest import demo, real
from ingest.cli.model import prepare
from qkstore.analysis.claim import Claim
from qkstore.cli.terminal import Progress
from qkstore.report.report import report
from qkstore.report.study import Study
from qkstore.run.task import task
from qkstore.text import estimate, head_name, percent

DEMO = "demo-boxes-ent"
RUNS = {DEMO: "demo model", real.RUN: "SmolLM2-135M-Instruct", real.CONTROL: "its control, random weights"}


def statements(store: qkstore.Store, run: str) -> dict[str, Claim]:
    """{what: the report's claim} of one run; of claims about several heads the first, which is of the best head."""
    found: dict[str, Claim] = {}
    for claim in (c for chapter in report(store, [run]).chapters for s in chapter.sections for c in s.claims):
        found.setdefault(claim.claim, claim)
    return found


def claims(store: qkstore.Store) -> list[str]:
    """A row a statement: the paper beside every run."""
    each = {run: statements(store, run) for run in RUNS}
    lines = [f"| statement | paper | {' | '.join(RUNS.values())} |", "|---|---|" + "---|" * len(RUNS)]
    for what in dict.fromkeys(name for found in each.values() for name in found):
        told = [found.get(what) for found in each.values()]
        paper = next(c.paper for c in told if c)
        cells = [f"{c.measured}; n: {c.n}" if c else "–" for c in told]
        lines.append(f"| {what} | {paper} | {' | '.join(cells)} |")
    return lines


def heads(store: qkstore.Store) -> list[str]:
    """A row a run: its task, how many heads are selected, and the best of them on test prompts."""
    lines = ["| model | its task | heads selected | the best: picks the right box (test) |", "|---|---|---|---|"]
    for run, name in RUNS.items():
        study, done = Study(store, store.run(run)), task(store.run(run))
        best, there = study.best, done and f"{done.short}, n = {done.n:,}{'' if done.done else ': not above chance'}"
        said = f"{head_name(best.layer, best.head)} {estimate(best.accuracy, best.accuracy_ci)}, n = {best.n_queries:,}"
        chance = f"chance {percent(best.chance)}"
        lines.append(f"| {name} | {there} | {len(study.selected)} of {len(study.scores)} | {said} ({chance}) |")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="store")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/real.md")
    o = parser.parse_args(arguments)
    prepare()
    with Progress() as progress:
        demo.build(o.store, progress)
        for control in (False, True):
            real.build(o.store, progress, control)
    store = qkstore.open(o.store)
    tables = {"real heads": heads(store), "real claims": claims(store)}
    for name, lines in tables.items():
        print(*lines, "", sep="\n")
        if o.write:
            write(ROOT / "docs" / "real.md", name, lines)
    return int(bool(Study(store, store.run(real.CONTROL)).selected))


if __name__ == "__main__":
    sys.exit(main())
