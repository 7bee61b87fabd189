"""Components of a head of a run: found without labels, named by labels afterwards, swapped, and set beside others."""

from qkstore.analysis.decomposition.found import HeadComponents, components
from qkstore.analysis.decomposition.sight import LeftOut, Sight, default_where
from qkstore.analysis.decomposition.swaps import ComponentSwaps, swaps

__all__ = ["ComponentSwaps", "HeadComponents", "LeftOut", "Sight", "components", "default_where", "swaps"]
