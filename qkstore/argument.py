"""Arguments of the command line: a wrong one is an error like any other, in one line."""

from __future__ import annotations

import argparse
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
