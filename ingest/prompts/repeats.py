"""Random words, said twice: what an induction head is known by, for nothing else says which word comes next.

List: jam piano lime … jam piano lime …
"""

from __future__ import annotations

import random

from ingest.prompts.passage import Passage
from ingest.prompts.pieces import Keep
from ingest.prompts.prompts import SPLITS, Prompt, Split
from ingest.prompts.words import CATEGORIES, entities, items
from qkstore.errors import PromptError

LEAST = 2  # words that are repeated
HEAD = ("List", ":")  # so that the first word has something before it both times, and is the same token


def build(n: int, seed: int, n_test: int, words: int, keep: Keep | None = None) -> list[Prompt]:
    """n prompts of the train split, then n_test of held-out words: as many different words, and the same again.

    keep: which words to draw from; where too few are left, all are.
    Raises PromptError for a negative number of prompts, and for more words than there are.
    """
    if n < 0 or n_test < 0:
        raise PromptError(f"{min(n, n_test)} prompts: the numbers of prompts are 0 or more")
    pools = {split: _pool(split, words, keep) for split in SPLITS}
    most = min(map(len, pools.values()))
    if not LEAST <= words <= most:
        raise PromptError(
            f"{words:,} words, said twice: possible are {LEAST} to {most}, so give --tokens {2 * LEAST} to {2 * most}"
        )
    rng = random.Random(f"repeats {seed}")
    return [
        Prompt(_text(rng.sample(pools[split], words)), id=f"repeats-{split}-{i}", split=split)
        for split, count in zip(SPLITS, (n, n_test), strict=True)
        for i in range(count)
    ]


def _pool(split: Split, words: int, keep: Keep | None) -> list[str]:
    """The words of a split that are kept, or all of them where these are too few."""
    every = [*entities(split), *(word for name in CATEGORIES for word in items(name, split))]
    kept = [word for word in every if keep is None or keep(word)]
    return kept if len(kept) >= words else every


def _text(words: list[str]) -> str:
    return Passage().say(*HEAD, *words, *words).text
