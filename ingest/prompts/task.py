"""A task: the prompts that `--task` names, built in or from a file, and what the manifest says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from ingest.prompts import boxes, lists, repeats, text
from ingest.prompts.pieces import Keep, Pieces, single, whole
from ingest.prompts.prompts import Prompt, read_jsonl
from ingest.prompts.slot import Slot
from ingest.prompts.words import CATEGORIES
from qkstore.errors import PromptError, near

Kind = Literal["boxes", "lists", "repeats"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CAPITALS = " ".join(word.capitalize() for word in CATEGORIES["country"])
LISTS = "List: {item}, … . Find the {category}. Answer:"
REPEATS = "List: {word} … {word} …"
TOKENS, REPEATED = 128, 64  # of a piece of text; words of a prompt of repeats
NAMED: dict[boxes.Question, str] = {"ent": "{entity}", "ord": "{ordinal}", "both": "{ordinal} {entity}"}
ENDS: dict[boxes.Form, str] = {
    "question": "Which box is the NAMED in? Answer: box",
    "statement": "The NAMED is in box",
}
CHAT: dict[boxes.Form, tuple[Slot, ...]] = {  # behind a list of statements alone, nothing is asked
    "question": ("prefill", "user", "reply"),
    "statement": ("prefill", "user"),
}


@dataclass(frozen=True)
class Task:
    """Prompts, and what the manifest says of them: the task's name, a template of its texts, and the seed.

    seed: None for a file. slots: where a chat model may be asked, none for a file. make: the prompts anew, of the words
    that are kept; None for a file. cut: for text and repeats, whose prompts are made for a tokenizer; they have no
    labels, and nothing to answer.
    """

    name: str
    prompts: list[Prompt]
    template: str
    seed: int | None
    slots: tuple[Slot, ...] = ()
    make: Callable[[Keep | None], list[Prompt]] | None = None
    cut: Callable[[Any], list[Prompt]] | None = None


def of(
    name: Kind | str,
    n: int,
    n_test: int,
    question: boxes.Question | None,
    seed: int,
    reflexive: bool = False,
    form: boxes.Form = "question",
    tokens: int | None = None,
) -> Task:
    """The task of that name: one of KINDS with n train and n_test test prompts, all of a JSONL file, or a text file.

    question, reflexive, form: of boxes alone, their kind of question, whether they have reflexive counterfactuals too,
    and whether they end in a question or in a statement. tokens: of a piece of text, or words of a prompt of repeats.
    Raises PromptError for a name that is neither, and for a file or number that cannot be used.
    """
    if tokens is not None and name != "repeats" and Path(name).suffix != ".txt":
        raise PromptError(f"--tokens {tokens} is of repeats and of a text file, and --task is {name}")
    if name == "boxes":
        make = partial(boxes.build, n, question, seed, n_test, 9, reflexive, form)
        named = f"boxes {question}" + (" statement" if form == "statement" else "")
        return Task(named, make(None), _template(question, form), seed, CHAT[form], make)
    if name == "lists":
        make = partial(lists.build, n, seed, n_test)
        return Task("lists", make(None), LISTS, seed, CHAT["question"], make)
    if name == "repeats":
        words = (REPEATED if tokens is None else tokens) // 2
        repeats.build(0, seed, 0, words)  # that many there are
        return Task(name, [], REPEATS, seed, cut=lambda t: repeats.build(n, seed, n_test, words, single(t)))
    if Path(name).suffix == ".txt":
        whole_text, most, named = text.read(name), TOKENS if tokens is None else tokens, Path(name).name
        return Task(named, [], "", None, cut=lambda t: text.build(whole_text, t, most, named))
    if Path(name).suffix not in (".jsonl", ".json") and not Path(name).is_file():
        raise PromptError(f"no task {name!r}; {near(name, (*KINDS, 'FILE.jsonl', 'FILE.txt'))}")
    return Task(Path(name).name, read_jsonl(name), "", None)


def for_tokenizer(task: Task, tokenizer, pieces: Pieces = "last") -> Task:
    """The same task as its words are written for a model: lists with the names of countries capitalised.

    Not where the tokenizer does not know them so, as the demo's, whose words are in small letters.
    pieces: with 'single', prompts are made of words that are one token each, and those of a file that have others are
    left out. Raises PromptError where too few are left.
    """
    if task.cut:
        return replace(task, prompts=task.cut(tokenizer))
    capitals = task.name == "lists" and task.make is not None and not _unknown(tokenizer, CAPITALS)
    if pieces == "single":
        keep = single(tokenizer, _capitalised if capitals else str)
        task = replace(task, prompts=task.make(keep) if task.make else whole(task.prompts, tokenizer))
    return replace(task, prompts=[lists.capitalised(prompt) for prompt in task.prompts]) if capitals else task


def _capitalised(word: str) -> str:
    return word.capitalize() if word in CATEGORIES["country"] else word


def _unknown(tokenizer, words: str) -> bool:
    unknown = tokenizer.unk_token_id
    return unknown is not None and unknown in tokenizer(words, add_special_tokens=False)["input_ids"]


def _template(question: boxes.Question, form: boxes.Form) -> str:
    return f"The {{entity}} is in box {{box}}. … {ENDS[form].replace('NAMED', NAMED[question])}"
