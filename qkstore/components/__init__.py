"""Components: a head's query-key space decomposed without labels, since attention itself says which pairs are positive.

Arrays only. choices → AttentionContrast (streams and merges) → number, canonical components → rotation → Components.
"""

from qkstore.components.attention import AttentionContrast, Moments
from qkstore.components.canonical import Canonical, Gauge, canonical, held_out
from qkstore.components.choices import Choices, choices
from qkstore.components.components import Components, components, correlations
from qkstore.components.number import STRONG, Number, number
from qkstore.components.rotation import Rotation, independent

__all__ = [
    "STRONG",
    "AttentionContrast",
    "Canonical",
    "Choices",
    "Components",
    "Gauge",
    "Moments",
    "Number",
    "Rotation",
    "canonical",
    "choices",
    "components",
    "correlations",
    "held_out",
    "independent",
    "number",
]
