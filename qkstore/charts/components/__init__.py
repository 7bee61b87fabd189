"""Charts of a head's components: how many there are, and how their scores spread."""

from qkstore.charts.components.elbow import elbow
from qkstore.charts.components.histogram import score_histogram

__all__ = ["elbow", "score_histogram"]
