"""Whether any ratio is worse than it was: rows beside a baseline that is kept with the code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.speed.row import Row
from bench.speed.table import ran

BASELINE = Path(__file__).with_name("baseline.json")
BAND = 1.6  # times worse than the baseline: a slowdown of 2 is beyond it even where a median is a little off


def regressions(rows: Sequence[Row], baseline: dict[str, dict]) -> dict[str, str]:
    """{row: what is wrong} of rows that failed, or whose ratio is worse than the baseline's by its band or more.

    baseline: {row: {"ratio": …, "band": …}}. A row without a baseline cannot be worse; nor can a peer that is not here.
    """
    wrong = {}
    for row in rows:
        before = baseline.get(row.name)
        if row.error:
            wrong[row.name] = f"{row.name}: {row.error}"
        elif before and ran(row) and row.ratio is not None:
            times = worse(row, before["ratio"])
            if times >= before["band"]:
                wrong[row.name] = (
                    f"{row.name}: ratio {row.ratio:.3g}, in the baseline {before['ratio']:.3g}: "
                    f"{times:.2f} times worse, {before['band']} is the limit"
                )
    return wrong


def worse(row: Row, before: float) -> float:
    """How many times worse a ratio is than before."""
    return before / row.ratio if row.faster else row.ratio / before


def absent(rows: Sequence[Row], baseline: dict[str, dict], asked: Sequence[str]) -> dict[str, str]:
    """{row: that it is not there} of the baseline's rows of the measurements asked for.

    A measurement that failed has said so already.
    """
    there, bad = {row.name for row in rows}, {row.name for row in rows if row.error}
    missing = [n for n in baseline if n not in there and any(n == a or n.startswith(f"{a}-") for a in asked)]
    return {n: f"{n}: no such row was measured" for n in missing if not any(n.startswith(b) for b in bad)}


def read(full: bool, file: Path = BASELINE) -> dict[str, dict]:
    """The baseline of a scale; {} where none was kept."""
    return json.loads(file.read_text()).get(_scale(full), {}) if file.exists() else {}


def keep(rows: Sequence[Row], full: bool, file: Path = BASELINE) -> None:
    """Take the rows' ratios for the baseline of a scale; those of other rows stay."""
    scales = json.loads(file.read_text()) if file.exists() else {}
    new = {row.name: {"ratio": round(row.ratio, 4), "band": BAND} for row in rows if ran(row) and row.ratio is not None}
    scales[_scale(full)] = dict(sorted((scales.get(_scale(full), {}) | new).items()))
    file.write_text(json.dumps(scales, indent=1) + "\n")


def _scale(full: bool) -> str:
    return "full" if full else "default"
