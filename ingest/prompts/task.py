"""A task: the prompts that `--task` names, built in or from a file, and what the manifest says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ingest.prompts import boxes, lists
from ingest.prompts.prompts import Prompt, read_jsonl
from qkstore.errors import PromptError, near

Kind = Literal["boxes", "lists"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TEMPLATES: dict[boxes.Question | Literal["lists"], str] = {
    "ent": "The {entity} is in box {box}. … Which box is the {entity} in? Answer: box",
    "ord": "The {entity} is in box {box}. … Which box is the {ordinal} in? Answer: box",
    "both": "The {entity} is in box {box}. … Which box is the {ordinal} {entity} in? Answer: box",
    "lists": "List: {item}, … . Find the {category}. Answer:",
}


@dataclass(frozen=True)
class Task:
    """Prompts, and what the manifest says of them: the task's name, a template of its texts, and the seed.

    seed: None for a file. built_in: made here, so that a chat template may be put around the texts.
    """

    name: str
    prompts: list[Prompt]
    template: str
    seed: int | None
    built_in: bool = True


def of(
    name: Kind | str, n: int, n_test: int, question: boxes.Question | None, seed: int, reflexive: bool = False
) -> Task:
    """The task of that name: one of KINDS with n train and n_test test prompts, or all of a JSONL file.

    question, reflexive: of boxes alone, their kind of question, and whether they have reflexive counterfactuals too.
    Raises PromptError for a name that is neither, and for a file or number that cannot be used.
    """
    if name == "boxes":
        return Task(
            f"boxes {question}", boxes.build(n, question, seed, n_test, reflexive=reflexive), TEMPLATES[question], seed
        )
    if name == "lists":
        return Task("lists", lists.build(n, seed, n_test), TEMPLATES["lists"], seed)
    if Path(name).suffix not in (".jsonl", ".json") and not Path(name).is_file():
        raise PromptError(f"no task {name!r}; {near(name, (*KINDS, 'FILE.jsonl'))}")
    return Task(Path(name).name, read_jsonl(name), "", None, built_in=False)
