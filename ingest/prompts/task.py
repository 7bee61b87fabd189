"""A task: the prompts that `--task` names, built in or from a file, and what the manifest says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ingest.prompts import boxes, lists
from ingest.prompts.prompts import Prompt, read_jsonl
from ingest.prompts.words import CATEGORIES
from qkstore.errors import PromptError, near

Kind = Literal["boxes", "lists"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CAPITALS = " ".join(word.capitalize() for word in CATEGORIES["country"])
LISTS = "List: {item}, … . Find the {category}. Answer:"
NAMED: dict[boxes.Question, str] = {"ent": "{entity}", "ord": "{ordinal}", "both": "{ordinal} {entity}"}
ENDS: dict[boxes.Form, str] = {
    "question": "Which box is the NAMED in? Answer: box",
    "statement": "The NAMED is in box",
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
    name: Kind | str,
    n: int,
    n_test: int,
    question: boxes.Question | None,
    seed: int,
    reflexive: bool = False,
    form: boxes.Form = "question",
) -> Task:
    """The task of that name: one of KINDS with n train and n_test test prompts, or all of a JSONL file.

    question, reflexive, form: of boxes alone, their kind of question, whether they have reflexive counterfactuals too,
    and whether they end in a question or in a statement.
    Raises PromptError for a name that is neither, and for a file or number that cannot be used.
    """
    if name == "boxes":
        made = boxes.build(n, question, seed, n_test, reflexive=reflexive, form=form)
        named = f"boxes {question}" + (" statement" if form == "statement" else "")
        return Task(named, made, _template(question, form), seed)
    if name == "lists":
        return Task("lists", lists.build(n, seed, n_test), LISTS, seed)
    if Path(name).suffix not in (".jsonl", ".json") and not Path(name).is_file():
        raise PromptError(f"no task {name!r}; {near(name, (*KINDS, 'FILE.jsonl'))}")
    return Task(Path(name).name, read_jsonl(name), "", None, built_in=False)


def for_tokenizer(task: Task, tokenizer) -> Task:
    """The same task as its words are written for a model: lists with the names of countries capitalised.

    Not where the tokenizer does not know them so, as the demo's, whose words are in small letters.
    """
    if task.name != "lists" or not task.built_in or _unknown(tokenizer, CAPITALS):
        return task
    return replace(task, prompts=[lists.capitalised(prompt) for prompt in task.prompts])


def _unknown(tokenizer, words: str) -> bool:
    unknown = tokenizer.unk_token_id
    return unknown is not None and unknown in tokenizer(words, add_special_tokens=False)["input_ids"]


def _template(question: boxes.Question, form: boxes.Form) -> str:
    return f"The {{entity}} is in box {{box}}. … {ENDS[form].replace('NAMED', NAMED[question])}"
