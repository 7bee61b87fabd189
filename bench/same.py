"""Two checkouts, the same numbers: the demo runs ingested and analysed with the code of each, compared to the digit.

    python bench/same.py --before CHECKOUT [--after CHECKOUT] [--python PYTHON] [--keep DIR]

Each side ingests the demo runs into a store of its own; on it run its own bench/truth.py, bench/live.py and the
commands below. Compared are what they print, the arrays that they write, the report's Markdown and figures, every table
of the runs, to the bit; what has to differ stands in MASKED. Prints seconds, then `same` or `DIFFERENT` and the first
difference of each; exit code 1 when one differs or fails. --keep: DIR keeps what is made under a hash of the code.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

import duckdb
import numpy as np

RUNS = ("demo-boxes-ent", "demo-boxes-ord", "demo-boxes-both", "demo-lists")
CODE = ("qkstore/**/*", "ingest/**/*", "bench/truth.py", "bench/live.py")
MASKED = {  # {what two makings with the same code do not share, as a pattern of `place: value`: where and why}
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?": "when a run was ingested: `runs`, manifests, live results, the report",
    r"(?<=^run\.code_version: ').*(?=')": "a manifest: hash of the source of ingest/, which is what was changed",
    r'"code": ?"[^"]+"(, ?)?': "a manifest: the plan of an ingest holds it too, so that no other code resumes it",
    r"^code: '\w+'$": "a live result: a hash of the code that made it, so that other code does not serve it",
}
ENT, ORD, BOTH, LISTS = (f"--run {run} --layer 1" for run in RUNS)
COMMANDS = f"""
bench/truth.py
bench/live.py
-m ingest intervene {BOTH} --contrast order --and lexical --model demo --json
-m ingest intervene {ENT} --contrast lexical --rows all --most 200 --model demo --json
-m qkstore runs --json
-m qkstore contrasts --run demo-boxes-both --json
-m qkstore heads --run demo-lists --contrast category --json
-m qkstore covariance {BOTH} --head 2 --contrast order --out FILES/order.npz
-m qkstore rank {BOTH} --head 2 --contrast order --json
-m qkstore intervene {BOTH} --head 2 --contrast order --and lexical --json
-m qkstore intervene {BOTH} --head 2 --contrast order --and lexical --side queries --json
-m qkstore dose {ORD} --head 2 --contrast order --json
-m qkstore growth {LISTS} --head 2 --contrast category --json
-m qkstore variants {LISTS} --head 2 --json
-m qkstore attribute {BOTH} --head 2 --contrast order --and lexical --prompt 9001 --json
-m qkstore sql --run demo-lists --limit 600 "select layer, max(logsumexp) from row_stat group by 1 order by 1"
-m qkstore check
-m qkstore report --run demo-boxes-both demo-lists --out FILES/report.html --markdown FILES/report
""".split("\n")[1:-1]
TABLES = {f"tables of {run}": f"store/runs/{run}.duckdb" for run in RUNS}
THREADS = "OMP_NUM_THREADS=1"  # sums in one order, and no waiting for threads where other work runs
HASH = 'SELECT count(*), sum(md5_number_lower(concat(t.rowid, t::VARCHAR))::HUGEINT)::VARCHAR FROM "{}" AS t'


def digest(checkout: Path) -> str:
    """A hash of the code that decides the numbers, and of the demo model."""
    files = sorted(f for pattern in CODE for f in checkout.glob(pattern) if f.is_file() and f.suffix != ".pyc")
    return sha256(b"".join(str(f.relative_to(checkout)).encode() + f.read_bytes() for f in files)).hexdigest()[:12]


def output(item: str, side: Path, checkout: Path, python: str) -> str:
    """What is compared of an item, as text: what it prints, or the file that it writes; if it fails, FAILED and why."""
    if item in TABLES:
        return told(side / TABLES[item])
    words = shlex.split(item.replace("FILES", shlex.quote(str(side / "files"))))
    line = ["env", f"PYTHONPATH={checkout}", THREADS, python, *words, "--store", str(side / "store")]
    done = subprocess.run(line, check=False, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        return f"FAILED: exit code {done.returncode}: " + (done.stderr or done.stdout).strip().rpartition("\n")[2]
    return told(Path(words[-1])) if "--out" in words else done.stdout


def told(path: Path) -> str:
    """A file as text that loses no bit: arrays, a report's folder, or a run: its manifest, rows and hashes."""
    if path.suffix == ".npz":
        return json.dumps({name: {"dtype": str(a.dtype), "values": a.tolist()} for name, a in np.load(path).items()})
    if path.is_dir():
        hashes = [f"{f.name} {sha256(f.read_bytes()).hexdigest()}" for f in sorted(path.iterdir()) if f.suffix != ".md"]
        return "\n".join([(path / "report.md").read_text(), *hashes])
    with duckdb.connect(str(path), read_only=True) as run:
        rows = {name: run.execute(HASH.format(name)).fetchone() for (name,) in run.sql("SHOW TABLES").fetchall()}
        rows["run"] = json.loads(run.execute("SELECT to_json(t) FROM run AS t").fetchone()[0])
    return json.dumps(rows)


def make(name: str, checkout: Path, keep: Path, python: str) -> dict[str, str]:
    """{item: text} of one side: what is kept already, else made, and kept if it did not fail."""
    side = keep / f"{name}-{digest(checkout)}"
    (side / "files").mkdir(parents=True, exist_ok=True)
    texts, begun = {}, time.perf_counter()
    for item in ("-m ingest demo", *TABLES, *COMMANDS):
        file, start = side / (re.sub(r"\W+", "-", item)[:200] + ".txt"), time.perf_counter()
        texts[item] = file.read_text() if file.exists() else output(item, side, checkout, python)
        if not file.exists():
            print(f"{name:6s} {time.perf_counter() - start:6.1f} s  {item}", flush=True)
        if not texts[item].startswith("FAILED"):
            file.write_text(texts[item])
        elif item == "-m ingest demo":
            raise SystemExit(f"{name}: {texts[item]}")
    print(f"{name:6s} {time.perf_counter() - begun:6.1f} s  in all, in {side}", flush=True)
    return {item: texts[item] for item in (*TABLES, *COMMANDS)}


def lines(text: str) -> list[str]:
    """`place: value` of every part of a text: the values of JSON, else its lines; MASKED is left out."""

    def leaves(value, place: str = ""):
        inner = dict(enumerate(value)) if isinstance(value, list) else value
        if not isinstance(inner, dict) or not inner:
            return [f"{place[1:]}: {value!r}"]
        return [line for name, part in inner.items() for line in leaves(part, f"{place}.{name}")]

    try:
        places = leaves(json.loads(text))
    except ValueError:
        places = [f"line {i}: {line}" for i, line in enumerate(text.splitlines(), 1)]
    return list(filter(None, (re.sub("|".join(MASKED), "", line) for line in places)))


def difference(before: str, after: str) -> str | None:
    """The first difference of two outputs with its place, both sides, or None. A failed one differs from everything."""
    for pair in zip_longest(lines(before), lines(after), fillvalue="(the end)"):
        at = len(os.path.commonprefix(pair))  # noqa: RUF071 -- of texts, not of paths
        if pair[0] != pair[1] or pair[0].startswith("line 1: FAILED"):
            return " | ".join(s if len(s) < 120 else f"{s[:20]} … {s[max(at - 40, 20) : at + 40]}" for s in pair)
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("--before", None), ("--after", Path(__file__).resolve().parents[1]), ("--keep", None)):
        parser.add_argument(option, type=lambda p: Path(p).resolve(), default=default, required=option == "--before")
    parser.add_argument("--python", default=sys.executable)
    o = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        before, after = (make(n, vars(o)[n], o.keep or Path(scratch), o.python) for n in ("before", "after"))
    seen = {item: difference(before[item], after[item]) for item in before}
    print(*(f"same       {i}" if d is None else f"DIFFERENT  {i}: {d}" for i, d in seen.items()), sep="\n")
    print(f"{list(seen.values()).count(None)} of {len(seen)} items are the same")
    return int(any(seen.values()))


if __name__ == "__main__":
    sys.exit(main())
