"""The superposition meter on SmolLM2: overlaps of components over keys, and the kurtosis of their scores.

    python bench/models/overlaps.py [--store store] [--write]

Of the runs that bench/models/components.py ingests, the heads of its control's layers, with trained and with random
weights, and the heads that it swaps inside the running model. --write: the table of docs/discovery.md anew. Exit code 1
where no head has two components.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small products on many threads mostly wait

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np

import qkstore
from bench.discovery.demo import overlap
from bench.discovery.toys import kurtosis
from bench.models import components as study
from bench.page import write
from qkstore.analysis import Head
from qkstore.analysis.decomposition import HeadComponents
from qkstore.analysis.decomposition.found import of_head, sights
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.text import head_name, number

HEAD = ["weights", "heads", "components", "overlap over keys", "excess kurtosis, queries", "choices"]
At = tuple[int, int]


@dataclass(frozen=True)
class Meter:
    """What can be seen of superposition in one head of `number` components, two or more.

    overlap: see bench.discovery.demo. query, choice: mean excess kurtosis of the judged scores of each side.
    """

    at: At
    number: int
    overlap: float
    query: float
    choice: float

    @classmethod
    def of(cls, found: HeadComponents) -> Meter:
        x, y = found.found.query_scores(found.test.q), found.found.key_scores(found.test.d)
        return cls((found.head.layer, found.head.head), len(found), overlap(found), kurtosis(x), kurtosis(y))


def meters(run: Run, heads: Iterable[At]) -> list[Meter]:
    """Those of the heads that have two components or more."""
    out, (built, judged) = [], sights(run)
    for layer, head in heads:
        try:
            found = of_head(Head(run, layer, head), built, judged)
        except ContrastError:  # nothing to choose
            continue
        out += [Meter.of(found)] if len(found) > 1 else []
    return out


def row(weights: str, told: str, each: Sequence[Meter]) -> list[str]:
    """A row of the table: of one head its figures, of several the median, the least and the most."""
    columns = ([m.number for m in each], *([getattr(m, name) for m in each] for name in ("overlap", "query", "choice")))
    return [weights, told, *(_spread(column, whole) for column, whole in zip(columns, (True, False, False, False)))]


def _spread(values: Sequence[float], whole: bool) -> str:
    def say(value: float) -> str:
        return f"{value:.0f}" if whole else number(value, 2)

    middle = say(float(np.median(values)))
    return middle if len(values) == 1 else f"{middle} [{say(min(values))}, {say(max(values))}]"


def rows(trained: Run, control: Run) -> list[list[str]]:
    """The heads of study.LIVE one by one, then those of the control's layers, of both weights."""
    layers = [(layer, head) for layer in study.LAYERS for head in range(trained.n_heads)]
    out = [row("trained", head_name(*m.at), [m]) for m in meters(trained, study.LIVE)]
    for name, run in (("trained", trained), ("random", control)):
        each = meters(run, layers)
        told = f"{len(each)} of {len(layers)} of layers {' and '.join(map(str, study.LAYERS))}"
        out += [row(name, told, each)] if each else []
    return out


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", default="store")
    parser.add_argument("--write", action="store_true", help="put the table into docs/discovery.md")
    o = parser.parse_args(arguments)
    begun = time.process_time()
    for control in (False, True):
        study.build(o.store, control=control)
    store = qkstore.open(o.store)
    found = rows(store.run(study.RUN), store.run(study.CONTROL))
    lines = study.table(HEAD, found)
    print(*lines, f"{time.process_time() - begun:.0f} CPU s", sep="\n")
    if o.write:
        write(ROOT / "docs" / "discovery.md", "real overlaps", lines)
    return int(not found)


if __name__ == "__main__":
    sys.exit(main())
