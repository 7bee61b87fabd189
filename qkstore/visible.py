"""Token text fit to be shown: what a reader could not see, or what would turn the text around, is spelled out."""

from __future__ import annotations

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})  # control, bidi and zero-width, private, separators


def visible(text: str) -> str:
    """The text with a leading space as ·, a line break as ↵, and every control or bidi character as U+XXXX."""
    shown = "".join(_character(c) for c in text)
    return "·" + shown[1:] if shown.startswith(" ") else shown


def _character(c: str) -> str:
    if c == "\n":
        return "↵"
    return f"U+{ord(c):04X}" if unicodedata.category(c) in HIDDEN else c
