"""The table of the toy claims: as Markdown, and in a page of the docs between two marker comments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qkstore.errors import StoreError
from qkstore.files import write
from qkstore.text import markdown_table

if TYPE_CHECKING:
    from qkstore.analysis.claim import Claim

BEGIN, END = "<!-- toy table: begin -->", "<!-- toy table: end -->"
# {column: field of Claim}
COLUMNS = {"claim": "claim", "heads": "where", "paper": "paper", "measured": "measured", "n": "n"}


def rows(claims: Sequence[Claim]) -> list[dict[str, str]]:
    """The table paper | measured, a row a claim."""
    return [claim.row(COLUMNS) for claim in claims]


def markdown(claims: Sequence[Claim]) -> str:
    """The same as Markdown. Nothing but a bar is escaped: the claims are of our own words and figures."""
    cells = [[text.replace("|", r"\|") for text in row.values()] for row in rows(claims)]
    return markdown_table(list(COLUMNS), cells, "---") + "\n"


def around(path: str | Path) -> tuple[str, str]:
    """What stands before and after the table of a page, marker comments included.

    Raises StoreError where it has not one of each, in order.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if not (text.count(BEGIN) == text.count(END) == 1 and text.index(BEGIN) < text.index(END)):
        raise StoreError(
            f"{path} needs the two lines {BEGIN} and {END}, once each and in that order, for the table to go between"
        )
    return text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]


def into(path: str | Path, claims: Sequence[Claim]) -> None:
    """Put the table between the two marker comments of a page. Raises StoreError where they are not there."""
    before, after = around(path)
    write(
        str(path),
        Path(path).suffix,
        lambda part: part.write_text(f"{before}\n{markdown(claims)}{after}", encoding="utf-8"),
    )
