"""Components: a head's query-key space decomposed without labels, since attention itself says which pairs are positive.

Arrays only. choices → AttentionContrast (streams and merges) → number, canonical components → rotation → Components.
"""

from qkstore.components.attention import AttentionContrast, Moments
from qkstore.components.canonical import Canonical, Gauge, canonical, held_out
from qkstore.components.choices import Choices, Choosing, choices, choosing
from qkstore.components.components import Components, components, correlations
from qkstore.components.naming import Explained, Trial, explained, some
from qkstore.components.number import STRONG, Number, number
from qkstore.components.rotation import Rotation, independent

__all__ = [
    "STRONG",
    "AttentionContrast",
    "Canonical",
    "Choices",
    "Choosing",
    "Components",
    "Explained",
    "Gauge",
    "Moments",
    "Number",
    "Rotation",
    "Trial",
    "canonical",
    "choices",
    "choosing",
    "components",
    "correlations",
    "explained",
    "held_out",
    "independent",
    "number",
    "some",
]
