"""A claim of the paper beside its measurement: what both reports, of toy and of language-model runs, end in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """All text, fit to be shown.

    where: the run and head, or the family of heads. paper: what the paper says. measured: what the text's definition
    gives here. n: from how many. authors: what the definition of the authors' scripts gives here.
    """

    claim: str
    where: str
    paper: str
    measured: str
    n: str
    authors: str = "–"


def rows(claims: Iterable[Claim], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """A row of a table for each claim. columns: {column: the field of Claim that it shows}."""
    return [{column: getattr(claim, field) for column, field in columns.items()} for claim in claims]
