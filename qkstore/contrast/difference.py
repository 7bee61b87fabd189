"""The difference between two versions of a contrast: which of its fields changed, and how their lines did."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass

from qkstore.contrast.contrast import Contrast

FIELDS = ("where", "positive", "negative", "pairs", "weighting", "centring", "space", "description")
MOST_LINES = 300  # of a text that is compared line by line


@dataclass(frozen=True)
class Difference:
    """One field that two contrasts have not in common; a text that one of them lacks is ''."""

    field: str
    before: str
    after: str

    @property
    def lines(self) -> list[str]:
        """The lines of both: what stands in both after '  ', what is gone after '- ', what is new after '+ '."""
        before, after = self.before.splitlines(), self.after.splitlines()
        if max(len(before), len(after)) > MOST_LINES:  # comparing takes their product
            return [*(f"- {line}" for line in before), *(f"+ {line}" for line in after)]
        steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        return [line for step, i, j, m, n in steps for line in _lines(step, before[i:j], after[m:n])]


def _lines(step: str, before: list[str], after: list[str]) -> list[str]:
    if step == "equal":
        return [f"  {line}" for line in before]
    return [*(f"- {line}" for line in before), *(f"+ {line}" for line in after)]


def difference(before: Contrast, after: Contrast) -> list[Difference]:
    """The fields that differ, in the order of FIELDS; none where the two select and weight pairs alike, and say so."""
    both = [(name, _text(before, name), _text(after, name)) for name in FIELDS]
    return [Difference(name, old, new) for name, old, new in both if old != new]


def _text(contrast: Contrast, field: str) -> str:
    """A field as a person reads it: a subspace by whose it is, and a hash of its numbers."""
    if field == "space" and contrast.own:
        return f"{contrast.own.told} ({hashlib.sha256(str(contrast.space).encode()).hexdigest()[:8]})"
    return getattr(contrast, field) or ""


def told(before: Contrast, after: Contrast) -> str:
    """The difference in one line: 'positive, centring changed', and whether any number can."""
    names = [d.field for d in difference(before, after)]
    if not names:
        return "nothing changed"
    same = "; no number changes" if before.key == after.key else ""
    return f"{', '.join(names)} changed{same}"
