"""Prompts with labelled spans: those of the paper, and a person's own."""

from ingest.prompts.prompts import (
    PROMPT_FIELDS,
    SPAN_FIELDS,
    SPLITS,
    TYPE_NAMES,
    Label,
    LabelTypes,
    Prompt,
    Span,
    Split,
    check,
    name_of,
    read_jsonl,
)

__all__ = [
    "PROMPT_FIELDS",
    "SPAN_FIELDS",
    "SPLITS",
    "TYPE_NAMES",
    "Label",
    "LabelTypes",
    "Prompt",
    "Span",
    "Split",
    "check",
    "name_of",
    "read_jsonl",
]
