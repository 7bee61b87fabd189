"""A task: the prompts that `--task` names, built in or from a file, and what the manifest says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ingest.prompts import boxes, lists
from ingest.prompts.prompts import Prompt, read_jsonl
from qkstore.errors import PromptError, near

TEMPLATES = {
    "ent": "The {entity} is in box {box}. … Which box is the {entity} in? Answer: box",
    "ord": "The {entity} is in box {box}. … Which box is the {ordinal} in? Answer: box",
    "both": "The {entity} is in box {box}. … Which box is the {ordinal} {entity} in? Answer: box",
    "lists": "List: {item}, … . Find the {category}. Answer:",
}


@dataclass(frozen=True)
class Task:
    """`name` and `template` go into the manifest; `built_in` prompts may be put through a chat template."""

    name: str
    prompts: list[Prompt]
    template: str
    seed: int | None
    built_in: bool = True


def of(name: str, n: int, n_test: int, question: str, seed: int, reflexive: bool = False) -> Task:
    """The task of that name: 'boxes', 'lists', or a JSONL file of the user's own.

    Boxes are of a kind of question and have, on request, reflexive counterfactuals.
    """
    if name == "boxes":
        return Task(
            f"boxes {question}", boxes.build(n, question, seed, n_test, reflexive=reflexive), TEMPLATES[question], seed
        )
    if name == "lists":
        return Task("lists", lists.build(n, seed, n_test), TEMPLATES["lists"], seed)
    if Path(name).suffix not in (".jsonl", ".json") and not Path(name).is_file():
        raise PromptError(f"no task {name!r}; {near(name, ('boxes', 'lists', 'FILE.jsonl'))}")
    return Task(Path(name).name, read_jsonl(name), "", None, built_in=False)
