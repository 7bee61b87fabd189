"""What a model of 70 B and its prompts would take, from constants measured here: bytes, hours, cost, where it breaks.

    python -m bench.scale [--store store] [--write] [--json] [--only STAGE] [--again] [--sweep gpus=8,64] [--gpus N …]

Constants are of small runs that the command makes, and of the runs of the stores: demo-boxes-both is needed (`make
demo`), the other demo runs and those of SmolLM2 (`bench/models/`) are taken where they are there. What needs machines
or bills is an option, with where its default comes from (--help). --write: the tables of docs/scale.md anew. --only:
one stage anew, beside the others of the last time, which build/scale.json keeps. --again: nothing is measured anew.
--sweep: the cases once for each value of an assumption. Exit code 1 when what the page promises does not hold. Four
CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small products on many threads mostly wait

import qkstore
from bench.processes import cpu_s
from bench.scale import asking, assumed, computing, derived, foretold, limits, page, serving, storing, users
from bench.scale.asking import Asked
from bench.scale.constants import Constant, table, values
from bench.scale.foretold import Foretold
from bench.scale.less import study
from bench.scale.less.heads import Found
from bench.scale.less.study import Row
from bench.scale.model import LLAMA_70B, Plan, choices
from qkstore.errors import QKStoreError, RunError
from qkstore.files import whole
from qkstore.store import Store

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "scale.json"
STAGES = ("storing", "computing", "serving", "asking", "foretold", "less")  # each needs those before it
LABELS = "demo-boxes-both"  # whose labels' bytes are measured
SIZE_OFF = 0.05  # of a file's bytes, at most
SHOWN = (0, 1, 2, 4, 6)  # choices whose limits are a column


@dataclass(frozen=True)
class Measured:
    """All that was measured, by stages, as build/scale.json has it. cpu_s: of each stage."""

    storing: list[Constant]
    computing: list[Constant]
    serving: list[Constant]
    asking: list[Asked]
    foretold: list[Foretold]
    less: list[Row]
    cpu_s: dict[str, float]

    @property
    def constants(self) -> list[Constant]:
        return [*self.storing, *self.computing, *asking.constants(self.asking), *self.serving]

    @classmethod
    def from_dict(cls, told: dict) -> Measured:
        """Raises KeyError for a stage that is not there."""
        kinds = {"asking": Asked, "foretold": Foretold}
        rows = [Row(**row | {"found": tuple(Found(**f) for f in row["found"])}) for row in told["less"]]
        stages = {name: [kinds.get(name, Constant)(**one) for one in told[name]] for name in STAGES if name != "less"}
        return cls(**stages, less=rows, cpu_s=told["cpu_s"])


def measure(runs: dict[str, Store], stages: Sequence[str]) -> None:
    """Measure some stages, each kept as it is finished: small runs that are made here, and what is in the stores."""
    for stage in stages:
        begun = cpu_s()
        with tempfile.TemporaryDirectory() as name:
            qkstore.open(name, create=True)
            constants = [Constant(**c) for part in STAGES[:2] for c in kept().get(part, ())]
            found = one(stage, Path(name), runs, {c.name: c.value for c in constants})
        spent = cpu_s() - begun
        now = kept()  # another stage may have been measured meanwhile
        now |= {stage: [asdict(row) for row in found], "cpu_s": now["cpu_s"] | {stage: spent}}
        KEPT.parent.mkdir(exist_ok=True)
        with whole(KEPT) as part:
            part.write_text(json.dumps(now, indent=1))
        tell(f"{stage}: {spent:.0f} CPU s")


def kept() -> dict[str, Any]:
    """What was measured so far."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {"cpu_s": {}}


def one(stage: str, folder: Path, runs: dict[str, Store], c: dict[str, float]) -> Sequence[Any]:
    """One stage; c: the constants of the first two stages."""
    if stage == "storing":
        return storing.measure(folder, runs[LABELS].run(LABELS))
    if stage == "computing":
        return computing.measure(folder, c["read float32"])
    if stage == "serving":
        return serving.cited((ROOT / serving.PAGE).read_text()) + serving.catalogue(folder)
    if stage == "asking":
        return asking.measure(folder)
    if stage == "foretold":
        return foretold.sizes(runs, c, but=LABELS) + foretold.seconds(runs, c)
    return study.study(runs)


def tables(found: Measured, a: dict[str, float]) -> dict[str, list[list[str]]]:
    """Every table of the page, from what was measured and what is assumed alone: the same text from the same two."""
    c = values(found.constants)
    cases = derived.cases(c, a)
    prompts, tokens = int(a["prompts"]), int(a["tokens"])
    kept = choices(tokens, int(a["sample"]), int(a["contrasts"]))
    plans = [Plan(LLAMA_70B, prompts, tokens, kept[i]) for i in SHOWN]
    return {
        "constants": table(found.constants),
        "assumptions": assumed.table(a),
        "passes": derived.passes(cases, a),
        "cases": derived.table(cases),
        "limits": limits.table(plans, c, a),
        "labels": asking.table(found.asking),
        "users": users.table(c, a, LLAMA_70B.layers * LLAMA_70B.heads, a["contrasts"]),
        "foretold": foretold.table(found.foretold),
        "less": study.table(found.less),
        "sampling": study.sampling(found.less, a["prompts"] * a["sample"]),
    }


def failures(found: Measured) -> list[str]:
    off = [f for f in found.foretold if f.what.startswith("bytes") and abs(f.off) > SIZE_OFF]
    return [f"{f.run}: its bytes are foretold {f.off:+.1%} off" for f in off] + study.failures(found.less)


def there(places: list[Path]) -> dict[str, Store]:
    """{run: its store} of all stores; raises RunError where LABELS is in none."""
    runs = {run.name: store for store in map(qkstore.open, places) for run in store.runs()}
    if LABELS not in runs:
        raise RunError(f"no run {LABELS!r} in {', '.join(map(str, places))}, which labels are measured on: make demo")
    return runs


def last() -> Measured:
    """What was measured last."""
    return Measured.from_dict(json.loads(KEPT.read_text()))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, action="append", help="of the runs; may be given more than once")
    parser.add_argument("--write", action="store_true", help="docs/scale.md anew")
    parser.add_argument("--json", action="store_true", help="what was measured and derived, as JSON")
    parser.add_argument("--again", action="store_true", help="derive from what was measured last")
    parser.add_argument("--only", action="append", choices=STAGES, help="measure this anew, the rest as it was last")
    parser.add_argument("--sweep", action="append", default=[], metavar="NAME=A,B", help="cases at some values")
    assumed.options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    o = parsed(arguments)
    try:
        a = assumed.given(o)
        assumed.positive(a)
        swept = assumed.swept(a, o.sweep)
        if not o.again:
            measure(there(o.store or [ROOT / "store"]), o.only or STAGES)
        found = last()
    except (FileNotFoundError, KeyError) as error:
        return fault(f"not everything was measured yet ({error}): run without --again and --only first")
    except (QKStoreError, ValueError) as error:
        return fault(str(error))
    parts, failed = tables(found, a), failures(found)
    if o.json:
        cases = [asdict(case) | {"rate_gb_s": case.rate_gb_s} for case in derived.cases(values(found.constants), a)]
        print(json.dumps(asdict(found) | {"assumed": a, "cases": cases}, indent=1))
    else:
        show(parts, found, swept if o.sweep else [])
        print(f"\n{sum(found.cpu_s.values()):.0f} CPU s", *failed or ["all as it must be"], sep="\n")
    if o.write:
        page.put(ROOT / "docs", parts)
    return int(bool(failed))


def show(parts: dict[str, list[list[str]]], found: Measured, swept: list[dict[str, float]]) -> None:
    for name, rows in parts.items():
        print(f"\n{name}\n", *page.lines(rows), sep="\n")
    for a in swept:
        changed = ", ".join(f"{x.option} {a[x.name]:g}" for x in assumed.ASSUMED if a[x.name] != x.value)
        cases = derived.cases(values(found.constants), a)
        print(f"\ncases with {changed or 'what is assumed'}\n", *page.lines(derived.table(cases)), sep="\n")


def fault(line: str) -> int:
    print(line, file=sys.stderr)
    return 1


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
