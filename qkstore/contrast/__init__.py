"""A contrast: a rule in SQL that yields positive and negative pairs."""

from qkstore.contrast.contrast import CENTRINGS, WEIGHTINGS, Contrast, label_choices, labels, pairs

__all__ = ["CENTRINGS", "WEIGHTINGS", "Contrast", "label_choices", "labels", "pairs"]
