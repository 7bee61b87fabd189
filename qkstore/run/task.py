"""The task: whether the model itself can do what its prompts ask, without which a head's figures explain nothing."""

from __future__ import annotations

from dataclasses import dataclass

from qkstore.interval import p_binomial, wilson
from qkstore.run.run import Run
from qkstore.text import estimate, percent, split_name

LEVEL = 0.05
LEAST = 20  # prompts: of fewer nothing is said
ASKED = """
SELECT count(answered), coalesce(sum(answered::INTEGER), 0), avg(answer_chance), avg(answer_probability),
       median(answer_rank), count(*)
FROM prompt WHERE coalesce(variant, 'base') = 'base' AND ($1 IS NULL OR split = $1)
"""

SLOT = "right at slot "  # and its name: a measure of a run whose answer slot was chosen, a share of TRIED prompts
TRIED = "prompts tried at each slot"


@dataclass(frozen=True)
class Task:
    """How a model does on the base prompts of a split.

    right: of n prompts whose right answer is known, how many it answers rightly (a right token is the likeliest of the
    prompt's choices, or of the vocabulary where it lists none). chance: the share that guessing among the choices
    gives; None without choices. probability: of a right token, the mean. rank: of a right token in the vocabulary, the
    median. total: prompts in all.
    """

    n: int
    right: int
    chance: float | None
    probability: float
    rank: float
    total: int
    split: str | None

    @property
    def share(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson."""
        return wilson(self.right, self.n)

    @property
    def done(self) -> bool:
        """Whether the model answers better than chance does (one-sided, at LEVEL)."""
        return self.n >= LEAST and p_binomial(self.right, self.n, self.chance or 0.0) <= LEVEL

    @property
    def short(self) -> str:
        """Such as 'answers 25 %, chance 11 %'."""
        if self.n < LEAST:
            return f"too few prompts to say (n = {self.n})"
        return f"answers {percent(self.share)}" + ("" if self.chance is None else f", chance {percent(self.chance)}")

    @property
    def sentence(self) -> str:
        """What a report or a page says first."""
        if self.n < LEAST:
            return f"Whether the model can do the task cannot be told from {self.n} {split_name(self.split)} prompts."
        choices = "" if self.chance is None else f" (chance {percent(self.chance)})"
        told = (
            f"The model answers {estimate(self.share, self.interval)} of {self.n:,} {split_name(self.split)} prompts "
            f"rightly{choices}; a right token has the probability {self.probability:.3f} on average, and the median "
            f"rank {self.rank:,.0f} in its vocabulary."
        )
        if self.done:
            return told
        return (
            f"{told} That is no better than chance: it does not do the task, and what its heads attend to is no "
            "explanation of an answer."
        )


def task(run: Run) -> Task | None:
    """Of the split that results are judged on; None where the run does not hold what its model answers."""
    if "answered" not in run.prompt_labels or "answer_rank" not in run.prompt_labels:
        return None
    split = next((name for name in ("test", "train") if name in run.splits), None)
    [row] = run.table(ASKED, [split]).to_pylist()
    n, right, chance, probability, rank, total = row.values()
    return Task(n, int(right), chance, probability, rank, total, split) if n else None
