"""Charts of a head's components: how many there are, and how their scores spread."""

from qkstore.charts.components.elbow import elbow
from qkstore.charts.components.histogram import score_histogram
from qkstore.charts.components.scatter import score_scatter

__all__ = ["elbow", "score_histogram", "score_scatter"]
