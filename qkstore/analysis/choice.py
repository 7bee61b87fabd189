"""The choice of heads: what a head does on the prompts that choose, and whether that is clear of chance.

Heads are chosen on train prompts alone, in which every word is asked for alike, and judged on test prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.analysis.asked import asked
from qkstore.analysis.head import Rows
from qkstore.contrast import Contrast, builtin
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.score import Queries, Score, scores
from qkstore.text import number, percent, split_name

LEVEL = 0.05  # of all heads that were looked at together
LEAST_QUERIES = 20  # fewer choose nothing
LEAST_ATTENTION = 0.05  # on the contrast's keys, positive and negative together
LEAST_ACCURACY = 0.3  # accuracy of a binding head, section 5.2


def caution(n: int) -> str:
    """What is added to a result of n queries: of few, that they make no claim."""
    return "" if n >= LEAST_QUERIES else f"; below {LEAST_QUERIES}, no claim"


@dataclass(frozen=True)
class Choice:
    """What one head does on the n queries that choose heads.

    accuracy, chance, accuracy_p, selectivity, attention_p: see qkstore.score.Score; the p-values count each word that
    is asked for once. attention: on all the contrast's keys together. contrast: the one whose pairs these are.
    """

    accuracy: float | None = None
    chance: float | None = None
    accuracy_p: float | None = None
    selectivity: float | None = None
    attention_p: float | None = None
    attention: float | None = None
    n: int = 0
    split: str | None = None
    contrast: str = ""

    @classmethod
    def of(cls, score: Score, rows: Rows) -> Choice:
        return cls(
            score.accuracy,
            score.chance,
            score.accuracy_p,
            score.selectivity,
            score.attention_p,
            score.mass,
            score.n,
            rows.split,
            rows.contrast.name,
        )

    def binds(self, n_heads: int, least: float = LEAST_ACCURACY) -> bool:
        """Whether the largest logit is on a positive key in `least` of the queries or more, which chance does not give.

        n_heads: how many heads were looked at (Bonferroni).
        """
        return self._seen() and (self.accuracy or 0.0) >= least and _clear(self.accuracy_p, n_heads)

    def filters(self, n_heads: int) -> bool:
        """Whether a positive key has more attention than a negative one, by more than chance gives."""
        return self._seen() and self.selectivity is not None and _clear(self.attention_p, n_heads)

    def _seen(self) -> bool:
        return self.n >= LEAST_QUERIES and (self.attention is None or self.attention >= LEAST_ATTENTION)

    @property
    def sentence(self) -> str:
        """What the choice rested on."""
        if not self.n:
            return f"by its ΔC: no accuracy on the {split_name(self.split)} split"
        ratio = "no ratio" if self.selectivity is None else f"selectivity {number(self.selectivity, 2)}"
        share = f"accuracy {percent(self.accuracy)} (chance {percent(self.chance)})"
        seen = "" if self.attention is None else f", {percent(self.attention)} of its attention on these keys"
        return f"by {ratio}, {share}{seen}; n = {self.n:,}, {split_name(self.split)} split"


def _clear(p: float | None, n_heads: int) -> bool:
    return p is not None and p * n_heads <= LEVEL


class Chooser:
    """The pairs that choose heads for a contrast on one split.

    groups: (n,) number of the value that each of their queries looks for; None where no label tells it, so that each
    query counts by itself.
    """

    def __init__(self, run: Run, contrast: Contrast, split: str | None):
        self.rows = _rows(run, contrast, split)
        told = asked(self.rows)
        self.groups = told and np.unique(self.rows.told("q", told.query), return_inverse=True)[1]

    def choices(self, each: Sequence[Queries]) -> list[Choice]:
        """Of heads, from what each does with these rows query by query."""
        return [Choice.of(score, self.rows) for score in scores(each, self.groups, resample=False)]


def _rows(run: Run, contrast: Contrast, split: str | None) -> Rows:
    """Those of the right box in base prompts, for a binding contrast of a run that has such prompts; else its own."""
    chosen = builtin.chooser(contrast)
    if chosen is not contrast:
        try:
            return Rows.of(run, chosen, split)
        except ContrastError:  # a run without base prompts of this split
            pass
    return Rows.of(run, contrast, split)
