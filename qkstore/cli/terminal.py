"""Arguments of the command line: a wrong one is an error like any other, in one line."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import NoReturn

from qkstore.errors import QKStoreError


class Parser(argparse.ArgumentParser):
    """argparse, without the usage text of many lines that it prints before an error."""

    def error(self, message: str) -> NoReturn:
        raise QKStoreError(f"{message} ({self.prog} --help lists the options)")


def count(text: str) -> int:
    """0, 1, 2, …"""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """1, 2, …"""
    if not count(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A time limit."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, of a day at most")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """'0,0.5,1' → (0.0, 0.5, 1.0)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0,0.5,1") from None


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
    for line in [list(rows[0]), *cells]:
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
