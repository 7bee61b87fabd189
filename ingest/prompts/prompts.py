"""A prompt: text with labelled character spans, and the user's own JSONL of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from qkstore.errors import PromptError, near
from qkstore.run.schema import IDENTIFIER, RESERVED

Label = str | int | float | bool

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
TYPE_NAMES = {str: "text", int: "a whole number", float: "a fraction", bool: "true or false"}
PROMPT_FIELDS = ("text", "messages", "spans", "id", "split", "variant", "answer", "counterfactual_of")
MOST_DIGITS = 40  # of a whole number that is worth a look: one of 64 bits has 19
SPAN_FIELDS = ("start", "end", "role")


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a prompt's text, their role, and the labels their tokens carry."""

    start: int
    end: int
    role: str
    labels: dict[str, Label] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """One text with its spans; `counterfactual_of` names the id of the prompt it is a counterfactual of.

    `messages` are a chat; `text` is then the last message's content, and spans are relative to it.
    `reply` is the character from which on the text can be the beginning of a chat model's reply (see slots.py).
    """

    text: str
    spans: tuple[Span, ...] = ()
    id: str = ""
    split: Split = "train"
    variant: str = "base"
    answer: str | None = None
    counterfactual_of: str | None = None
    labels: dict[str, Label] = field(default_factory=dict)
    messages: tuple[dict[str, str], ...] | None = None
    reply: int | None = None


@dataclass(frozen=True)
class LabelTypes:
    """The label columns of a data set, {name: type} in order of appearance, of its tokens and of its prompts."""

    token: dict[str, type]
    prompt: dict[str, type]


def read_jsonl(path: str | Path) -> list[Prompt]:
    """The prompts of a file with one JSON object a line; blank lines are passed over.

    `{"text": …, "spans": [{"start": 4, "end": 7, "role": "item", "category": "fruit"}], "split": "train", …}`, or
    `"messages"` in place of `"text"`. Fields that are not the format's own become labels.
    Raises PromptError, which names the line, for anything that `check` or the format refuses.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"prompt file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    numbered = [(f"line {i}", line) for i, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise PromptError(f"prompt file {path} has no prompts: one JSON object a line, with a text and spans")
    prompts = [_prompt(where, line) for where, line in numbered]
    check(prompts, [where for where, _ in numbered])
    return prompts


def name_of(prompt: Prompt, index: int) -> str:
    """How an error line calls a prompt."""
    return f"prompt {prompt.id!r}" if prompt.id else f"prompt {index}"


def check(prompts: Sequence[Prompt], names: Sequence[str] | None = None) -> LabelTypes:
    """The label columns of `prompts`, whose spans, splits, ids and labels hold together; else PromptError.

    names: what to call each prompt in an error line; without it, its id or its index.
    """
    if not prompts:
        raise PromptError("there are no prompts")
    names = names or [name_of(p, i) for i, p in enumerate(prompts)]
    token, prompt = _Columns("span"), _Columns("prompt")
    for where, p in zip(names, prompts, strict=True):
        if not p.text:
            raise PromptError(f"{where}: the text is empty")
        if p.split not in SPLITS:
            raise PromptError(f"{where}: split {p.split!r}; {near(str(p.split), SPLITS)}")
        for span in p.spans:
            _check_span(where, p.text, span)
            token.add(where, span.labels)
        prompt.add(where, p.labels)
    _check_ids(prompts, names)
    both = {n.lower() for n in token.types} & {n.lower() for n in prompt.types}
    if both:
        raise PromptError(f"label {min(both)!r} is on spans and on prompts: give one of them another name")
    return LabelTypes(token.types, prompt.types)


def _check_span(where: str, text: str, span: Span) -> None:
    if not span.role:
        raise PromptError(f"{where}: the span {span.start}–{span.end} has no role")
    if not 0 <= span.start < span.end:
        raise PromptError(f"{where}: a span from {span.start} to {span.end} holds no characters (start < end, from 0)")
    if span.end > len(text):
        raise PromptError(f"{where}: the span {span.start}–{span.end} lies outside its text of {len(text)} characters")


def _check_ids(prompts: Sequence[Prompt], names: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for where, p in zip(names, prompts, strict=True):
        if p.id and p.id in first:
            raise PromptError(f"{where}: the id {p.id!r} is that of {first[p.id]} already")
        if p.id:
            first[p.id] = where
    for where, p in zip(names, prompts, strict=True):
        partner = p.counterfactual_of
        if partner is not None and partner not in first:
            raise PromptError(f"{where}: counterfactual_of {partner!r} is no prompt's id; {near(partner, first)}")
        if partner is not None and partner == p.id:
            raise PromptError(f"{where}: prompt {p.id!r} is named as a counterfactual of itself")


class _Columns:
    """Label columns as they are met; every value of a column has one type (whole numbers may join fractions)."""

    def __init__(self, side: str):
        self.side, self.types = side, {}
        self._spelt: dict[str, str] = {}

    def add(self, where: str, labels: Mapping[str, Label]) -> None:
        for name, value in labels.items():
            if name not in self.types:
                self._check_name(where, name)
            kind, known = type(value), self.types.get(name)
            if kind not in TYPE_NAMES:
                raise PromptError(
                    f"{where}: {self.side} label {name!r} is {value!r:.60}; use text, a number, true or false"
                )
            if kind is int and not -(2**63) <= value < 2**63:
                raise PromptError(f"{where}: {self.side} label {name!r} is {value}, more than 64 bits")
            if kind is float and not math.isfinite(value):
                raise PromptError(f"{where}: {self.side} label {name!r} is {value}, which is no number")
            if known is None or {known, kind} == {int, float}:
                self.types[name] = kind if known is None else float
            elif known is not kind:
                raise PromptError(
                    f"{where}: {self.side} label {name!r} is {value!r:.60}, {TYPE_NAMES[kind]}; "
                    f"before it was {TYPE_NAMES[known]}"
                )

    def _check_name(self, where: str, name: str) -> None:
        if name.lower() in RESERVED | {"spans", "start", "end", "counterfactual_of", "messages", "logsumexp"}:
            raise PromptError(f"{where}: {self.side} label {name!r} is a name the store uses itself: choose another")
        if not IDENTIFIER.fullmatch(name):
            raise PromptError(f"{where}: {self.side} label {name!r} cannot be a column: use letters, digits and '_'")
        other = self._spelt.setdefault(name.lower(), name)
        if other != name:
            raise PromptError(
                f"{where}: {self.side} labels {other!r} and {name!r} differ in case only, SQL takes them for one"
            )


def _prompt(where: str, line: str) -> Prompt:
    try:
        fields = json.loads(
            line,
            object_pairs_hook=lambda pairs: _object(where, pairs),
            parse_constant=lambda c: _no_constant(where, c),
            parse_int=lambda digits: _whole(where, digits),
        )
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise PromptError(f"{where} holds half of a character (a lone surrogate, \\ud8…)") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise PromptError(f"{where} is not JSON: {getattr(error, 'msg', error)}") from None
    if not isinstance(fields, dict):
        raise PromptError(f"{where}: a prompt is an object {{…}}, this is {line.strip():.40}")
    spans = fields.get("spans") or []
    if not isinstance(spans, list):
        raise PromptError(f"{where}: 'spans' is a list of objects, this is {spans!r:.40}")
    messages = _messages(where, fields)
    return Prompt(
        text=messages[-1]["content"] if messages else _text(where, fields, "text", required=True),
        spans=tuple(_span(where, s) for s in spans),
        id=_id(where, fields, "id") or "",
        split=_text(where, fields, "split") or "train",
        variant=_text(where, fields, "variant") or "base",
        answer=_text(where, fields, "answer"),
        counterfactual_of=_id(where, fields, "counterfactual_of"),
        labels=_labels(fields, PROMPT_FIELDS),
        messages=messages,
    )


def _object(where: str, pairs: list[tuple[str, object]]) -> dict:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise PromptError(f"{where}: the field {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return fields


def _no_constant(where: str, constant: str) -> None:
    raise PromptError(f"{where}: {constant} is not a value of JSON; leave the field out")


def _whole(where: str, digits: str) -> int:
    """A whole number; one that is far from any label, and that Python may refuse to read, is told by its length."""
    if len(digits) > MOST_DIGITS:
        raise PromptError(f"{where}: {digits[:20]}… is a number of {len(digits):,} digits; a label has at most 64 bits")
    return int(digits)


def _span(where: str, fields: object) -> Span:
    if not isinstance(fields, dict):
        raise PromptError(f"{where}: a span is an object with start, end and role, this is {fields!r:.40}")
    for name in ("start", "end"):
        if type(fields.get(name)) is not int:
            raise PromptError(f"{where}: a span's {name!r} is a whole number, this is {fields.get(name)!r:.40}")
    role = _text(f"{where}, span {fields['start']}–{fields['end']}", fields, "role")
    if not role:
        raise PromptError(f"{where}: the span {fields['start']}–{fields['end']} has no role")
    return Span(fields["start"], fields["end"], role, _labels(fields, SPAN_FIELDS))


def _messages(where: str, fields: dict) -> tuple[dict[str, str], ...] | None:
    messages = fields.get("messages")
    if messages is None:
        return None
    if "text" in fields:
        raise PromptError(f"{where}: 'text' and 'messages' exclude each other")
    if not isinstance(messages, list) or not messages:
        raise PromptError(f"{where}: 'messages' is a list of {{role, content}}, this is {messages!r:.40}")
    for m in messages:
        if not isinstance(m, dict) or not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str):
            raise PromptError(f"{where}: a message has a text 'role' and a text 'content', this is {m!r:.60}")
    return tuple(messages)


def _text(where: str, fields: Mapping, name: str, required: bool = False) -> str | None:
    value = fields.get(name)
    if value is None and required:
        raise PromptError(f"{where}: there is no {name!r} (nor 'messages')")
    if value is not None and not isinstance(value, str):
        raise PromptError(f"{where}: {name!r} is text, this is {value!r:.40}")
    return value


def _id(where: str, fields: Mapping, name: str) -> str | None:
    value = fields.get(name)
    return str(value) if type(value) is int else _text(where, fields, name)


def _labels(fields: Mapping, own: Iterable[str]) -> dict[str, Label]:
    """What is not the format's own; null is the same as no label."""
    return {name: value for name, value in fields.items() if name not in own and value is not None}
