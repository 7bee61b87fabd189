"""What the command line writes: JSON for machines, tables for people, files that are whole."""

from __future__ import annotations

import json
import math
import sys


def print_json(value) -> None:
    """One line; NaN and infinities, which JSON has not, as null."""
    json.dump(_plain(value), sys.stdout, default=str, allow_nan=False)
    print()


def print_table(rows: list[dict]) -> None:
    if not rows:
        print("none")
        return
    cells = [[_cell(v) for v in row.values()] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(rows[0])]
    for line in [list(rows[0])] + cells:
        print(
            "  ".join(
                text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths))
            ).rstrip()
        )


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
