"""A document as data: chapters of sections of paragraphs, figures and tables; page.py makes HTML or Markdown of it."""

from __future__ import annotations

from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class Table:
    """rows: a dict a row, all with the same columns; values are text."""

    title: str
    rows: list[dict[str, str]]


@dataclass(frozen=True)
class Claim:
    """One claim beside its measurement.

    paper: what the paper says. authors: what the authors' variant gives here. here: what the text's definition gives.
    n: from how many.
    """

    claim: str
    where: str
    paper: str
    authors: str
    here: str
    n: str

    def to_dict(self) -> dict[str, str]:
        return {
            "claim": self.claim,
            "run, head": self.where,
            "paper": self.paper,
            "authors' variant, here": self.authors,
            "here": self.here,
            "n": self.n,
        }


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
