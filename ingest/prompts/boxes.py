"""Binding prompts: nine entity-box pairs and a question that names one of them (paper, section 5.2).

    The jam is in box Z. The hat is in box O. … Which box is the jam in? Answer: box

Three kinds of question name the pair by its entity ('ent': "the jam"), by its place in the list ('ord': "the third"),
or by both ('both': "the third jam"). The place is a word of the prompt: the demo model was never seen to look an
entity's place up from the context.

In the form of a statement the question is a sentence that waits for its last word, as small models are used to:

    The jam is in box Z. The hat is in box O. … The jam is in box
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ingest.prompts.passage import Passage
from ingest.prompts.pieces import Keep, kept
from ingest.prompts.prompts import SPLITS, Label, Prompt, Split
from ingest.prompts.words import BOXES, ORDINALS, entities
from qkstore.errors import PromptError, near

Question = Literal["ent", "ord", "both"]
QUESTIONS: tuple[Question, ...] = get_args(Question)
Form = Literal["question", "statement"]
FORMS: tuple[Form, ...] = get_args(Form)

# A pair's sentence: BEFORE entity BETWEEN box AFTER.
BEFORE, BETWEEN, AFTER = "The", ("is", "in", "box"), "."
ANSWER = -2  # the place in a question of "Answer", with which a reply begins


@dataclass(frozen=True)
class Pairs:
    """Entities and boxes in the order of the list, and the index of the pair that is asked for."""

    entities: tuple[str, ...]
    boxes: tuple[str, ...]
    queried: int

    def swapped(self, entity: str) -> Pairs:
        """The counterfactual: another entity in the queried pair, all else as it was."""
        return replace(self, entities=self._put(self.entities, entity))

    def reboxed(self, box: str) -> Pairs:
        """The reflexive counterfactual: another box in the queried pair, all else as it was."""
        return replace(self, boxes=self._put(self.boxes, box))

    def _put(self, words: tuple[str, ...], word: str) -> tuple[str, ...]:
        return (*words[: self.queried], word, *words[self.queried + 1 :])

    @property
    def entity(self) -> str:
        return self.entities[self.queried]

    @property
    def box(self) -> str:
        return self.boxes[self.queried]


def build(
    n: int,
    question: Question,
    seed: int,
    n_test: int = 1000,
    n_pairs: int = 9,
    reflexive: bool = False,
    form: Form = "question",
    keep: Keep | None = None,
) -> list[Prompt]:
    """Prompts of one kind of question, with every variant that the binding contrasts need.

    n: base prompts of the train split, each followed by its counterfactual (the queried entity replaced in its clause
    and, where the question names it, in the question); then n 'fixed' prompts: one set of entities in all of them, in
    shuffled order, and one query entity where the question names one (the paper's order-ID design).
    n_test: base prompts of the test split, of entities that no train prompt contains, each with its counterfactual.
    reflexive: in the end, for every base prompt, one whose queried pair has another box, which is then the answer. The
    prompts before them are the same with and without.
    form: how the end is put; the pairs are those of the other form. keep: which entities and boxes to draw from.
    Raises PromptError for an unknown question or form, for a statement that names no entity, for a number of pairs
    outside 2 … 9, and where too few words are kept.
    """
    _check(n, question, n_test, n_pairs, form)
    rng = random.Random(f"boxes {question} {seed}")
    words = {split: kept(entities(split), keep, n_pairs + 1, f"{split} entities") for split in SPLITS}
    boxes = kept(BOXES, keep, n_pairs + 1, "boxes")
    drawn = [
        (split, i, *_draw(rng, words[split], boxes, n_pairs))
        for split, count in zip(SPLITS, (n, n_test), strict=True)
        for i in range(count)
    ]
    prompts = [p for base in drawn for p in _with_counterfactual(question, form, *base)]
    fixed = tuple(rng.sample(words["train"], n_pairs))
    prompts += [_fixed(rng, question, form, fixed, boxes, i) for i in range(n)]
    if reflexive:
        prompts += [_reflexive(rng, question, form, boxes, split, i, pairs) for split, i, pairs, _ in drawn]
    return prompts


def _check(n: int, question: str, n_test: int, n_pairs: int, form: str) -> None:
    if form not in FORMS:
        raise PromptError(f"no form {form!r}: {near(str(form), FORMS)}")
    if form == "statement" and question == "ord":
        raise PromptError("a statement names the entity: its form has the questions ent and both, not ord")
    if question not in QUESTIONS:
        raise PromptError(f"no question {question!r}: {near(str(question), QUESTIONS)}")
    if not 2 <= n_pairs <= len(ORDINALS):
        raise PromptError(f"{n_pairs} pairs: a boxes prompt has 2 to {len(ORDINALS)}")
    if n < 0 or n_test < 0:
        raise PromptError(f"{min(n, n_test)} prompts: the numbers of prompts are 0 or more")


def _draw(rng: random.Random, words: tuple[str, ...], boxes: tuple[str, ...], n_pairs: int) -> tuple[Pairs, str]:
    """The pairs of a base prompt, and the entity that its counterfactual has in place of the queried one."""
    drawn = rng.sample(words, n_pairs + 1)
    return Pairs(tuple(drawn[:n_pairs]), tuple(rng.sample(boxes, n_pairs)), rng.randrange(n_pairs)), drawn[-1]


def _with_counterfactual(
    question: Question, form: Form, split: Split, i: int, pairs: Pairs, other: str
) -> list[Prompt]:
    name = _base(question, split, i)
    variants = (
        (pairs, {"id": name, "variant": "base"}),
        (
            pairs.swapped(other),
            {"id": f"{question}-{split}-counterfactual-{i}", "variant": "counterfactual", "counterfactual_of": name},
        ),
    )
    return [prompt(p, question, form, split=split, **fields) for p, fields in variants]


def _base(question: Question, split: Split, i: int) -> str:
    return f"{question}-{split}-base-{i}"


def _fixed(
    rng: random.Random, question: Question, form: Form, fixed: tuple[str, ...], boxes: tuple[str, ...], i: int
) -> Prompt:
    words = tuple(rng.sample(fixed, len(fixed)))
    queried = rng.randrange(len(fixed)) if question == "ord" else words.index(fixed[0])
    pairs = Pairs(words, tuple(rng.sample(boxes, len(fixed))), queried)
    return prompt(pairs, question, form, id=f"{question}-train-fixed-{i}", split="train", variant="fixed")


def _reflexive(
    rng: random.Random, question: Question, form: Form, boxes: tuple[str, ...], split: Split, i: int, pairs: Pairs
) -> Prompt:
    box = rng.choice([b for b in boxes if b not in pairs.boxes])
    return prompt(
        pairs.reboxed(box),
        question,
        form,
        id=f"{question}-{split}-reflexive-{i}",
        split=split,
        variant="reflexive",
        counterfactual_of=_base(question, split, i),
    )


def prompt(pairs: Pairs, question: Question, form: Form = "question", **fields: str) -> Prompt:
    """One prompt: a clause a pair, then its end, then the answer slot "box" whose next word is the box."""
    passage = Passage()
    for i, (entity, box) in enumerate(zip(pairs.entities, pairs.boxes, strict=True)):
        labels: dict[str, Label] = {"entity": entity, "order_id": i + 1}
        passage.say(BEFORE).mark(entity, "entity", **labels).say(*BETWEEN)
        passage.mark(box, "box", **labels, box=box, is_answer=i == pairs.queried).say(AFTER)
    end, reply = (ask, ANSWER) if form == "question" else (state, 0)
    words = end(question, pairs.entity, pairs.queried)
    passage.say(*words[:reply]).turn().say(*words[reply:]).mark("box", "answer_slot")
    return Prompt(
        text=passage.text,
        spans=tuple(passage.spans),
        reply=passage.reply,
        answer=pairs.box,
        labels={
            "question": question,
            "queried_entity": pairs.entity,
            "queried_order": pairs.queried + 1,
            "queried_box": pairs.box,
        },
        **fields,
    )


def clause(entity: str, box: str) -> list[str]:
    """The words of one pair's sentence."""
    return [BEFORE, entity, *BETWEEN, box, AFTER]


def ask(question: Question, entity: str, place: int) -> list[str]:
    """The words of a question up to, and without, its answer slot; `place` is the 0-based index in the list."""
    return ["Which", "box", "is", "the", *_named(question, entity, place), "in", "?", "Answer", ":"]


def state(question: Question, entity: str, place: int) -> list[str]:
    """The words of a statement up to, and without, its answer slot."""
    return [BEFORE, *_named(question, entity, place), *BETWEEN[:-1]]


def _named(question: Question, entity: str, place: int) -> list[str]:
    """How the pair is named that is asked for; `place` is its 0-based index in the list."""
    return {"ent": [entity], "ord": [ORDINALS[place]], "both": [ORDINALS[place], entity]}[question]
