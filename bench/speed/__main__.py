"""Speed and size beside floors and peers: one table of ratios, measured in turns.

    python -m bench.speed [--only ROW …] [--full] [--check] [--write] [--keep] [--plant MEASUREMENT]

Synthetic runs are written by the project's own path with a planted feature, so that each result is checked while it is
timed: a row whose check fails is an error, not a figure. The table is printed and kept in build/bench.json, into which
rows measured with --only are put beside the others. --full takes the real shape (32 layers of 32 heads; 40 GB of disk,
an hour or more). --check measures what is worse than the baseline a second time, and ends with exit code 1 where it is
worse again. --keep takes the ratios for the baseline. --write puts the table into docs/performance.md. --plant lets our
side do its work twice, which --check has to find.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from bench.page import write
from bench.speed import check, runner, table
from bench.speed.groups import growth
from bench.speed.row import Row
from bench.speed.synthetic import ROOT

OUT, PAGE = ROOT / "build" / "bench.json", ROOT / "docs" / "performance.md"


def told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__.splitlines()[0])
    made.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows, measurements or groups")
    made.add_argument("--full", action="store_true", help="the real shape: an hour or more, 40 GB of disk")
    made.add_argument("--check", action="store_true", help="fail where a ratio is worse than the baseline's")
    made.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    made.add_argument("--keep", action="store_true", help="take the ratios for the baseline")
    made.add_argument("--plant", nargs="+", default=[], metavar="MEASUREMENT", help="do the work of these twice")
    return made


def main(arguments: list[str] | None = None) -> int:
    o = parser().parse_args(arguments)
    start, wanted, of = time.monotonic(), runner.measures(o.only), table.facts(o.full)
    rows, every = [], table.merged(OUT, [], of, list(runner.measures()))
    for row in runner.run(wanted, o.full, o.plant, told):
        rows.append(row)
        if not o.plant:
            every = table.merged(OUT, rows, of, list(runner.measures()))
            table.save(OUT, every, of)  # at once: a bench that is ended keeps what it has
    print(*table.lines(rows, of), sep="\n")
    told(f"{(time.monotonic() - start) / 60:.1f} minutes")
    if o.write:
        publish(every, of)
    if o.keep:
        check.keep(rows, o.full)
    return checked(rows, wanted, o) if o.check else int(any(row.error for row in rows))


def publish(rows: Sequence[Row], of: dict) -> None:
    """The table and the plot of what grows, into the page."""
    grown = [row for row in rows if row.name.startswith("growth-") and table.ran(row)]
    growth.draw(grown)
    write(PAGE, "speed full" if of["full"] else "speed", table.lines(rows, of))


def checked(rows: Sequence[Row], wanted: dict[str, str], o: argparse.Namespace) -> int:
    """1 where a row is worse than the baseline, and again when it is measured a second time."""
    baseline = check.read(o.full)
    if not baseline:
        told("there is no baseline of this scale: measure with --keep first")
        return 1
    wrong = check.regressions(rows, baseline) | check.absent(rows, baseline, list(wanted))
    if wrong:
        told("measured again: " + ", ".join(wrong))
        again = {name: group for name, group in wanted.items() if any(_of(row, name) for row in wrong)}
        second = list(runner.run(again, o.full, o.plant, told))
        still = check.regressions(second, baseline) | check.absent(second, baseline, list(again))
        wrong = {name: still[name] for name in wrong if name in still}
    print("", *(f"FAILED {text}" for text in wrong.values()), sep="\n")
    told("no row is worse than the baseline" if not wrong else f"{len(wrong)} rows are worse than the baseline")
    return int(bool(wrong))


def _of(row: str, name: str) -> bool:
    return row == name or row.startswith(f"{name}-")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what it started ends with it
    sys.exit(main())
