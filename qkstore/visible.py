"""Token text fit to be shown: what a reader could not see, or what would turn the text around, is spelled out."""

from __future__ import annotations

import unicodedata

import polars as pl

HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})  # control, bidi and zero-width, private, separators


def visible(text: str) -> str:
    """The text with a leading space as ·, a line break as ↵, and every control or bidi character as U+XXXX."""
    shown = "".join(_character(c) for c in text)
    return "·" + shown[1:] if shown.startswith(" ") else shown


def column(texts: pl.Series) -> pl.Series:
    """`visible` of every text, nulls kept: a list, for Python called by polars' threads waits for the interpreter, and whoever
    has that may be waiting for polars' threads (two sessions of the dashboard hung so)."""
    return pl.Series(texts.name, [None if text is None else visible(text) for text in texts.to_list()], pl.String)


def _character(c: str) -> str:
    if c == "\n":
        return "↵"
    return f"U+{ord(c):04X}" if unicodedata.category(c) in HIDDEN else c
