"""Filter prompts: a list with five items of each of five categories, then one category (paper, section 5.1).

    List: oak, piano, lime, … Find the fruits. Answer:

The answer is any listed item of the queried category, so `answer` stays empty and the items carry `is_answer`.
The category is named after the list: named before it, the items themselves could carry "I am asked for", and there
would be one direction for all categories.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ingest.prompts.passage import Passage
from ingest.prompts.pieces import Keep
from ingest.prompts.prompts import SPLITS, Prompt, Split
from ingest.prompts.words import CATEGORIES, PLURALS, items
from qkstore.errors import PromptError

N_CATEGORIES = 5
N_ITEMS = 5


def build(n: int, seed: int, n_test: int = 1000, keep: Keep | None = None) -> list[Prompt]:
    """n prompts of the train split, then n_test of held-out words: none of their items is in a train prompt.

    keep: which items to draw from; a category that has too few of them is left out.
    Raises PromptError for a negative number, and where too few categories are left.
    """
    if n < 0 or n_test < 0:
        raise PromptError(f"{min(n, n_test)} prompts: the numbers of prompts are 0 or more")
    rng = random.Random(f"lists {seed}")
    prompts: list[Prompt] = []
    words = _words(keep)
    for split, count in zip(SPLITS, (n, n_test), strict=True):
        prompts += [prompt(*draw(rng, words[split]), id=f"lists-{split}-{i}", split=split) for i in range(count)]
    return prompts


def _words(keep: Keep | None) -> dict[Split, dict[str, tuple[str, ...]]]:
    """{split: {category: items}} of the categories that have items enough in both splits."""
    words = {
        split: {name: tuple(w for w in items(name, split) if keep is None or keep(w)) for name in CATEGORIES}
        for split in SPLITS
    }
    there = [name for name in CATEGORIES if all(len(words[split][name]) >= N_ITEMS for split in SPLITS)]
    if len(there) < N_CATEGORIES:
        raise PromptError(
            f"this tokenizer keeps {N_ITEMS} items whole in {len(there)} of {len(CATEGORIES)} categories, a list needs "
            f"{N_CATEGORIES}; take the last piece of each (--pieces last)"
        )
    return {split: {name: words[split][name] for name in there} for split in SPLITS}


def capitalised(prompt: Prompt) -> Prompt:
    """The same with the names of countries capitalised, in the text and in the label; nothing moves."""
    text, spans = prompt.text, []
    for span in prompt.spans:
        if span.labels.get("category") == "country":
            word = text[span.start : span.end].capitalize()
            text = text[: span.start] + word + text[span.end :]
            span = replace(span, labels=span.labels | {"item": word})
        spans.append(span)
    return replace(prompt, text=text, spans=tuple(spans))


def draw(
    rng: random.Random, words: Mapping[str, tuple[str, ...]], n_categories: int = N_CATEGORIES, n_items: int = N_ITEMS
) -> tuple[list[tuple[str, str]], str]:
    """The (item, category) pairs of one list, shuffled, and the category asked for; `words` is what to draw from."""
    categories = rng.sample(sorted(words), n_categories)
    listed = [(item, name) for name in categories for item in rng.sample(words[name], n_items)]
    rng.shuffle(listed)
    return listed, rng.choice(categories)


def prompt(listed: list[tuple[str, str]], queried: str, **fields: str) -> Prompt:
    """One prompt whose last word, the answer slot ":", is followed by any item of the queried category."""
    category_of = dict(listed)
    passage = Passage()
    for word in listing(item for item, _ in listed):
        if category := category_of.get(word):
            passage.mark(word, "item", item=word, category=category, is_answer=category == queried)
        else:
            passage.say(word)
    *question, answer = ask(queried)
    passage.say(*question).turn().say(answer).mark(":", "answer_slot")
    return Prompt(
        text=passage.text,
        spans=tuple(passage.spans),
        reply=passage.reply,
        labels={"question": "list", "queried_category": queried},
        **fields,
    )


def listing(words: Iterable[str]) -> list[str]:
    """The words of a list of items, with its punctuation."""
    tight = [mark for word in words for mark in (word, ",")]
    return ["List", ":", *tight[:-1], "."]


def ask(category: str) -> list[str]:
    """The words of a question up to, and without, its answer slot."""
    return ["Find", "the", PLURALS[category], ".", "Answer"]
