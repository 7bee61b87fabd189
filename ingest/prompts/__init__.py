"""Prompts with labelled spans: those of the paper, and a person's own."""

from ingest.prompts.prompts import (
    Label,
    LabelTypes,
    PROMPT_FIELDS,
    Prompt,
    SPAN_FIELDS,
    SPLITS,
    Span,
    TYPE_NAMES,
    check,
    name_of,
    read_jsonl,
)

__all__ = [
    "Label",
    "LabelTypes",
    "PROMPT_FIELDS",
    "Prompt",
    "SPAN_FIELDS",
    "SPLITS",
    "Span",
    "TYPE_NAMES",
    "check",
    "name_of",
    "read_jsonl",
]
