"""The table of all rows, as lines of Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.speed.row import NOT_RUN, Row

HEADER = [
    "| work | floor or peer, in the same run | measured | ratio | aim | peak memory |",
    "|---|---|---|---|---|---|",
]


def lines(rows: Sequence[Row], facts: dict) -> list[str]:
    """The table, then why rows miss their aim."""
    missed = {row.missed: row.work for row in reversed(rows) if row.met is False and row.missed}
    reasons = [f"* {work[0].upper()}{work[1:]}: {why}." for why, work in reversed(missed.items())]
    told = ["", "Why rows miss their aim (of several with one reason, the first):", "", *reasons] if reasons else []
    return [caption(facts), "", *HEADER, *map(line, rows), *told]


def line(row: Row) -> str:
    if row.error:
        return f"| {row.work} | | **failed**: {_cell(row.error)} | | | |"
    peak = "" if row.peak_mb is None else f"{row.peak_mb:,.0f} MB"
    aim = f"{row.aim}{' ✓' if row.met else ' ✗ missed' if row.met is False else ''}"
    return f"| {row.work} | {row.against} | {_cell(row.measured)} | {ratio(row)} | {aim} | {peak} |"


def ratio(row: Row) -> str:
    """A ratio with its interval: 1.42 [1.38, 1.50], or 310 times faster."""
    if row.ratio is None:
        return ""
    values = [row.ratio] if row.low is None or row.high is None else [row.ratio, row.low, row.high]
    first, *ends = (f"{v:,.0f}" if v >= 100 else f"{v:.3g}" if v >= 10 else f"{v:.2f}" for v in values)
    return f"{first}{' times faster' if row.faster else '×'}{f' [{ends[0]}, {ends[1]}]' if ends else ''}"


def caption(facts: dict) -> str:
    scale = "the real shape" if facts["full"] else "default sizes"
    return f"{facts['date']}, {scale}, {facts['cores']} CPU cores ({facts['machine']}), one thread for products."


def facts(full: bool) -> dict:
    """Of this machine and day."""
    return {
        "date": date.today().isoformat(),
        "full": full,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
    }


def merged(file: Path, rows: Sequence[Row], of: dict, names: Sequence[str]) -> list[Row]:
    """The rows, with those of earlier runs of the same scale that `file` holds and that were not measured now.

    names: of all measurements, in the order of the table.
    """
    kept: list[Row] = []
    if file.exists() and (before := json.loads(file.read_text()))["facts"]["full"] == of["full"]:
        now = {row.name for row in rows} | {_measurement(row.name, names) for row in rows}
        kept = [r for r in map(Row.of, before["rows"]) if not {r.name, _measurement(r.name, names)} & now]
    order = {name: i for i, name in enumerate(names)}
    return sorted([*kept, *rows], key=lambda row: order.get(_measurement(row.name, names), len(order)))


def _measurement(row: str, names: Sequence[str]) -> str:
    """The measurement that a row is of: the longest name that the row's begins with."""
    return max((n for n in names if row == n or row.startswith(f"{n}-")), key=len, default=row)


def save(file: Path, rows: Sequence[Row], of: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"facts": of, "rows": [row.to_dict() for row in rows]}, indent=1, ensure_ascii=False))


def _cell(text: str) -> str:
    return text.replace("|", "¦").replace("\n", " ")


def ran(row: Row) -> bool:
    """Whether a row has figures."""
    return not row.error and not row.measured.startswith(NOT_RUN)
