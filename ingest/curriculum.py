"""The demo model's training texts: what to practise, how often, and with how many pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ingest import boxes, lists
from ingest.words import BOXES, CATEGORIES, ENTITIES

# How a text lists its pairs, and how it asks for one; the second line each lacks one piece of "sentences + question".
FIRST = ("pairs+pair",)
BRIDGES = ("sentences+pair", "pairs+question", "sentences+sentence", "sentences+question")
LATER = ("ord", "both", "list")
ENTITY = "sentences+question"
SLIP = 0.25
LEARNED = 0.9
MEMORY = 0.98


@dataclass(frozen=True)
class Text:
    """Words, and for each answer its index and whether it can be known (a slip's answer cannot)."""

    words: list[str]
    answers: list[int]
    kind: str
    certain: tuple[bool, ...] = ()
    accept: tuple[frozenset[str], ...] = ()
    listed: int = 0


@dataclass
class Curriculum:
    """Draws training texts; `score` moves it on: pairs, then bridges, then full questions, then the other kinds.

    Progress is measured (moving averages of the share of right answers), never timed, so one seed gives one course.
    """

    seed: int
    pairs_min: int = 4
    pairs_max: int = 9
    accuracy: dict[str, float] = field(default_factory=dict)
    n_pairs: float = 4.0
    learned: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(f"curriculum {self.seed}")
        self.accuracy = dict.fromkeys(FIRST + BRIDGES + LATER, 0.0)

    def kinds(self) -> dict[str, float]:
        """The kinds in play with their weights: the worse a kind is answered, the more often it is drawn."""
        if self.learned:
            names = (ENTITY, *LATER)
        elif self.accuracy["pairs+pair"] > LEARNED:
            names = FIRST + BRIDGES
        else:
            names = FIRST
        return {name: 1.1 - self.accuracy[name] for name in names}

    def draw(self) -> Text:
        weights = self.kinds()
        kind = self.rng.choices(list(weights), list(weights.values()))[0]
        if kind == "list":
            return list_text(self.rng)
        n = self.rng.randint(self.pairs_min, int(self.n_pairs))
        return pair_text(self.rng, kind, n)

    def score(self, kind: str, right: float) -> None:
        """Take in one text's share of right answers."""
        self.accuracy[kind] = MEMORY * self.accuracy[kind] + (1 - MEMORY) * right

    def advance(self) -> None:
        """After a step: let the other kinds in, and the pairs grow, once the entity question is learned."""
        self.learned |= self.accuracy[ENTITY] > LEARNED
        if self.learned and min(self.accuracy[k] for k in (ENTITY, "ord", "both")) > LEARNED:
            self.n_pairs = min(self.pairs_max, self.n_pairs + 0.02)


def pair_text(rng: random.Random, kind: str, n: int) -> Text:
    """A list of n pairs and n // 2 questions: with more, the last answers could be had by elimination."""
    drawn = list(rng.sample(ENTITIES, n))
    if kind == "both":
        few = drawn[: rng.randint(max(2, n // 3), n)]
        drawn = few + rng.choices(few, k=n - len(few))
        rng.shuffle(drawn)
    listed = rng.sample(BOXES, n)
    shape, asked = kind.split("+") if "+" in kind else ("sentences", kind)
    words: list[str] = []
    for entity, box in zip(drawn, listed, strict=True):
        words += boxes.clause(entity, box) if shape == "sentences" else [entity, box, ","]
    n_listed = len(words)
    answers, certain = [], []
    for place in rng.sample(range(n), n if kind in FIRST else n // 2):
        entity, box, sure = drawn[place], listed[place], True
        if asked == "both" and rng.random() < SLIP:
            entity, box, sure = _slip(rng, drawn, listed, place)
        words += _asking(asked, entity, place)
        answers.append(len(words))
        certain.append(sure)
        words += [box, "."]
    return Text(words, answers, kind, tuple(certain), listed=n_listed)


def _slip(rng: random.Random, drawn: list[str], listed: list[str], place: int) -> tuple[str, str, bool]:
    """A question whose place and entity contradict each other; either may be the slip, so either may be meant."""
    others = [i for i, entity in enumerate(drawn) if entity != drawn[place]]
    other = rng.choice(others)
    return drawn[other], listed[rng.choice((place, other))], False


def _asking(asked: str, entity: str, place: int) -> list[str]:
    if asked == "pair":
        return [entity]
    if asked == "sentence":
        return boxes.clause(entity, "")[:5]
    question = "ent" if asked == "question" else asked
    return [*boxes.ask(question, entity, place), "box"]


def list_text(rng: random.Random) -> Text:
    """A list of items and two questions; an answer is any item of the category, so it is drawn."""
    categories = rng.sample(sorted(CATEGORIES), lists.N_CATEGORIES)
    listed = [(item, name) for name in categories for item in rng.sample(CATEGORIES[name], lists.N_ITEMS)]
    rng.shuffle(listed)
    words = ["List", ":"]
    for i, (item, _) in enumerate(listed):
        words += [item, "," if i < len(listed) - 1 else "."]
    answers, accept = [], []
    for name in rng.sample(categories, 2):
        words += [*lists.ask(name), ":"]
        answers.append(len(words))
        right = [item for item, category in listed if category == name]
        accept.append(frozenset(right))
        words += [rng.choice(right), "."]
    return Text(words, answers, "list", (True,) * len(answers), tuple(accept))
