"""The two command lines' one parser, one set of argument types, one table, one JSON and one progress."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, NoReturn, Self

from qkstore.errors import QKStoreError, StoreError

QUIET_S = 2.0
EVERY_S = 30.0  # between two lines of progress where there is no terminal
MOST_DIGITS = 18  # of a whole number, which then has 64 bits
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # why a file or a disk takes no more
LARGEST = 9999  # of a layer or a rank: a range is written out


class Parser(argparse.ArgumentParser):
    """argparse, with an error as one line and without the usage text of many lines before it.

    may_be_empty: the options to which an empty text says something; of any other it is a mistake, such as a variable of
    a shell that is not set.
    """

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.may_be_empty: list[argparse.Action] = []

    def parse_known_args(self, args=None, namespace=None):
        """The same, of text only: bytes that are no UTF-8 would fail wherever they are written or sent."""
        for text in sys.argv[1:] if args is None else args:
            if text.encode(errors="replace").decode() != text:
                raise QKStoreError(f"argument {text[:60]!a} is not text in UTF-8")
        given, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(given, action.dest, None)
            if action.option_strings and _empty(value) and value != action.default and action not in self.may_be_empty:
                raise QKStoreError(f"{action.option_strings[-1]} is given as an empty text: give one, or leave it out")
        return given, rest

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        """The same; argparse's own passes over help that cannot be written."""
        (file or sys.stderr).write(message or "")

    def error(self, message: str) -> NoReturn:
        raise QKStoreError(f"{message} ({self.prog} --help lists the options)")


def _empty(value) -> bool:
    """Whether what was given for an option is an empty text, or holds one."""
    return any(map(_empty, value)) if isinstance(value, (list, tuple)) else value == ""


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how a line goes on, and end; do nothing when the command was called by a person."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def need(modules: tuple[str, ...], remedy: str) -> None:
    """Raise QKStoreError with `remedy`, what to run, when one of the modules is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise QKStoreError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: {remedy}")


# -- types of arguments ----------------------------------------------------------------------------------------------


def whole(text: str) -> int:
    """…, -1, 0, 1, …"""
    if not text.removeprefix("-").isdecimal() or len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a whole number of at most {MOST_DIGITS} digits")
    return int(text)


def count(text: str) -> int:
    """0, 1, 2, …"""
    return _whole(text, 0)


def _cut(text: str) -> str:
    """What was given, its beginning where it is long."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}…"


def prompt(text: str) -> str:
    """A prompt's id or number."""
    if text.isdecimal() and len(text) > 100:  # Python may refuse to read it
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no prompt: it has {len(text):,} digits")
    return text


def positive(text: str) -> int:
    """1, 2, …"""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) < least:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a whole number from {least}")
    return int(text)


def seed(text: str) -> int:
    """A whole number that a run file can hold: 64 bits with a sign."""
    try:
        value = int(text)
    except ValueError:
        value = 2**63
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no seed: give a whole number of at most 64 bits")
    return value


def number(text: str) -> float:
    """0.1"""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is no number") from None


def numbers(text: str) -> tuple[float, ...]:
    """'0,0.5,1' → (0.0, 0.5, 1.0)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a list of numbers such as 0,0.5,1") from None


def seconds(text: str) -> float:
    """A time limit, of a day at most."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a number of seconds, of a day at most")
    return value


def names(text: str) -> tuple[str, ...]:
    """'ent, ord' → ('ent', 'ord')."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def ranges(what: str) -> Callable[[str], tuple[int, ...]]:
    """The type of an argument called `what`: '0-2,7' → (0, 1, 2, 7), sorted, each once, 9,999 at most."""

    def parse(text: str) -> tuple[int, ...]:
        values: set[int] = set()
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            last = last if dash else first
            if not (first.isdecimal() and last.isdecimal()):
                raise QKStoreError(f"{what} {_cut(text)}: write numbers and ranges, such as 0-3,7")
            if max(len(first), len(last)) > MOST_DIGITS or int(last) > LARGEST:
                raise QKStoreError(f"{what} {_cut(text)}: numbers are {LARGEST:,} at most")
            if int(last) < int(first):
                raise QKStoreError(f"{what} {_cut(text)}: write numbers and ranges, such as 0-3,7")
            values |= set(range(int(first), int(last) + 1))
        return tuple(sorted(values))

    return parse


# -- what is printed -------------------------------------------------------------------------------------------------


class Progress:
    """A callback (stage, done, total, now) that shows on stderr how far each stage in turn is.

    On a terminal one bar a stage; elsewhere (a file, a scheduler's log) a line when a stage begins, one soon after,
    which forecasts how long it takes, one every EVERY_S seconds, and one when it ends, but none in the first QUIET_S
    seconds of a command. `now`: what is being done, shown behind.
    """

    def __init__(self):
        self.stage, self.bar, self.lines, self.begun = None, None, None, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, stage: str, done: int, total: int, now: str = "") -> None:
        if stage != self.stage:
            self.__exit__()
            self.stage, self.bar, self.lines = stage, None, None
            if sys.stderr.isatty():
                from tqdm import tqdm

                self.bar = tqdm(total=total, desc=stage, file=sys.stderr, mininterval=0.2)
            else:
                self.lines = _Lines(stage, done, self.begun + QUIET_S)
        if self.lines:
            self.lines(done, total, now)
            return
        if now:
            self.bar.set_postfix_str(now[:60], refresh=False)
        self.bar.update(done - self.bar.n)


class _Lines:
    """One stage told in lines, for a log."""

    def __init__(self, stage: str, first: int, silent_until: float):
        self.stage, self.first, self.begun, self.last = stage, first, time.monotonic(), None
        self.silent_until, self.pause = silent_until, QUIET_S

    def __call__(self, done: int, total: int, now: str) -> None:
        at = time.monotonic()
        if at >= self.silent_until and (
            self.last is None or done >= total > self.first or at - self.last >= self.pause
        ):
            self.pause = EVERY_S if done > self.first else QUIET_S
            self.last = at
            left = (at - self.begun) * (total - done) / max(done - self.first, 1)
            parts = [f"{self.stage}: {done:,} of {total:,}", now, f"{_minutes(left)} left" if left and done else ""]
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


@contextmanager
def printed() -> Iterator[None]:
    """What the block prints is written at its end, so that a failure is met here and not when Python ends.

    Raises StoreError where it cannot be: a full disk behind `> FILE`. BrokenPipeError stays what it is. After either
    nothing more is printed.
    """
    try:
        try:
            yield
        except SystemExit:  # of --help
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except OSError as error:
        gone = isinstance(error, BrokenPipeError)
        if not gone and (error.filename is not None or error.errno not in FULL):  # a file's, which is a bug
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if gone:
            raise
        raise StoreError(f"the output cannot be written: {error.strerror}") from None


def print_json(value) -> None:
    """One line; NaN and infinities, which JSON has not, as null."""
    json.dump(_plain(value), sys.stdout, default=str, allow_nan=False)
    print()


def print_table(rows: list[dict]) -> None:
    """Columns of the rows' names, the first on the left and the others on the right; `none` for no rows."""
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
