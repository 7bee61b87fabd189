"""A trial: how often a model answers rightly at each answer slot, on a few train prompts, before an ingest takes one.

The choice is of train prompts; how often the model answers at the slot that was taken is stored with every prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest import batches
from ingest.answers import Answers
from ingest.model import Model
from ingest.model.capture import Capture
from ingest.prompts import Prompt
from ingest.prompts.clock import Clock
from ingest.prompts.corpus import Corpus
from ingest.prompts.slot import SLOTS, TOLD, Slot, placed
from qkstore.run.task import SLOT, TRIED

PROMPTS = 100  # of the train split; at a chance of 1 in 9 the standard error is .03


@dataclass(frozen=True)
class Trial:
    """The slot that was taken; right: {slot: share of n prompts answered rightly}, empty where there was no choice."""

    slot: Slot
    right: dict[Slot, float] = field(default_factory=dict)
    n: int = 0

    @property
    def told(self) -> str:
        """In one line."""
        shares = ", ".join(f"{slot} {share:.0%}" for slot, share in self.right.items())
        return f"answer slot {self.slot!r}, {TOLD[self.slot]}; right of {self.n} train prompts: {shares}"

    def plan(self) -> dict:
        """For the plan of an ingest, from which `resumed` makes it again."""
        return {"slot": self.slot} | ({"tried": {"right": self.right, "n": self.n}} if self.right else {})

    def measures(self) -> dict[str, float]:
        """For the run's table of that name."""
        right = {f"{SLOT}{slot}": share for slot, share in self.right.items()}
        return right | {TRIED: self.n} if right else {}


def resumed(slots: Sequence[Slot], plan: dict) -> Trial | None:
    """The trial of the ingest that was begun with `plan`, if it chose among the same slots."""
    begun = Trial(plan["slot"], **plan.get("tried", {})) if "slot" in plan else None
    same = begun and set(begun.right or {begun.slot: 0}) == set(slots)
    return begun if same else None


def of(
    model: Model,
    capture: Capture,
    prompts: Sequence[Prompt],
    slots: Sequence[Slot],
    clock: Clock,
    size: int,
    memory: int,
    progress: Callable[..., None],
    answers: bool = True,
) -> Trial:
    """The slot at which the model answers most of the train prompts; of equally good ones the first of SLOTS.

    size, memory: of a batch. With one slot, where no answers are wanted, with a model without its LM head and with
    prompts whose right answer is not known nothing is compared, and the first is taken.
    """
    slots = sorted(slots, key=SLOTS.index)
    base = [p for p in prompts if p.split == "train" and p.variant == "base"]
    few = [base[i] for i in np.linspace(0, len(base) - 1, min(PROMPTS, len(base))).astype(int)]
    if len(slots) == 1 or not (answers and model.answers and few):
        return Trial(slots[0])
    right = {}
    for i, slot in enumerate(slots):
        progress("answer slots", i, len(slots), now=slot)
        right[slot] = _right(model, capture, [placed(p, slot) for p in few], slot, clock, size, memory)
    progress("answer slots", len(slots), len(slots))
    known = {slot: share for slot, share in right.items() if share is not None}
    return Trial(max(known, key=known.get), known, len(few)) if len(known) > 1 else Trial(slots[0])


def _right(
    model: Model, capture: Capture, prompts: list[Prompt], slot: Slot, clock: Clock, size: int, memory: int
) -> float | None:
    """The share of prompts answered rightly; None where the right answer of one is not known there."""
    corpus = Corpus(model.tokenizer, prompts, chat=slot != "plain", clock=clock, causal=capture.layers[0].causal)
    capture.forward.settle([tokens.ids for tokens in corpus.tokens])
    answers, rows = Answers(model.tokenizer, corpus), []
    for chosen in batches.of(corpus, size, memory, batches.token_bytes(model, capture), capture.forward.sides):
        ends = [answers.place(p) for p in chosen]
        read = capture([corpus.tokens[p].ids for p in chosen], [[end] for end in ends], [[] for _ in ends], ends=ends)
        rows.append(answers.read(chosen, read.logits))
    answered = np.concatenate(rows)[:, 3]
    return None if np.isnan(answered).any() else float(answered.mean())
