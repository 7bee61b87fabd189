"""Filter prompts: a list with five items of each of five categories, then one category (paper, section 5.1).

    List: oak, piano, lime, … Find the fruits. Answer:

The answer is any listed item of the queried category, so `answer` stays empty and the items carry `is_answer`.
The category is named after the list: named before it, the items themselves could carry "I am asked for", and there
would be one direction for all categories.
"""

from __future__ import annotations

import random

from ingest.passage import Passage
from ingest.prompts import Prompt
from ingest.words import CATEGORIES, PLURALS, items
from qkstore.errors import PromptError

N_CATEGORIES = 5
N_ITEMS = 5


def build(n: int, seed: int, n_test: int = 1000) -> list[Prompt]:
    """n prompts of the train split, then n_test of held-out words: none of their items is in a train prompt.

    Raises PromptError for a negative number.
    """
    if n < 0 or n_test < 0:
        raise PromptError(f"{min(n, n_test)} prompts: the numbers of prompts are 0 or more")
    rng = random.Random(f"lists {seed}")
    prompts = [prompt(*draw(rng, "train"), id=f"lists-train-{i}", split="train") for i in range(n)]
    return prompts + [prompt(*draw(rng, "test"), id=f"lists-test-{i}", split="test") for i in range(n_test)]


def draw(rng: random.Random, split: str) -> tuple[list[tuple[str, str]], str]:
    """The (item, category) pairs of one list, shuffled, and the category that is asked for."""
    categories = rng.sample(sorted(CATEGORIES), N_CATEGORIES)
    listed = [(item, name) for name in categories for item in rng.sample(items(name, split), N_ITEMS)]
    rng.shuffle(listed)
    return listed, rng.choice(categories)


def prompt(listed: list[tuple[str, str]], queried: str, **fields: str) -> Prompt:
    """One prompt whose last word, the answer slot ":", is followed by any item of the queried category."""
    passage = Passage().say("List", ":")
    for i, (item, category) in enumerate(listed):
        passage.mark(item, "item", item=item, category=category, is_answer=category == queried)
        passage.say("," if i < len(listed) - 1 else ".")
    passage.say(*ask(queried)).mark(":", "answer_slot")
    return Prompt(
        text=passage.text, spans=tuple(passage.spans), labels={"question": "list", "queried_category": queried}, **fields
    )


def ask(category: str) -> list[str]:
    """The words of a question up to, and without, its answer slot."""
    return ["Find", "the", PLURALS[category], ".", "Answer"]
