"""Text that others wrote (tokens, names, descriptions), made safe to show. Raw text never reaches Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Literal

import streamlit as st

from qkstore.text import visible

Mark = Literal["query", "positive", "negative"]  # what a token is in a pair
# Addresses of sites and people become links even where their signs are escaped, unless something stands within them.
LINKED, JOINER = (
    re.compile(r"(?<=:)(?=\\?/\\?/)|(?<=www)(?=\\?\.)|(?<=@)(?=(?:\\?[-\w])+\\?\.\w)", re.IGNORECASE),
    "\u2060",
)
MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>$:~&^=])")


def plain(text: object) -> str:
    """Text as Markdown that shows exactly that text: no link, image, formula, colour or icon can come of it."""
    return LINKED.sub(JOINER, MARKS.sub(r"\\\1", visible(str(text))))


def line(text: str, kind: Literal["note", "sentence"] = "note") -> None:
    """One line of text, escaped; a note is small and grey."""
    st.html(f'<p class="qk-{kind}">{escape(visible(text), quote=True)}</p>')


def lines(text: str, kind: Literal["note", "sentence"] = "sentence") -> None:
    """Several lines of text, each escaped, as one paragraph."""
    shown = "<br>".join(escape(visible(part), quote=True) for part in text.splitlines())
    st.html(f'<p class="qk-{kind}">{shown}</p>')


def tokens(texts: Iterable[str], shades: dict[int, float] | None = None, marks: dict[int, Mark] | None = None) -> str:
    """Tokens in a row as HTML.

    shades {index: 0…1} colour them, from nothing to full blue; marks {index: mark} outline them.
    """
    shades, marks = shades or {}, marks or {}
    cells = []
    for i, text in enumerate(texts):
        style = f' style="--qk-share:{100 * min(max(shades[i], 0), 1):.0f}%"' if i in shades else ""
        kind = f" qk-{marks[i]}" if i in marks else ""
        cells.append(f'<span class="qk-token{kind}"{style}>{escape(visible(text), quote=True)}</span>')
    return f'<div class="qk-tokens">{"<wbr>".join(cells)}</div>'
