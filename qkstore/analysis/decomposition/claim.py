"""What tells a component of a trained head from one that any head has: a rule, and what it says of a study's rows.

Attention picks keys that fit a query in every head, also in one of random weights, so that such heads have components
too. What theirs mostly lack is that they hold for words they were not fitted on, and that a swap moves what the head
chooses. Where prompts differ in length some have both, by places (docs/discovery.md, "A real model"); what these lack
is that a label of the query and one of the key agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qkstore.text import number

RHO = 0.5  # the whole interval of a component's correlation on the judged split lies above it
GAP = 0.02  # logits that its swap moves the gap beyond random dimensions: the whole interval lies above it
NOT_TOLD = "not told from chance"
UNSWAPPED = (  # where names stand that no swap judged
    "A name alone tells nothing from chance: labels name components of random weights, too. Only the study of one head "
    "swaps its components, and says of each whether it is told from chance."
)
AGREES = 0.35  # share that a label explains in agreement; names of one side alone are found at random weights too


@dataclass(frozen=True)
class Claim:
    """What one component of a head can be said to be.

    clear: whether it is told from what random weights give; why: what it lacks, empty where it is clear. matches:
    whether a label tells what it matches, and not one side of it alone; False of one that no label explains.
    """

    component: int
    clear: bool
    why: str
    matches: bool

    @property
    def told(self) -> str:
        """In a few words, with what it lacks."""
        return f"{self.short}: {self.why}" if self.why else self.short

    @property
    def short(self) -> str:
        """In a few words, for a table: beside a name, so that nobody takes a name for evidence."""
        if not self.clear:
            return NOT_TOLD
        return "clear" if self.matches else "clear, but no label tells what it matches"


def claim(row: Mapping[str, Any]) -> Claim:
    """What the rule says of a component. row: of Study.rows, with rho_ci, gap_ci and agreement."""
    rho, gap = row["rho_ci"][0], row["gap_ci"] and row["gap_ci"][0]
    lacks = []
    if not rho > RHO:
        lacks.append(f"its correlation on the judged split may be as low as {number(rho, 2)}, and {RHO} is asked for")
    if gap is None:
        lacks.append("it was not swapped")
    elif not gap > GAP:
        least = f"as little as {number(gap, 2)} beyond random dimensions"
        lacks.append(f"its swap may move the logit gap by {least}, and {GAP} is asked for")
    best = row.get("agreement")
    return Claim(row["component"], not lacks, "; ".join(lacks), bool(best) and best["explained"] > AGREES)


def claims(rows: Sequence[Mapping[str, Any]]) -> dict[int, Claim]:
    """{component: what the rule says of it}."""
    return {row["component"]: claim(row) for row in rows}


def called(row: Mapping[str, Any]) -> str:
    """What a component is called, and that it is not told from chance where it is not: labels name those too."""
    return row["name"] if claim(row).clear else f"{row['name']}, {NOT_TOLD}"


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many components of a head are clear of chance, and how many of these a label says the match of."""
    each = claims(rows).values()
    clear = [one for one in each if one.clear]
    matched, named = sum(one.matches for one in clear), sum(row["named"] for row in rows if not claim(row).clear)
    said = [
        f"Clear are {len(clear)} of {len(each)}: the intervals of the correlation on the "
        f"judged split above {RHO}, of the logits that a swap moves beyond random dimensions above {GAP}"
        + (f"; of {matched} of them a label tells what is matched" if clear else "")
    ]
    said += [f"Of the others {named} have a name, as components of random weights have, too"] if named else []
    return ". ".join(said)
