"""All heads of a run under a contrast: their scores, which of them are selected, and how two such tables differ."""

from qkstore.analysis.heads.comparison import Comparison, compare, compared
from qkstore.analysis.heads.measure import MEASURES, Summary, clear, clear_told, missing, summary, table, told
from qkstore.analysis.heads.pairing import Pairing, kept_pairing, paired, unmatched
from qkstore.analysis.heads.parts import check, keep, kept, key
from qkstore.analysis.heads.score import HeadScore
from qkstore.analysis.heads.selection import (
    BINDING,
    FILTER,
    MOST_FILTER_HEADS,
    best,
    binding_heads,
    by_evidence,
    filter_heads,
    scored_by,
    selected,
    statement,
)
from qkstore.analysis.heads.sweep import heads

__all__ = [
    "BINDING",
    "FILTER",
    "MEASURES",
    "MOST_FILTER_HEADS",
    "Comparison",
    "HeadScore",
    "Pairing",
    "Summary",
    "best",
    "binding_heads",
    "by_evidence",
    "check",
    "clear",
    "clear_told",
    "compare",
    "compared",
    "filter_heads",
    "heads",
    "keep",
    "kept",
    "kept_pairing",
    "key",
    "missing",
    "paired",
    "scored_by",
    "selected",
    "statement",
    "summary",
    "table",
    "told",
    "unmatched",
]
