"""The demo model's training texts: what it practises, how often, and with how many pairs.

Trained on the full question from the start, a model of this size stays at guessing one of the listed boxes. So it
starts with bare pairs, goes on to texts that each lack one piece of the full question, and meets the other kinds of
question only once the entity question is learned, which they would block.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ingest.prompts import boxes, lists
from ingest.prompts.words import BOXES, CATEGORIES, ENTITIES

# A kind of text is how it lists its pairs, and how it asks for one.
PAIRS = "pairs+pair"
ENTITY = "sentences+question"
BRIDGES = ("sentences+pair", "pairs+question", "sentences+sentence", ENTITY)
LATER = ("ord", "both", "list")

LEARNED = 0.9  # moving average of right answers from which a kind counts as learned
MEMORY = 0.98  # of the moving averages, per text
GROWTH = 0.02  # pairs a step
SLIP = 0.25  # share of the 'both' questions in which place and entity contradict each other


@dataclass(frozen=True)
class Text:
    """Words; the index of each answer with the words that are right there (none if it cannot be known).

    The first `listed` words are the list, the rest asks for it.
    """

    kind: str
    words: list[str]
    answers: dict[int, frozenset[str]]
    listed: int


@dataclass
class Curriculum:
    """Draws training texts; `score` and `advance` move it on.

    Progress is measured by right answers and steps, never by time, so one seed gives one course.
    """

    seed: int
    pairs_min: int = 4
    pairs_max: int = 9
    n_pairs: float = 4.0
    learned: bool = False
    accuracy: dict[str, float] = field(default_factory=lambda: dict.fromkeys((PAIRS, *BRIDGES, *LATER), 0.0))

    def __post_init__(self) -> None:
        self.rng = random.Random(f"curriculum {self.seed}")

    def weights(self) -> dict[str, float]:
        """The kinds in play, weighted: the worse a kind is answered, the more often it is drawn."""
        if self.learned:
            kinds = (ENTITY, *LATER)
        elif self.accuracy[PAIRS] > LEARNED:
            kinds = (PAIRS, *BRIDGES)
        else:
            kinds = (PAIRS,)
        return {kind: 1.1 - self.accuracy[kind] for kind in kinds}

    def draw(self) -> Text:
        """The next training text."""
        weights = self.weights()
        kind = self.rng.choices(list(weights), list(weights.values()))[0]
        if kind == "list":
            return list_text(self.rng)
        return pair_text(self.rng, kind, self.rng.randint(self.pairs_min, int(self.n_pairs)))

    def score(self, kind: str, right: float) -> None:
        """Take in the share of right answers of one text."""
        self.accuracy[kind] = MEMORY * self.accuracy[kind] + (1 - MEMORY) * right

    def advance(self) -> None:
        """After a step: let the later kinds in, then let the pairs grow, once what is there is learned."""
        self.learned |= self.accuracy[ENTITY] > LEARNED
        if self.learned and min(self.accuracy[kind] for kind in (ENTITY, "ord", "both")) > LEARNED:
            self.n_pairs = min(self.pairs_max, self.n_pairs + GROWTH)


def pair_text(rng: random.Random, kind: str, n: int) -> Text:
    """A list of n pairs and n // 2 questions: with more, the last answers could be had by elimination.

    Bare pairs are asked for one and all; with half of them the first step takes several times longer.
    """
    shape, asked = kind.split("+") if "+" in kind else ("sentences", kind)
    entities = _repeated(rng, n) if asked == "both" else rng.sample(ENTITIES, n)
    letters = rng.sample(BOXES, n)
    words: list[str] = []
    for entity, box in zip(entities, letters, strict=True):
        words += boxes.clause(entity, box) if shape == "sentences" else [entity, box, ","]
    listed = len(words)
    answers: dict[int, frozenset[str]] = {}
    for place in rng.sample(range(n), n if kind == PAIRS else n // 2):
        entity, box, right = entities[place], letters[place], frozenset({letters[place]})
        if asked == "both" and rng.random() < SLIP:
            entity, box, right = *_slip(rng, entities, letters, place), frozenset()
        words += _question(asked, entity, place)
        answers[len(words)] = right
        words += [box, "."]
    return Text(kind, words, answers, listed)


def _repeated(rng: random.Random, n: int) -> list[str]:
    """n entities of which some occur several times, so that naming the entity does not settle which pair is meant."""
    few = rng.sample(ENTITIES, rng.randint(max(2, n // 3), n))
    entities = few + rng.choices(few, k=n - len(few))
    rng.shuffle(entities)
    return entities


def _slip(rng: random.Random, entities: list[str], letters: list[str], place: int) -> tuple[str, str]:
    """Entity and answer of a question whose place and entity contradict each other.

    Either may be the slip and so either may be meant, at equal odds: naming the place does not settle it either,
    and the model comes to weigh both cues about equally.
    """
    other = rng.choice([i for i, entity in enumerate(entities) if entity != entities[place]])
    return entities[other], letters[rng.choice((place, other))]


def _question(asked: str, entity: str, place: int) -> list[str]:
    if asked == "pair":
        return [entity]
    if asked == "sentence":
        return [boxes.BEFORE, entity, *boxes.BETWEEN]
    return [*boxes.ask("ent" if asked == "question" else asked, entity, place), "box"]


def list_text(rng: random.Random) -> Text:
    """A list of items and two questions; any item of the category is right, so the one to learn from is drawn.

    Lists of every size up to the full one: the short ones are learned first.
    """
    listed, _ = lists.draw(rng, CATEGORIES, rng.randint(2, lists.N_CATEGORIES), rng.randint(2, lists.N_ITEMS))
    words = lists.listing(item for item, _ in listed)
    n_listed = len(words)
    answers: dict[int, frozenset[str]] = {}
    for category in rng.sample(sorted({category for _, category in listed}), 2):
        right = [item for item, name in listed if name == category]
        words += [*lists.ask(category), ":"]
        answers[len(words)] = frozenset(right)
        words += [rng.choice(right), "."]
    return Text("list", words, answers, n_listed)
