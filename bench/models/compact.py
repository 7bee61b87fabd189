"""What 16-bit storage changes: the same prompts ingested twice, as float32 and as int16, and every result beside.

    python bench/models/compact.py [--model demo|smollm2] [--n 300] [--n-test 200] [--every 1] [--store DIR] [--write]

Beside int16 stand two roundings of the float32 run in memory: to bf16, as vectors are often kept, which is what one
would otherwise do; and to 8 bits with a scale a vector, a control that has to miss the bounds. Columns are the largest
difference over heads (every --every-th one), contrasts and pairs. Exit code 1 where int16 misses a bound, or the
control keeps them all. --write puts the table into docs/storage.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.page import write
from ingest import demo, job, model, real
from ingest.cli.model import prepare
from ingest.prompts import task
from qkstore.analysis import Head, HeadData, intervene
from qkstore.contrast import Contrast
from qkstore.contrast.builtin import RIGHT_BOX, category, contrasts
from qkstore.rank import LEAST, energy_rank, ranks
from qkstore.run import Run, vectors

KINDS = ("float32", "int16")
ASKED = ("lexical", "order", "order-centred")  # of boxes
CATEGORIES = 3  # of lists
BOUNDS = {  # of int16: about three times what the models measured reach
    "logit": 0.005,
    "attention": 0.001,
    "delta": 0.005,
    "accuracy": 0.005,
    "selectivity": 5e-4,
    "swap": 1e-4,
    "rank": 0.02,
    "statistical": 0.05,
}
SAID = {
    "logit": "logit, largest difference",
    "share": "… as a share of what rounding can do at most",
    "attention": "attention, largest difference",
    "delta": "‖difference of ΔC‖ ÷ ‖ΔC‖",
    "rank": "99 % ranks that differ",
    "statistical": "statistical ranks that differ",
    "accuracy": "accuracy of a head",
    "selectivity": "selectivity of a head, relative",
    "swap": "mean attention after a swap, original and target key",
    "unsure": "swaps not known to 1 %, of all",
}
FLAT = 1e-3  # of the vectors' sizes: a ΔC below is the rounding of keys that are the same
OF = ("rank", "statistical", "unsure")  # shares of all, not the largest


class Rounded(Run):
    """A run whose vectors are rounded after they are read."""

    def __init__(self, path: Path, how: Callable[[np.ndarray], np.ndarray]):
        super().__init__(path)
        self.how = how

    def queries(self, layer: int, head: int, rows: np.ndarray | None = None) -> np.ndarray:
        return self.how(super().queries(layer, head, rows))

    def keys(self, layer: int, head: int, rows: np.ndarray | None = None) -> np.ndarray:
        return self.how(super().keys(layer, head, rows))


def bf16(v: np.ndarray) -> np.ndarray:
    """The nearest numbers of 8 significant bits, ties to even."""
    bits = v.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def eight(v: np.ndarray) -> np.ndarray:
    """8-bit numbers with a scale a vector."""
    scale = np.maximum(np.abs(v).max(axis=1, keepdims=True) / np.float32(127), vectors.LEAST)
    return np.rint(v / scale) * scale


# -- differences -------------------------------------------------------------------------------------------------------


def judged(one: HeadData, other: HeadData) -> Iterator[tuple[str, float]]:
    """What differs between a head's logits, attention and scores."""
    logits = one.logits(), other.logits()
    off = np.abs(logits[1] - logits[0])
    yield "logit", off.max()
    pairs = one.pairs
    most = vectors.logit_error(one.q[pairs.query], one.k[pairs.key], one.head.facts.scaling)
    yield "share", (off / most).max()
    attention = [data.attention(x) for data, x in zip((one, other), logits)]
    if np.isfinite(attention[0]).any():
        yield "attention", np.nanmax(np.abs(attention[1] - attention[0]))
    scores = one.score(), other.score()
    if scores[0].accuracy is not None:
        yield "accuracy", abs(scores[1].accuracy - scores[0].accuracy)
    if scores[0].selectivity:
        yield "selectivity", abs(scores[1].selectivity / scores[0].selectivity - 1)


def there(data: HeadData) -> bool:
    """Whether positive and negative keys differ at all: in the first layer a box's key knows nothing of its prompt."""
    size = [np.sqrt(np.square(v, dtype=np.float64).sum(axis=1).mean()) for v in (data.q, data.k)]
    return data.norm > FLAT * size[0] * size[1]


def fitted(one: HeadData, other: HeadData) -> Iterator[tuple[str, float]]:
    """What differs between a head's ΔC, and between their ranks."""
    a, b = (data.covariance.delta for data in (one, other))
    yield "delta", np.linalg.norm(b - a) / np.linalg.norm(a)
    yield "rank", energy_rank(np.linalg.svd(a)[1]) != energy_rank(np.linalg.svd(b)[1])
    if len(one.q) >= LEAST:
        found = [ranks(*data.units).statistical for data in (one, other)]
        yield "statistical", found[0] != found[1]


def swapped(runs: Sequence[Run], contrast: Contrast, layer: int, head: int) -> Iterator[tuple[str, float]]:
    """What differs between means of attention after swaps in the contrast's subspace and in random ones."""
    one, other = (intervene(run, {"x": (contrast,)}, layer, head).conditions for run in runs)
    for a, b in zip(one, other, strict=True):
        yield "unsure", b.unsure
        yield "swap", max(abs(getattr(a, m) - getattr(b, m)) for m in ("original_after", "target_after"))


def asked(run: Run) -> list[Contrast]:
    there = {c.name: c for c in contrasts(run)}
    if "lexical" in there:
        return [there[name] for name in ASKED] + [RIGHT_BOX]
    return [category(name) for name in run.values("queried_category", "q")[:CATEGORIES]]


def differences(one: Run, other: Run, every: int = 1) -> dict[str, list[float]]:
    """{what: each difference} over all stored heads and the run's contrasts."""
    found: dict[str, list[float]] = {name: [] for name in SAID}
    for layer, head in [(layer, head) for layer in one.layers for head in range(one.n_heads)][::every]:
        pair = [Head(run, layer, head) for run in (one, other)]
        for contrast in asked(one):
            parts = [judged(*(at.read(contrast, "judge") for at in pair))]
            built = [at.read(contrast) for at in pair]
            if there(built[0]):
                parts += [fitted(*built), swapped((one, other), contrast, layer, head)]
            for name, value in (each for part in parts for each in part):
                found[name].append(float(value))
    return found


def total(found: dict[str, list[float]]) -> dict[str, float]:
    """The largest difference of each kind; of ranks, the share that differ."""
    return {n: float(np.mean(v) if n in OF else max(v)) for n, v in found.items() if v}


def missed(worst: dict[str, float]) -> list[str]:
    """Which bounds do not hold."""
    return [name for name, bound in BOUNDS.items() if worst.get(name, 0) > bound]


# -- both runs ---------------------------------------------------------------------------------------------------------


def prompts(which: str, n: int, n_test: int) -> dict[str, task.Task]:
    """{run: its prompts}."""
    if which == "smollm2":
        return {"smollm2-boxes": real.prompts(n=n, n_test=n_test)}
    return {"boxes-both": task.of("boxes", n, n_test, "both", 0), "lists": task.of("lists", n, n_test, None, 0)}


def build(store: Path, which: str, n: int, n_test: int) -> list[tuple[Run, Run]]:
    """Each of the model's tasks as a run of floats and one of 16 bits."""
    loaded = real.load() if which == "smollm2" else model.load(str(demo.MODEL), answers=None)
    layers, slots = (real.LAYERS, (real.SLOT,)) if which == "smollm2" else (None, ("plain",))
    made = []
    for name, of in prompts(which, n, n_test).items():
        both = []
        for kind in KINDS:
            options = job.Options(layers=layers, slots=slots, store_dtype=kind)
            path = job.run_path(store, f"{name}-{kind}")
            if not path.exists():
                job.ingest(store, path.stem, loaded, of.prompts, options, task=of.name, template=of.template, seed=0)
            both.append(Run(path))
        made.append((both[0], both[1]))
    return made


def raw(run: Run, value_bytes: int) -> int:
    """Bytes of the run's vectors as raw numbers."""
    vectors = run.n_queries * run.n_heads + run.n_keys * run.n_kv_heads
    return len(run.layers) * vectors * run.d_head * value_bytes


def sizes(one: Run, other: Run) -> str:
    of = ((run, os.path.getsize(run.path) / raw(run, 2)) for run in (one, other))
    return ", ".join(f"{run.store_dtype} {ratio:.3f}" for run, ratio in of) + " of raw bf16"


def reading(one: Run, other: Run, turns: int = 9) -> dict[str, float]:
    """{store dtype: median CPU ms of reading q and k of one head}, in turns."""
    taken: dict[str, list[float]] = {run.store_dtype: [] for run in (one, other)}
    layers = list(one.layers)
    for turn in range(turns):
        for run in (one, other):
            start = time.process_time()
            run.queries(layers[turn % len(layers)], turn % run.n_heads)
            run.keys(layers[turn % len(layers)], turn % run.n_heads)
            taken[run.store_dtype].append(1000 * (time.process_time() - start))
    return {kind: statistics.median(times) for kind, times in taken.items()}


def rows(
    which: str = "demo", n: int = 300, n_test: int = 200, every: int = 4, store: str | None = None
) -> Iterator[dict]:
    """A row a run: work, peer, measured, ratio (the worst of int16's differences as a share of its bound), columns."""
    with tempfile.TemporaryDirectory() as folder:
        for one, other in build(Path(store or folder), which, n, n_test):
            yield row(one, other, every)


def row(one: Run, other: Run, every: int) -> dict:
    columns = {
        "int16": total(differences(one, other, every)),
        "bf16": total(differences(one, Rounded(one.path, bf16), every)),
        "8 bits": total(differences(one, Rounded(one.path, eight), every)),
    }
    worst, heads = columns["int16"], len(range(0, len(one.layers) * one.n_heads, every))
    return {
        "work": f"16-bit vectors of {one.name.removesuffix('-float32')}",
        "peer": "float32 vectors of the same prompts",
        "measured": "; ".join(f"{SAID[name]} {value:.2g}" for name, value in worst.items()),
        "ratio": max(worst.get(name, 0) / bound for name, bound in BOUNDS.items()),
        "columns": columns,
        "missed": {kind: missed(of) for kind, of in columns.items()},
        "n": f"{heads} heads, {one.n_queries:,} queries, {one.n_keys:,} keys, d {one.d_head}",
        "size": sizes(one, other),
        "read_ms": reading(one, other),
    }


def table(made: Sequence[dict]) -> list[str]:
    """The rows as a table of Markdown, a block a run, and of how many heads and vectors they are."""
    sizes = "; ".join(f"{each['work'].removeprefix('16-bit vectors of ')}: {each['n']}" for each in made)
    lines = [
        "| run | difference from float32 | int16 | bound | bf16 | 8 bits, the control |",
        "|---|---|---|---|---|---|",
    ]
    for each in made:
        name = each["work"].removeprefix("16-bit vectors of ")
        for what, said in SAID.items():
            if what in each["columns"]["int16"]:
                told = [shown(what, each["columns"][kind][what]) for kind in ("int16", "bf16", "8 bits")]
                bound = shown(what, BOUNDS[what]) if what in BOUNDS else "1" if what == "share" else ""
                lines.append(f"| {name} | {said} | {told[0]} | {bound} | {told[1]} | {told[2]} |")
    return [*lines, "", f"{sizes}."]


def shown(what: str, value: float) -> str:
    return f"{100 * value:.3g} %" if what in OF else f"{value:.2g}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("demo", "smollm2"), default="demo")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--n-test", type=int, default=200)
    parser.add_argument("--store", help="where the runs are made, or are already; by default a folder of the moment")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the table into docs/storage.md")
    o = parser.parse_args(arguments)
    prepare()
    made = list(rows(o.model, o.n, o.n_test, o.every, o.store))
    said = [f"{each['work']}: {each['n']}; file {each['size']}; read {each['read_ms']}" for each in made]
    print(*table(made), "", *said, sep="\n")
    if o.write:
        write(ROOT / "docs" / "storage.md", f"compact {o.model}", table(made))
    wrong = [f"int16 misses {each['missed']['int16']}" for each in made if each["missed"]["int16"]]
    wrong += ["the control keeps all bounds" for each in made if not each["missed"]["8 bits"]]
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
