"""Contrasts: rules in SQL that select positive and negative pairs; built in, checked, and read back in words."""

from qkstore.contrast.contrast import (
    CENTRINGS,
    WEIGHTINGS,
    Centring,
    Contrast,
    Weighting,
    label_choices,
    labels,
)
from qkstore.contrast.selection import pairs

__all__ = ["CENTRINGS", "WEIGHTINGS", "Centring", "Contrast", "Weighting", "label_choices", "labels", "pairs"]
