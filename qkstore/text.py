"""Text and numbers fit to be shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})  # control, bidi and zero-width, private, separators

# Letters without a shape, and marks that only change the look of the one before.
SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # a cell that begins so is computed by a spreadsheet  # noqa: RUF001
BEFORE_FORMULA = re.compile(rf"(?<=[,;\t|])(?=[\"']*[{re.escape(''.join(FORMULA))}])")  # between two cells of a line
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

SPACE = "\u00a0"  # that does not break a line


def visible(text: str) -> str:
    """The text with a leading space as ·, a line break as ↵, and every control or bidi character as U+XXXX."""
    shown = "".join(_character(c) for c in text)
    return "·" + shown[1:] if shown.startswith(" ") else shown


def column(texts: pl.Series) -> pl.Series:
    """`visible` of every text, nulls kept.

    Not by map_elements: Python called by polars' threads waits for the interpreter, and whoever has that may be waiting
    for polars' threads. Two sessions of the dashboard hung so.
    """
    return pl.Series(texts.name, [None if text is None else visible(text) for text in texts.to_list()], pl.String)


def _character(c: str) -> str:
    if c == "\n":
        return "↵"
    return f"U+{ord(c):04X}" if unicodedata.category(c) in HIDDEN else c


def unseen(text: str) -> str | None:
    """The first control, bidi or zero-width character, or letter without a shape, as U+XXXX; None where all is seen."""
    hidden = (c for c in text if unicodedata.category(c) in HIDDEN or SHAPELESS.match(c))
    return next((f"U+{ord(c):04X}" for c in hidden), None)


def csv(table: pl.DataFrame, about: Mapping[str, str] | None = None) -> str:
    """The table as CSV in which no cell, and no column's name, is a formula: ' stands before what would be one.

    about: {what: text} that stands before the table in lines that begin with #, as pandas' `comment="#"` and polars'
    `comment_prefix="#"` leave out. All text of the table is in quotes then, so that no # of its own begins such a line.
    """
    texts = [
        pl.Series(c.name, [None if t is None else cell(t) for t in c.cast(pl.String).to_list()], pl.String)
        for c in table.iter_columns()
        if c.dtype in (pl.String, pl.Categorical, pl.Enum)
    ]
    plain = table.with_columns(texts).rename(cell)
    if about is None:
        return plain.write_csv()
    return "".join(map(_comment, about.items())) + plain.write_csv(quote_style="non_numeric")


def _comment(told: tuple[str, str]) -> str:
    """{what: text} as lines of a CSV that begin with #; a spreadsheet, which knows none, finds no formula in one."""
    lines = [visible(line) for line in ": ".join(told).splitlines()] or [""]
    return "".join(f"# {BEFORE_FORMULA.sub(' ', line)}\n" for line in lines)


def cell(text: str) -> str:
    """The text as a cell that no spreadsheet computes; a number stays as it is."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def number(value: float | None, digits: int = 3) -> str:
    """0.931; a dash where there is none, no minus before a zero."""
    if value is None:
        return "–"
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")  # + 0.0: no minus before a zero


def signed(value: float, digits: int = 3) -> str:
    """+0.012 or −0.012; what rounds to zero keeps its sign."""
    return f"{value:+,.{digits}f}".replace("-", "−")


def counted(n: int, one: str, several: str = "") -> str:
    """1 query; 1,200 queries. several: of more than one, where it is not `one` with an s."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    """93 % for a share of 0.931; a dash where there is none."""
    return "–" if share is None else f"{number(100 * share, digits)} %"


def p_value(p: float, deals: int) -> str:
    """p = 0.3; of the least value that so many deals of a null can give, 1 ÷ (deals + 1), also that it is only that."""
    least = f", the least that {deals:,} deals can give" if p * (deals + 1) < 1.001 else ""
    return f"p{SPACE}={SPACE}{p:.3g}{least}"


def size(value: float) -> str:
    """A norm or another size without a natural scale: three digits that count."""
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}").replace("-", "−")


def estimate(value: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """0.931 [0.920, 0.942]; the value alone where there is no interval."""
    if interval is None:
        return number(value, digits)
    low, high = (number(v, digits) for v in interval)
    return f"{number(value, digits)} [{low},{SPACE}{high}]"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The range of several values: 0.310–0.420, or one where they are alike."""
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low}–{high}"


def sized(value: float, interval: Sequence[float]) -> str:
    """A size with its interval: 56.2 [54.1, 58.3]."""
    low, high = map(size, interval)
    return f"{size(value)} [{low},{SPACE}{high}]"


def head_name(layer: int, head: int) -> str:
    """L20 H7, which no line break parts."""
    return f"L{layer}{SPACE}H{head}"


def split_name(split: str | None) -> str:
    """What a split of prompts is called: train, test, or whole where a run is not split."""
    return split or "whole"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], rule: str) -> str:
    """A table as Markdown lines, `rule` in each cell under the head. Cells are Markdown already: nothing is escaped."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'|'.join([rule] * len(head))}|", *lines[1:]])
