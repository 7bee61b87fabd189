"""Components of a real model's heads: SmolLM2-135M-Instruct on boxes that end in a statement.

    python bench/models/components.py [--store store] [--live 64] [--each 16] [--write]

Without labels against the paper's order + lexical, swapped between the same keys; the ten heads with the most
components of all 270; those that no label explains, with the prompts at their ends; the same architecture with random
weights; and swaps inside the running model. Ingests what the store lacks of the two runs (tens of minutes each), keeps
in the store what it computes, and goes on where it stopped. --live: prompts of the swaps inside the model in three
heads, --each: in each of the others that the tables name; 0 for none. --write: the tables of docs/discovery.md anew.
Exit code 1 where the components of L18 H6 move the target less than order + lexical do, where the running model differs
from the closed form, or where a component of random weights is clear and a label tells what it matches.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small products on many threads mostly wait

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import qkstore
from bench.models import beside, named, running
from bench.page import write
from ingest import job, real
from ingest.cli.model import prepare
from ingest.prompts import Prompt
from qkstore.analysis.decomposition import kept_counts, statement
from qkstore.analysis.heads import binding_heads, kept
from qkstore.cli.terminal import Progress
from qkstore.contrast.builtin import RIGHT_BOX
from qkstore.run import Run
from qkstore.store import Store

RUN, CONTROL = "smollm2-components", "smollm2-components-random"
N, N_TEST = 1500, 500  # base prompts of train words and of held-out words: what components are found and judged on
PAIRED = 600  # train prompts of the paper's other variants, which its contrasts are made of
LAYERS = (15, 18)  # of the control: each of its layers is as random as another
BEST = (18, 6)  # the head that docs/real.md is about
LIVE = (BEST, (18, 7), (21, 1))  # the one of docs/real.md, the other way round, the clearest order
PARTS = (
    "real swaps", "real own swaps", "real counts", "real selected", "real unnamed", "real weights", "real live",
    "real live heads",
)  # fmt: skip
At = tuple[int, int]


# -- the runs ----------------------------------------------------------------------------------------------------------


def prompts() -> list[Prompt]:
    """Base prompts of both splits, and of the others as many as the paper's contrasts need."""
    made, left = [], {"counterfactual": PAIRED, "fixed": PAIRED}
    for prompt in real.prompts(N, N_TEST).prompts:
        if prompt.variant == "base":
            made.append(prompt)
        elif prompt.split == "train" and left[prompt.variant]:
            left[prompt.variant] -= 1
            made.append(prompt)
    return made


def build(store: str, progress: job.Progress | None = None, control: bool = False) -> Path:
    """Ingest the run where the store lacks it: every layer, at the slot of docs/real.md.

    control: the same architecture with random weights, on the base prompts, LAYERS alone.
    """
    run = CONTROL if control else RUN
    path = job.run_path(store, run)
    if path.exists():
        return path
    task, made = real.prompts(1, 1), [p for p in prompts() if p.variant == "base" or not control]
    told = {"task": task.name, "template": task.template, "seed": real.SEED, "progress": progress}
    options = job.Options(layers=LAYERS if control else None, slots=(real.SLOT,), answers=not control)
    return job.ingest(store, run, real.load(control), made, options, **told)


# -- the tables --------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def selected(store: Store, run: Run) -> list[At]:
    """The heads whose attention picks the right box, by the rule of docs/real.md."""
    return [(s.layer, s.head) for s in binding_heads(kept(store, run, RIGHT_BOX, nulls=0))]


def union(store: Store, run: Run) -> list[At]:
    """The ten heads with the most components, then the other selected ones: whose components are named and swapped."""
    ten = named.most(kept_counts(store, run))
    return [*ten, *(at for at in selected(store, run) if at not in ten)]


def tables(store: Store, tell: Callable[[str], None]) -> tuple[dict[str, list[str]], list[str]]:
    """{name: lines} of all but the swaps inside the model, and what does not hold."""
    run, control, wrong = store.run(RUN), store.run(CONTROL), []
    chosen, counts = selected(store, run), kept_counts(store, run)
    rows, parts = beside.rows(store, run, chosen), {}
    for keys, name in ((beside.PAPER, "real swaps"), (beside.OWN, "real own swaps")):
        each = [row for row in rows if row.keys == keys]
        parts[name] = [*table(beside.HEAD, [row.told for row in each]), "", beside.sentence(each)]
    wrong += [f"{row.told[0]}: order + lexical move the target further" for row in rows if _behind(row)]
    ten = named.most(counts)
    found = named.studies(store, run, union(store, run), tell)
    parts["real counts"] = [*table(named.HEAD, [named.row(found[at]) for at in ten]), "", statement(counts)]
    parts["real selected"] = table(named.HEAD, [named.row(found[at]) for at in chosen if at not in ten])
    parts["real unnamed"] = table(named.ENDS, named.ends(run, found, tell))
    weights = {
        name: named.Weights.of(store, each, LAYERS, tell) for name, each in (("trained", run), ("random", control))
    }
    parts["real weights"] = table(named.CONTROL, [[name, *each.told] for name, each in weights.items()])
    wrong += [f"random weights: {weights['random'].matched} clear with a match"] * bool(weights["random"].matched)
    return parts, wrong


def _behind(row: beside.Row) -> bool:
    return (row.layer, row.head) == BEST and beside.ahead(row) == "order + lexical"


def inside(store: Store, n: int, each: int, progress: job.Progress) -> tuple[dict[str, list[str]], list[str]]:
    """The same of the swaps inside the running model: of n prompts in LIVE, of `each` in the other heads."""
    run = store.run(RUN)
    asked = dict.fromkeys(union(store, run), each) | dict.fromkeys(LIVE, n)
    made = running.results(store, run, {at: many for at, many in asked.items() if many}, progress)
    found, three, parts = list(made.values()), [made[at] for at in LIVE if n], {}
    if three:
        lines = table(running.HEAD, [row for result in three for row in running.rows(result)])
        parts["real live"] = [*lines, "", running.sentence(three)]
    if each:
        lines = table(running.HEADS, [running.head_row(result) for result in found])
        parts["real live heads"] = [*lines, "", running.heads_sentence(found)]
    wrong = [f"{', '.join(r.heads)}: live and closed form differ by {r.gap:.0e}" for r in found if r.gap > running.SAME]
    return parts, wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="store")
    parser.add_argument("--live", type=int, default=running.N, help="prompts swapped inside the model in three heads")
    parser.add_argument("--each", type=int, default=running.EACH, help="prompts swapped there in each of the others")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/discovery.md")
    o = parser.parse_args(arguments)
    prepare()
    begun = time.process_time()
    with Progress() as progress:
        for control in (False, True):
            build(o.store, progress, control)
        store = qkstore.open(o.store)
        parts, wrong = tables(store, lambda line: print(line, flush=True))
        more, differ = inside(store, o.live, o.each, progress)
        parts, wrong = parts | more, wrong + differ
    for name, lines in parts.items():
        print(f"\n{name}", *lines, sep="\n")
        if o.write:
            write(ROOT / "docs" / "discovery.md", name, lines)
    print(*wrong or ["all as it must be"], f"{time.process_time() - begun:.0f} CPU s", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
