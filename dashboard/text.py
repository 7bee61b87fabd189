"""Text that others wrote (tokens, names, descriptions), made safe to show. Raw text never reaches Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape
from typing import Literal

import streamlit as st

from qkstore.text import visible

Mark = Literal["query", "positive", "negative", "key"]  # what a token is in a pair
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


def tokens(
    texts: Sequence[str],
    shades: dict[int, float] | None = None,
    marks: dict[int, Mark] | None = None,
    most: int | None = None,
    near: Collection[int] = (),
) -> str:
    """Tokens in a row as HTML.

    shades {index: 0…1} colour them, from nothing to full blue; marks {index: mark} outline them. most: of a longer
    prompt only the neighbours of its marked tokens are shown, and of those in `near`, about so many in all, with how
    many are left out.
    """
    shades, marks = shades or {}, marks or {}
    cells, before = [], 0
    for start, end in stretches(len(texts), {*marks, *near}, most or len(texts)):
        cells += [_left_out(start - before)] if start > before else []
        cells += [_token(texts[i], shades.get(i), marks.get(i)) for i in range(start, end)]
        before = end
    cells += [_left_out(len(texts) - before)] if before < len(texts) else []
    return f'<div class="qk-tokens">{"<wbr>".join(cells)}</div>'


def stretches(n: int, marked: Collection[int], most: int) -> list[tuple[int, int]]:
    """The parts (start, end) of n tokens to show: all of them up to `most`, else those about the marked ones."""
    if n <= most:
        return [(0, n)]
    centres = sorted(marked) or [0]
    reach = max(most // (2 * len(centres)), 1)
    out: list[tuple[int, int]] = []
    for centre in centres:
        start, end = max(centre - reach, 0), min(centre + reach + 1, n)
        if out and start <= out[-1][1]:
            start = out.pop()[0]
        out.append((start, end))
    return out


def _token(text: str, shade: float | None, mark: Mark | None) -> str:
    style = f' style="--qk-share:{100 * min(max(shade, 0), 1):.0f}%"' if shade is not None else ""
    kind = f" qk-{mark}" if mark else ""
    return f'<span class="qk-token{kind}"{style}>{escape(visible(text), quote=True)}</span>'


def _left_out(n: int) -> str:
    return f'<span class="qk-gap" title="{n:,} tokens are not shown">… {n:,} …</span>'
