"""A claim of the paper beside its measurement: what both reports, of toy and of language-model runs, end in."""

from __future__ import annotations

from collections.abc import Mapping
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

    def row(self, columns: Mapping[str, str]) -> dict[str, str]:
        """The claim as a row of a table. columns: {column: the field that it shows}."""
        return {column: getattr(self, field) for column, field in columns.items()}
