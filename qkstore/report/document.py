"""A document as data: chapters of sections of paragraphs, figures and tables, which render.py writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkstore.analysis.claim import Claim

# of the closing table: {column: field of Claim}
COLUMNS = {
    "claim": "claim",
    "run, head": "where",
    "paper": "paper",
    "authors' variant, here": "authors",
    "here": "measured",
    "n": "n",
}


@dataclass(frozen=True)
class Figure:
    """chart: an Altair chart. name: of its file. points: drawn as pixels, as thousands of marks would be large.

    sentence: what is seen, from the numbers. of: the paper's figure it stands beside.
    """

    name: str
    title: str
    sentence: str
    chart: object
    of: str = ""
    points: bool = False

    @property
    def alt(self) -> str:
        """For readers who do not see it."""
        return f"{self.title}. {self.sentence}"

    @property
    def caption(self) -> str:
        return self.sentence + (f" Beside the paper's {self.of}." if self.of else "")


@dataclass(frozen=True)
class Table:
    """rows: a dict a row, all with the same columns; values are text."""

    title: str
    rows: list[dict[str, str]]


@dataclass(frozen=True)
class Section:
    """name: of its anchor, unique in the document. parts: paragraphs (str), figures and tables in order."""

    name: str
    title: str
    parts: tuple[str | Figure | Table, ...]
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Chapter:
    name: str
    title: str
    facts: dict[str, str] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Document:
    title: str
    intro: tuple[str, ...]
    chapters: tuple[Chapter, ...]

    @property
    def claims(self) -> list[Claim]:
        """Those of one title together, whatever their run."""
        rows = [claim for chapter in self.chapters for section in chapter.sections for claim in section.claims]
        titles = list(dict.fromkeys(row.claim for row in rows))
        return sorted(rows, key=lambda row: titles.index(row.claim))

    @property
    def figures(self) -> list[Figure]:
        """In order of appearance, as they are numbered."""
        return [
            p
            for chapter in self.chapters
            for section in chapter.sections
            for p in section.parts
            if isinstance(p, Figure)
        ]
