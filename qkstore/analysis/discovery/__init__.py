"""Labelled discovery: every head under every pair of label columns that can match, in one list."""

from qkstore.analysis.discovery.found import LEVEL, Discovery, Found, possible, statement, table
from qkstore.analysis.discovery.kept import discover, kept, key, named, save
from qkstore.analysis.discovery.label import MOST, Tried, contrast, tried
from qkstore.analysis.discovery.match import Match
from qkstore.analysis.discovery.types import types

__all__ = [
    "LEVEL",
    "MOST",
    "Discovery",
    "Found",
    "Match",
    "Tried",
    "contrast",
    "discover",
    "kept",
    "key",
    "named",
    "possible",
    "save",
    "statement",
    "table",
    "tried",
    "types",
]
