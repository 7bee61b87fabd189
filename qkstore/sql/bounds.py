"""Bounds on typed SQL, before it is parsed: the parser copies parts of what it reads, and has no limit of its own.

The operand of a simple CASE is copied into each of its WHENs, so that one within the operand of another multiplies; a
CUBE of n terms is 2ⁿ groupings, a ROLLUP n + 1 that hold n / 2 terms each. All is counted from DuckDB's own words of
the text, in one pass, without a tree.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import duckdb

from qkstore.errors import GuardError

LONGEST = 20_000  # characters
MOST_WORDS = 30_000  # of a text with all copies written out
MOST_GROUPINGS = 1024
GROUPING = {"cube", "rollup", "sets"}
WORD = re.compile(r"\w+|\S")  # what follows it, up to the next, is blanks and comments


def check(text: str) -> None:
    """Raise GuardError for a text that is too long, that hides characters, or that grows too much when it is parsed."""
    readable(text)
    words = _words(text)
    if _written_out(words) > MOST_WORDS:
        raise GuardError("the CASEs here lie within each other's operands too often: write CASE WHEN x = … instead")
    if _groupings(words) > MOST_GROUPINGS:
        raise GuardError(f"GROUP BY has more than {MOST_GROUPINGS:,} groupings here: name fewer in CUBE and ROLLUP")


def readable(text: str, longest: int = LONGEST) -> None:
    """Raise GuardError for a text that is too long, and for characters that a person cannot see."""
    if len(text) > longest:
        raise GuardError(f"the SQL has {len(text):,} characters; {longest:,} are allowed")
    for at, c in enumerate(text):
        if c not in "\t\n\r" and unicodedata.category(c) in ("Cc", "Cs"):
            raise GuardError(f"the SQL holds the control character U+{ord(c):04X} at character {at + 1}")


def _words(text: str) -> list[str]:
    """The words of a text in small letters, of texts and quoted names their quote alone."""
    raw = text.encode()
    starts = [at for at, _ in duckdb.tokenize(text)]
    words = (WORD.match(raw[a:b].decode(errors="replace")) for a, b in zip(starts, [*starts[1:], len(raw)]))
    return [word[0].lower() for word in words if word]


@dataclass
class _Case:
    """A CASE that is being read: the size of its operand, of what else it holds, and how many WHENs it has."""

    operand: int = 0
    rest: int = 1
    whens: int = 0

    def add(self, size: int) -> None:
        if self.whens:
            self.rest += size
        else:
            self.operand += size

    @property
    def size(self) -> int:
        return self.operand * max(self.whens, 1) + self.rest


def _written_out(words: list[str]) -> int:
    """How many words a text has when each CASE's operand is written once for each WHEN."""
    open_cases = [_Case(whens=1)]
    unended = words.count("case")  # a CASE that is never ended is the parser's to refuse
    for word in [*words, *["end"] * unended]:
        if word == "case":
            open_cases.append(_Case())
        elif word == "end" and len(open_cases) > 1:
            done = open_cases.pop()
            open_cases[-1].add(done.size)
        else:
            open_cases[-1].whens += word == "when"
            open_cases[-1].add(1)
    return open_cases[0].size


def _groupings(words: list[str]) -> int:
    """How many groupings all CUBEs, ROLLUPs and GROUPING SETS of a text give, at most."""
    product = 1
    for at, word in enumerate(words):
        if word in GROUPING and words[at + 1 : at + 2] == ["("]:
            terms = _terms(words, at + 1)
            product *= 2 ** min(terms, 20) if word == "cube" else 1 + terms * terms // 2
    return product


def _terms(words: list[str], opening: int) -> int:
    """How many terms the parenthesis at `opening` holds."""
    depth, terms = 0, 1
    for word in words[opening:]:
        depth += (word == "(") - (word == ")")
        if depth == 0:
            break
        terms += word == "," and depth == 1
    return terms
